"""Separation: tracers for the copies of one classifier learn to react to noise, each in its own way.

paper: Tracing the Origin of Adversarial Attack for Forensic Investigation and Deterrence (2022)
needs: samples as they are, without labels          modalities: pictures
sizes: B pictures, M copies, K classes
differences: nobody has published code, and the network of a tracer, the scale of both branches and the settings are
  ours. The classifier's logits are brought to mean 0 and deviation 1 for each picture, and a tracer's end in tanh, so
  that a copy says what the classifier says wherever the standardised margin is above 2 alpha. Tracers are told apart
  by their first weights alone, as in the paper's first version; the one of ICCV learns them by an autoencoder that its
  abstract alone mentions, and is not here.
"""

from typing import Self

import torch
from torch import nn

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Model, Product, Source, Terms, network_of
from withstand.losses.robust.noise_sensitivity import Form, noise_sensitive, sensitivity
from withstand.methods.shared.wrappers.continued import take_over
from withstand.methods.shared.wrappers.held_encoder import HeldEncoder
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.tracers import TracedCopies, Tracers


class AttackTracing(HeldEncoder):
    """Trains all tracers at once, as if each were alone; the classifier that all copies share stays as it is.

    Args:
        network: the classifier, frozen: pictures in [0, 1] in, logits `(B, K)` out; it takes the weights of the run's
            earlier stage. Its `encoder` gives the features.
        tracers: of all copies, with those that are kept back.
        alpha: what a tracer weighs in its copy.
        reserve: copies that are never handed out; they stand for sources that nobody registered.
        sigma: deviation of the noise, for pictures in [0, 1].
        form: of the loss, "reciprocal" as published or "difference".
        constant: c of the reciprocal.
    """

    def __init__(
        self,
        network: nn.Module,
        tracers: Tracers,
        *,
        alpha: float = 0.3,
        reserve: int = 2,
        sigma: float = 0.05,
        form: Form = "reciprocal",
        constant: float = 1e-3,
    ) -> None:
        super().__init__()
        for name, value in {"sigma": sigma, "constant": constant}.items():
            if not value > 0:
                raise ConfigError(f"{name} must be above 0, not {value!r}")
        noise_sensitive(torch.zeros(1), form)
        if not isinstance(getattr(network, "encoder", None), Model):
            raise ConfigError(
                f"the classifier that is copied must be a head on an encoder, not {type(network).__name__}"
            )
        self.copies = TracedCopies(network.requires_grad_(False), tracers, alpha, reserve)
        self.sigma, self.constant = sigma, constant
        self.form: Form = form
        self.train()

    @classmethod
    def example(cls) -> Self:
        return cls(Classifier(Normalized.example(), 4), Tracers.example(), reserve=1)

    def held_encoder(self) -> Model:
        """Return the classifier's encoder."""
        encoder = self.copies.classifier.encoder
        assert isinstance(encoder, Model)  # as when it was made
        return encoder

    def products(self) -> dict[str, Product]:
        """Return the encoder, all copies, and as the classifier the first of them, which stands for the others."""
        return {"encoder": self.encoder, "classifier": self.copies.copy(0), "copies": self.copies}

    def inherit(self, earlier: Method) -> None:
        """Take over the classifier.

        Raises:
            ConfigError: the earlier stage gives none, or one of another make.
        """
        take_over(self.copies.classifier, network_of(earlier, "classifier"))

    def accept(self, source: Source, batch: int) -> None:
        if source.shape != self.copies.tracers.shape:
            raise DataError(
                f"these tracers read pictures of shape {self.copies.tracers.shape}, and these have {source.shape}"
            )

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the tracers; the classifier stays in eval mode."""
        super().train(mode)
        self.copies.classifier.eval()
        return self

    def step(self, batch: Batch) -> Terms:
        """Return the loss, summed over the tracers so that none slows another, and their mean sensitivity."""
        x = unit_range(batch.x, self.copies.tracers.head_weight.dtype)
        noise = self.sigma * batch.draws("noise").normal(*x.shape[1:]).to(x)
        clean, noisy = self.copies.tracers(torch.cat([x, x + noise])).chunk(2, dim=1)
        change = sensitivity(clean, noisy)
        loss = noise_sensitive(change, self.form, constant=self.constant).mean(1).sum()
        return {"loss": loss, "sensitivity": change.detach().mean(), "least sensitivity": change.detach().mean(1).min()}

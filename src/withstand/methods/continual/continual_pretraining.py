"""Continual pretraining: a method goes on with further data, with or without means against forgetting.

paper: Beyond Cosine Decay: On the effectiveness of Infinite Learning Rate Schedule for Continual Pre-training (2025),
    its small-scale setting; Learning without Forgetting (Li and Hoiem, 2016)
needs: what the wrapped method needs          modalities: any with an encoder
sizes: B samples of a batch, D features
differences: replayed samples are a batch of their own, as large as the new one, whose loss weighs as much: for a masked
    autoencoder the mean over a batch of twice the size, as in the authors' code; contrastive methods do not tell old
    samples from new ones. Memory aware synapses (MAS), a further baseline of the paper, are not here.
"""

import copy
from dataclasses import replace
from typing import Self

import torch

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError
from withstand.core.random import derive
from withstand.core.roles import Method, Terms
from withstand.losses.agreement.distillation import squared_distance
from withstand.methods.shared.pairs import example_of_pairs
from withstand.methods.shared.wrappers.continued import Continued

REPLAY = "replay"
"""The name of the data beside that hold samples of before."""


class ContinualPretraining(Continued):
    """The wrapped method goes on from an earlier stage's weights, with or without a means against forgetting.

    Where the experiment has data beside called "replay", the loss is the mean of the batch's and of theirs.

    Args:
        method: what is trained on.
        distil: weight of the squared distance between the encoder's features of a sample and those of its frozen copy
            from before this stage (learning without forgetting); 0 keeps no copy.
    """

    def __init__(self, method: Method, *, distil: float = 0.0) -> None:
        super().__init__(method)
        if not distil >= 0:
            raise ConfigError(f"distil must be at least 0, not {distil!r}")
        self.distil = distil
        self.before = copy.deepcopy(method.encoder).requires_grad_(False).eval() if distil else None

    @classmethod
    def example(cls) -> Self:
        return cls(example_of_pairs(), distil=1.0)

    def step(self, batch: Batch) -> Terms:
        """Return the wrapped method's terms, and the parts `new`, `replayed` and `drift` of the loss, unweighted."""
        terms = self.inside(batch)
        loss, parts = terms["loss"], Terms()
        if REPLAY in batch.beside:
            old = batch.beside[REPLAY]
            # Draws hang on a sample's place, and a place here names another sample than there.
            replayed = self.inside(replace(old, seed=derive(old.seed, REPLAY)))["loss"]
            parts |= {"new": loss.detach(), "replayed": replayed.detach()}
            loss = (loss + replayed) / 2
        if self.before is not None:
            x = unit_range(batch.views[0] if batch.views else batch.x)
            with torch.no_grad():
                wanted = self.before(x)
            drift = squared_distance(self.encoder(x), wanted)
            parts["drift"] = drift.detach()
            loss = loss + self.distil * drift
        return {**terms, "loss": loss, **parts}

    def inherit(self, earlier: Method) -> None:
        super().inherit(earlier)
        if self.before is not None:
            self.before.load_state_dict(self.encoder.state_dict())

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the frozen copy, which stays in eval mode."""
        super().train(mode)
        if self.before is not None:
            self.before.eval()
        return self

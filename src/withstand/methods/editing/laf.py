"""Label-agnostic forgetting: a classifier's features of samples to forget leave the law that they had, by their own.

paper: Label-Agnostic Forgetting: A Supervision-Free Unlearning in Deep Models (Shen, Zhang, Zhao, Bialkowski, Chen, Xu;
    ICLR 2024)
needs: samples to forget, and those that remain beside          modalities: any with an encoder and a linear classifier
sizes: B samples of a batch, D features, K classes
differences: batches' means in place of sums. Normalizations stay in eval mode. The autoencoders end without a sigmoid
    unless told, for features need not lie in (0, 1). Both autoencoders learn in the same steps, one epoch being a pass
    over what remains, where the official code passes over each set as often. As in the code, where the paper differs,
    the alignment has forgotten samples alone under its logarithm.
"""

import copy
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import again
from withstand.core.roles import Method, Model, Product, Terms, Trainer, network_of
from withstand.losses.agreement.distillation import squared_distance
from withstand.losses.restoration.variational import kl_to_standard
from withstand.losses.unlearning import alignment, bounded_distance
from withstand.methods.shared.labelled import accuracy
from withstand.methods.shared.wrappers.wrapper import Wrapper
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.models.blocks.feature_vae import FeatureVAE
from withstand.models.pictures.normalized import Normalized

FORGET, REMAINING = "forget", "remaining"
"""The names in `Batch.beside` of samples to forget and of those that remain."""
EXTRACTION, ALIGNMENT = "extraction", "alignment"
"""The two optimizers, both of the encoder."""
DIVERGENCE = 0.025
"""What the autoencoders' divergence weighs beside the squared distance."""


def classifier_of(method: Method) -> Classifier:
    """Return the classifier that a method gives: an encoder with a linear head.

    Raises:
        ConfigError: it gives none, or one of another make.
    """
    network = network_of(method, "classifier")
    if not isinstance(network, Classifier):
        raise ConfigError(
            f"only an encoder with a linear classifier can be edited, as pgd-at trains one, and "
            f"{type(method).__name__} gives a {type(network).__name__}"
        )
    return network


class Retrained(Wrapper):
    """Trains a classifier anew, as it was trained, on what remains: what unlearning is measured against.

    Args:
        method: as the earlier stage's, with new weights.

    Attributes:
        before: the earlier stage's classifier.
    """

    def __init__(self, method: Method) -> None:
        Method.__init__(self)  # an update of the method's own is no hindrance here: it is run as it is
        self.method, self.taught_by = method, method.taught_by
        known = classifier_of(method)
        self.before = Classifier(again(known.encoder), known.head.out_features).requires_grad_(False).eval()

    @classmethod
    def example(cls) -> Self:
        return cls(HeadRepair.example())

    def example_batch(self, rows: range = range(8)) -> Batch:
        return self.method.example_batch(rows)

    def step(self, batch: Batch) -> Terms:
        """Return the wrapped method's terms."""
        return self.inside(batch)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return self.method.groups()

    def update(self, batch: Batch, trainer: Trainer) -> Terms:
        """Update as the wrapped method does."""
        return self.method.update(batch, trainer)

    def inherit(self, earlier: Method) -> None:
        """Keep the earlier stage's classifier; nothing is learnt from it."""
        _take(self.before, classifier_of(earlier))

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all that is trained; what was before stays in eval mode."""
        super().train(mode)
        self.before.eval()
        return self


class _Edited(Method):
    """Base of the stages: an encoder and a frozen head, with what the classifier was before.

    Args:
        encoder: of the classifier, which takes the earlier stage's weights.
        classes: K.
        reference: whether an earlier stage retrained the classifier, to be kept for judgement.

    Attributes:
        before: the classifier before anything was forgotten, frozen.
        retrained: one that was trained without what is to be forgotten, frozen; None where none was.
    """

    def __init__(self, encoder: Model, classes: int, *, reference: bool = False) -> None:
        super().__init__()
        if classes < 2:
            raise ConfigError(f"a classifier needs at least 2 classes, not {classes!r}")
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.width, classes).requires_grad_(False)
        self.before = Classifier(again(encoder), classes).requires_grad_(False)
        self.retrained = Classifier(again(encoder), classes).requires_grad_(False) if reference else None

    def products(self) -> dict[str, Product]:
        """Return the encoder, and with it the classifier as one network."""
        return {"encoder": self.encoder, "classifier": Classifier.joining(self.encoder, self.classifier)}

    def inherit(self, earlier: Method) -> None:
        """Take over a classifier, from whatever gives one, and what an earlier stage of forgetting keeps."""
        known = earlier.before if isinstance(earlier, Retrained) else classifier_of(earlier)
        _take_head(self.classifier, known.head)
        self.encoder.load_state_dict(known.encoder.state_dict())
        _take(self.before, earlier.before if isinstance(earlier, _Edited) else known)
        if self.retrained is not None:
            found = earlier.retrained if isinstance(earlier, _Edited) else None
            _take(self.retrained, classifier_of(earlier) if isinstance(earlier, Retrained) else _asked(found))

    def train(self, mode: bool = True) -> Self:
        """Leave everything in eval mode: what normalizations know of the data stays."""
        return super().train(False)


class RepresentationVAEs(_Edited):
    """Two autoencoders of a frozen encoder's features: of samples that remain, and of those to be forgotten.

    Reads what remains, with samples to forget beside. Labels are not looked at.

    Args:
        encoder: of the classifier.
        classes: K.
        latent: of the autoencoders, 8 for digits and fashion, 16 for photos in the paper.
        sigmoid: end them in a sigmoid, as the official code does.
        reference: whether an earlier stage retrained the classifier.
    """

    def __init__(
        self, encoder: Model, classes: int, *, latent: int = 8, sigmoid: bool = False, reference: bool = False
    ) -> None:
        super().__init__(encoder.requires_grad_(False), classes, reference=reference)
        self.remaining, self.forgotten = (FeatureVAE(encoder.width, latent, sigmoid=sigmoid) for _ in range(2))
        self.eval()

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), 4, latent=2)

    def example_batch(self, rows: range = range(8)) -> Batch:
        """Return pictures with others beside."""
        return _example(super().example_batch(rows), FORGET)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and the squared distance and the divergence of each autoencoder."""
        terms, losses = Terms(), list[Tensor]()
        for name, some in ((REMAINING, batch), (FORGET, _beside(batch, FORGET))):
            vae = self.remaining if name == REMAINING else self.forgotten
            with torch.no_grad():
                features = self.encoder(unit_range(some.x))
            restored, mean, log_variance = vae(features, some.draws(name).normal(vae.latent))
            distance = squared_distance(restored, features)
            divergence = vae.latent * kl_to_standard(mean, log_variance)
            losses.append(distance + DIVERGENCE * divergence)
            terms |= {f"{name}, distance": distance.detach(), f"{name}, divergence": divergence.detach()}
        return {"loss": torch.stack(losses).sum(), **terms}


class LAF(_Edited):
    """Unlearns without labels: two steps on each batch, by an optimizer each, both of the encoder alone.

    Reads samples to forget, with remaining ones beside. The first step keeps what remains within reach of its
    autoencoder, and takes what is forgotten out of reach of its own; the second turns the features of what remains
    back to where they were, and those of what is forgotten away. The head stays as it was. Both optimizers step the
    same weights: the second one's copy of the encoder is made equal before its step, and the encoder to it afterwards.

    Args:
        encoder: of the classifier.
        classes: K.
        latent: of the autoencoders, as in the earlier stage.
        sigmoid: as in the earlier stage.
        temperature: of forgotten samples in the alignment; a high one forgets less.
        reference: whether an earlier stage retrained the classifier.
    """

    def __init__(
        self,
        encoder: Model,
        classes: int,
        *,
        latent: int = 8,
        sigmoid: bool = False,
        temperature: float = 5.0,
        reference: bool = False,
    ) -> None:
        super().__init__(encoder, classes, reference=reference)
        if not temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {temperature!r}")
        self.temperature = temperature
        self.aligned = copy.deepcopy(encoder)
        self.remaining, self.forgotten = (
            FeatureVAE(encoder.width, latent, sigmoid=sigmoid).requires_grad_(False) for _ in range(2)
        )
        self.eval()

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), 4, latent=2)

    def example_batch(self, rows: range = range(8)) -> Batch:
        """Return pictures with others beside."""
        return _example(super().example_batch(rows), REMAINING)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the encoder's parameters, and those of its copy."""
        both = {EXTRACTION: self.encoder, ALIGNMENT: self.aligned}
        return {name: [each for each in one.parameters() if each.requires_grad] for name, one in both.items()}

    def inherit(self, earlier: Method) -> None:
        """Take over a stage's autoencoders, and what it keeps.

        Raises:
            ConfigError: the earlier stage learnt no autoencoders.
        """
        if not isinstance(earlier, RepresentationVAEs):
            raise ConfigError(f"LAF builds on a stage of RepresentationVAEs, not on {type(earlier).__name__}")
        super().inherit(earlier)
        self.aligned.load_state_dict(self.encoder.state_dict())
        for ours, theirs in ((self.remaining, earlier.remaining), (self.forgotten, earlier.forgotten)):
            ours.load_state_dict(theirs.state_dict())

    def update(self, batch: Batch, trainer: Trainer) -> Terms:
        """Do both steps, one after the other."""
        first = trainer.terms(batch, self.extraction)
        trainer.descend(first["loss"], EXTRACTION)
        _copy(self.encoder, self.aligned)
        second = trainer.terms(batch, self.turning)
        trainer.descend(second["loss"], ALIGNMENT)
        _copy(self.aligned, self.encoder)
        loss = first["loss"].detach() + second["loss"].detach()
        return {**first, **second, "loss": loss}

    def step(self, batch: Batch) -> Terms:
        """Return both losses' sum, the first on the encoder and the second on its copy, and the terms of each."""
        first, second = self.extraction(batch), self.turning(batch)
        return {**first, **second, "loss": first["loss"] + second["loss"]}

    def extraction(self, batch: Batch) -> Terms:
        """Return how far remaining features are from what their autoencoder restores, less that of forgotten ones."""
        kept = self._apart(_beside(batch, REMAINING), self.remaining, REMAINING)
        gone = self._apart(batch, self.forgotten, FORGET)
        return {"loss": kept - gone, "remaining, restored": kept.detach(), "forgotten, restored": gone.detach()}

    def turning(self, batch: Batch) -> Terms:
        """Return the alignment of the encoder's copy with the encoder as it was before."""
        kept, gone = unit_range(_beside(batch, REMAINING).x), unit_range(batch.x)
        with torch.no_grad():
            was_kept, was_gone = self.before.encoder(kept), self.before.encoder(gone)
        loss = alignment(self.aligned(kept), was_kept, self.aligned(gone), was_gone, self.temperature)
        return {"loss": loss, "alignment": loss.detach()}

    def _apart(self, batch: Batch, vae: FeatureVAE, stream: str) -> Tensor:
        features = self.encoder(unit_range(batch.x))
        restored, _, _ = vae(features, batch.draws(stream).normal(vae.latent))
        return bounded_distance(restored, features).mean()


class HeadRepair(_Edited):
    """Trains the head alone on labelled samples that remain; the encoder stays as it is.

    Args:
        encoder: of the classifier.
        classes: K.
        reference: whether an earlier stage retrained the classifier.
    """

    taught_by = "labels"

    def __init__(self, encoder: Model, classes: int, *, reference: bool = False) -> None:
        super().__init__(encoder.requires_grad_(False), classes, reference=reference)
        self.classifier.requires_grad_(True)
        self.eval()

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), 4)

    def step(self, batch: Batch) -> Terms:
        """Return the cross-entropy and the accuracy.

        Raises:
            DataError: no labels, or labels of no class.
        """
        if batch.y is None:
            raise DataError("a head is repaired with labels, and the data have none")
        if len(batch.y) and not 0 <= int(batch.y.min()) <= int(batch.y.max()) < self.classifier.out_features:
            raise DataError(
                f"labels must lie in [0, {self.classifier.out_features - 1}], the classes of the classifier"
            )
        with torch.no_grad():
            features = self.encoder(unit_range(batch.x))
        logits = self.classifier(features)
        return {"loss": cross_entropy(logits, batch.y), "accuracy": accuracy(logits, batch.y)}


def _asked(found: Classifier | None) -> Classifier:
    if found is None:
        raise ConfigError("a retrained classifier was asked for, and the earlier stage has none")
    return found


def _beside(batch: Batch, name: str) -> Batch:
    if name not in batch.beside:
        raise DataError(f"forgetting reads samples beside its batch, by the name {name!r}")
    return batch.beside[name]


def _take(ours: Classifier, theirs: Classifier) -> None:
    ours.encoder.load_state_dict(theirs.encoder.state_dict())
    _take_head(ours.head, theirs.head)


def _take_head(ours: nn.Linear, theirs: nn.Linear) -> None:
    """Copy a head; one without a bias has a bias of 0."""
    with torch.no_grad():
        ours.weight.copy_(theirs.weight)
        ours.bias.zero_() if theirs.bias is None else ours.bias.copy_(theirs.bias)


def _copy(source: nn.Module, target: nn.Module) -> None:
    """Make the trainable parameters of a network those of its like."""
    with torch.no_grad():
        for theirs, ours in zip(source.parameters(), target.parameters(), strict=True):
            if theirs.requires_grad and ours.requires_grad:
                ours.copy_(theirs)


def _example(batch: Batch, name: str) -> Batch:
    other = replace(batch, x=255 - batch.x, views=())
    return replace(batch, views=(), beside={name: other})

"""Robust self-training: labels where there are some, the classifier's own where there are none, under an adversary.

paper: Out-Of-Domain Unlabeled Data Improves Generalization (Saberi, Najafi, Emrani, Behjati, Zolfimoselo, Shadrooy,
    Motahari, Khalaj; ICLR 2024)
needs: unlabelled samples, and labelled ones beside          modalities: any with an encoder, and rows as they are
sizes: B samples of a batch, K classes, D features
differences: no training code was published. More than two classes have each loss's largest over rivals, which for two
    is the paper's. Features are brought to a spread of 1, so that gamma means the same for every encoder.
"""

import copy
from dataclasses import replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Epoch, Method, Model, Product, Source, Terms
from withstand.losses.robust.transport import (
    Cost,
    margin_loss,
    pair_norms,
    rivals,
    transported,
    transported_cross_entropy,
)
from withstand.methods.shared.labelled import accuracy
from withstand.methods.shared.wrappers.frozen_encoder import OnFrozenEncoder, clean
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.models.blocks.normalization.scaled import Scaled
from withstand.models.pictures.normalized import Normalized

LABELLED = "labelled"
"""The name in `Batch.beside` of the samples whose labels are learnt from."""
RobustLoss = Literal["zero-one", "ramp", "hinge", "logistic"]


class RSS(OnFrozenEncoder):
    """A linear classifier on the features of a frozen encoder, by robust self-training.

    Batches are unlabelled, with labelled ones beside; without these, as in a first stage of plain learning, batches are
    themselves labelled. Weights count at the scale at which the widest difference of two classes' is 1: the paper's
    unit norm. The adversary moves features, and pays for it; for unlabelled samples it works against what the current
    classifier says of them, so that boundaries leave where many lie.

    Args:
        encoder: of the features, as it is.
        classes: K.
        loss: "zero-one", which under the distance is the paper's; "ramp"; "hinge"; or "logistic", whose worst points
            are searched for.
        cost: what the adversary pays by: "l2", or "squared-l2", which logistic asks for.
        gamma: his price for labelled samples; None for no adversary.
        gamma_unlabelled: his price for unlabelled ones; None for no adversary: plain self-training.
        weight: of unlabelled samples, lambda; 0 ignores them.
        bias: learn one for each class; the paper's mixtures need none.
        steps: of logistic's search.

    Raises:
        ConfigError: a setting out of range, a loss without gradients, or a gamma under which the worst is infinite or
            not unique.
    """

    taught_by = "few labels"

    def __init__(
        self,
        encoder: Model,
        classes: int,
        *,
        loss: RobustLoss = "zero-one",
        cost: Cost = "l2",
        gamma: float | None = 1.0,
        gamma_unlabelled: float | None = 1.0,
        weight: float = 1.0,
        bias: bool = False,
        steps: int = 15,
    ) -> None:
        super().__init__(Scaled(encoder))
        if classes < 2:
            raise ConfigError(f"a classifier needs at least 2 classes, not {classes!r}")
        if not weight >= 0:
            raise ConfigError(f"weight must be at least 0, not {weight!r}")
        if steps < 1:
            raise ConfigError(f"steps must be at least 1, not {steps!r}")
        if loss not in get_args(RobustLoss):
            raise ConfigError(f"loss {loss!r} is unknown: {nearest(str(loss), get_args(RobustLoss))}")
        if cost not in get_args(Cost):
            raise ConfigError(f"cost {cost!r} is unknown: {nearest(str(cost), get_args(Cost))}")
        prices = {"gamma": gamma} | ({"gamma_unlabelled": gamma_unlabelled} if weight else {})
        for name, price in prices.items():
            _check_price(name, price, loss, cost)
        self.classes, self.loss, self.cost, self.steps = classes, loss, cost, steps
        self.gamma, self.gamma_unlabelled, self.weight = gamma, gamma_unlabelled, weight
        self.classifier = nn.Linear(encoder.width, classes, bias=bias)
        self.start = nn.Linear(encoder.width, classes, bias=bias).requires_grad_(False)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), 4, gamma=0.1, gamma_unlabelled=0.2)

    def example_batch(self, rows: range = range(8)) -> Batch:
        """Return unlabelled pictures with labelled ones beside."""
        batch = super().example_batch(rows)
        known = replace(batch, x=255 - batch.x, views=())
        return replace(batch, y=None, views=(), beside={LABELLED: known})

    def products(self) -> dict[str, Product]:
        """Return the encoder, and with it the linear classifier as one network, whose weights are at unit scale."""
        return {"encoder": self.encoder, "classifier": Classifier.joining(self.encoder, _at_unit(self.classifier))}

    def started(self) -> nn.Module:
        """Return the classifier of the stage before, as one network at unit scale: without self-training."""
        return Classifier.joining(self.encoder, _at_unit(self.start))

    def accept(self, source: Source, batch: int) -> None:
        labels = source.labels
        if not self.weight and labels is not None and len(torch.bincount(labels[labels >= 0]).nonzero()) < 2:
            raise DataError("only one class has labels: a classifier needs samples of two at least")

    def inherit(self, earlier: Method) -> None:
        """Take over an encoder, or all of an earlier stage of this method, whose classifier is where this one starts.

        Raises:
            ConfigError: the earlier stage has other classes.
        """
        if not isinstance(earlier, RSS):
            self.encoder.get_submodule("encoder").load_state_dict(earlier.encoder.state_dict())
            return
        if earlier.classes != self.classes:
            raise ConfigError(f"the earlier stage knows {earlier.classes} classes, and this one {self.classes}")
        self.encoder.load_state_dict(earlier.encoder.state_dict())
        for classifier in (self.classifier, self.start):
            classifier.load_state_dict(earlier.classifier.state_dict())

    def before_epoch(self, epoch: Epoch) -> None:
        if isinstance(self.encoder, Scaled) and not bool(self.encoder.measured):
            self.encoder.measure(epoch.pass_over)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `labelled` and `unlabelled`, and the accuracy on labelled samples.

        Raises:
            DataError: no labels, or labels of no class.
        """
        known = batch.beside.get(LABELLED, batch)
        if known is batch and self.weight:
            raise DataError(f"robust self-training reads labelled samples beside its batch, by the name {LABELLED!r}")
        if known.y is None:
            raise DataError("robust self-training learns from labels too, and the labelled data have none")
        if len(known.y) and not 0 <= int(known.y.min()) <= int(known.y.max()) < self.classes:
            low, high = int(known.y.min()), int(known.y.max())
            raise DataError(f"labels lie in [{low}, {high}], but the classifier knows 0 to {self.classes - 1}")
        features = clean(self, known)[1]
        loss = labelled = self.risk(features, known.y, self.gamma).mean()
        terms: Terms = {"labelled": labelled.detach(), "accuracy": accuracy(self.classifier(features), known.y)}
        if self.weight:
            free = clean(self, batch)[1]
            said = self.classifier(free).detach().argmax(1)
            unlabelled = self.risk(free, said, self.gamma_unlabelled).mean()
            loss = labelled + self.weight * unlabelled
            terms["unlabelled"] = unlabelled.detach()
        return {"loss": loss, **terms}

    def risk(self, features: Tensor, y: Tensor, gamma: float | None) -> Tensor:
        """Return each sample's loss at its worst, less what the adversary pays, `(B,)`; None for no adversary."""
        weight, bias = _unit(self.classifier)
        if self.loss == "logistic":
            if gamma is None:
                return cross_entropy(linear(features, weight, bias).float(), y, reduction="none")
            return transported_cross_entropy(features, weight, bias, y, gamma, self.steps)
        margins, norms = rivals(features, weight, bias, y)
        if gamma is None:
            return margin_loss(margins, self.loss)
        return transported(margins, norms, gamma, self.loss, self.cost)


def _unit(layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Return weights and bias at the scale at which the widest difference of two classes' weights is 1."""
    weight, bias = layer.weight, layer.bias
    widest = pair_norms(weight).amax().clamp_min(torch.finfo(weight.dtype).tiny)
    return weight / widest, None if bias is None else bias / widest


def _at_unit(layer: nn.Linear) -> nn.Linear:
    """Return a layer of its own at that scale: no loss asks for another, which may leave probabilities of 1 alone."""
    made = copy.deepcopy(layer)
    weight, bias = _unit(layer)
    made.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return made


def _check_price(name: str, price: float | None, loss: RobustLoss, cost: Cost) -> None:
    """Refuse a price under which nothing is learnt, or the worst is infinite or not unique, at unit weights."""
    if price is None:
        if loss == "zero-one":
            raise ConfigError(f"{name} must be a number with loss zero-one, which has no gradient without an adversary")
        return
    if not 0 < price < float("inf"):
        raise ConfigError(f"{name} must be above 0, or None for no adversary, not {price!r}")
    if loss == "logistic" and cost != "squared-l2":
        raise ConfigError(f"loss logistic with an adversary asks for cost squared-l2, not {cost!r}")
    if loss == "logistic" and price <= 1 / 8:
        raise ConfigError(f"{name} must be above 0.125 with loss logistic, not {price!r}: more than one worst point")
    if loss == "hinge" and cost == "l2" and price < 1:
        raise ConfigError(
            f"{name} must be at least 1 with loss hinge and cost l2, not {price!r}: the worst is infinite"
        )

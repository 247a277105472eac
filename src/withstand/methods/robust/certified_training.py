"""Training for certificates: the classifier learns from the worst logits that bounds allow round each sample.

paper: On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models (IBP, 2018); Towards
    Stable and Efficient Training of Verifiably Robust Neural Networks (CROWN-IBP, 2020)
needs: labels, one view     modalities: any with an encoder that has bounds and inputs in [0, 1]
sizes: B samples, C classes
differences: the schedules are linear in the steps, as IBP's text has them; CROWN-IBP's code grows the radius along a
    curve that is smooth at both ends. Batch normalisations count with their running statistics in the bounds.
"""

from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Model, Terms
from withstand.methods.shared.labelled import LabelledMethod, accuracy
from withstand.models.pictures.normalized import Normalized
from withstand.verification.bounds.training_bounds import LiveNetwork

BOUNDS = ("ibp", "crown-ibp")


class CertifiedTraining(LabelledMethod):
    """A classifier trained on bounds of its margins.

    The loss is `kappa CE(f(x)) + (1 - kappa) CE(worst)`; the worst logits are minus the margins' lower bounds, and 0
    for the class itself. The bounds are `(1 - beta) IBP + beta CROWN-IBP`.

    Args:
        encoder: the network to train.
        classes: how many labels there are.
        eps: the radius (Linf) to be certified in the end.
        bound: "ibp", or "crown-ibp", whose beta falls from 1 to 0 while the radius grows.
        warmup: share of the run with radius 0, in which the clean loss alone counts.
        ramp: share of the run, after that, in which the radius grows linearly to eps, and kappa falls.
        kappa: the clean loss's weight in the end; it begins at 1.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        classes: int,
        eps: float = 0.1,
        bound: Literal["ibp", "crown-ibp"] = "crown-ibp",
        warmup: float = 0.05,
        ramp: float = 0.5,
        kappa: float = 0.5,
    ) -> None:
        super().__init__(encoder, classes)
        if bound not in BOUNDS:
            raise ConfigError(f"bound {bound!r} is unknown: {nearest(bound, BOUNDS)}")
        if not 0 < eps < float("inf"):
            raise ConfigError(f"eps must be above 0 and finite, not {eps!r}")
        if not (0 <= warmup <= 1 and 0 <= ramp <= 1 and warmup + ramp <= 1 and 0 <= kappa <= 1):
            raise ConfigError(
                "warmup, ramp and kappa must lie in [0, 1], and warmup and ramp leave room in the run: "
                f"{warmup!r}, {ramp!r}, {kappa!r}"
            )
        self.eps, self.bound, self.warmup, self.ramp, self.kappa = eps, bound, warmup, ramp, kappa
        self.total = 1
        # Not a sub-module: its parameters are the encoder's and the classifier's own.
        self._live: LiveNetwork | None = None

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), classes=4)

    def before_run(self, steps: int) -> None:
        self.total = max(1, steps)

    def grown(self, step: int) -> float:
        """Return which share of its way the radius has gone at a step: 0, then a straight line, then 1."""
        done = step / self.total - self.warmup
        return 0.0 if done < 0 else 1.0 if done >= self.ramp else done / self.ramp

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the share of samples proven at this step's radius (`certified_accuracy`), that radius."""
        x, y = self.samples(batch), self.labels(batch)
        logits = self.logits(x)
        clean = F.cross_entropy(logits.float() if logits.dtype == torch.bfloat16 else logits, y)
        grown = self.grown(batch.step)
        kappa, eps = 1 - (1 - self.kappa) * grown, self.eps * grown
        right = accuracy(logits, y)
        terms = {"clean_accuracy": right, "certified_accuracy": right, "radius": right.new_tensor(eps)}
        if eps == 0:
            return {"loss": clean, **terms}
        margins = self.margins(x, y, eps, beta=1 - grown if self.bound == "crown-ibp" else 0.0)
        worst = F.cross_entropy(worst_logits(margins, y), y)
        terms["certified_accuracy"] = (margins.detach() > 0).all(1).float().mean()
        return {"loss": kappa * clean + (1 - kappa) * worst, **terms}

    def margins(self, x: Tensor, y: Tensor, eps: float, *, beta: float = 0.0) -> Tensor:
        """Return `(1 - beta) IBP + beta CROWN-IBP` bounds of the margins within eps, `(B, C - 1)`, in x's precision."""
        if self._live is None:
            self._live = LiveNetwork(self.network())
        if beta == 0:
            (found,) = self._live.margins(x, y, eps)
        else:
            interval, back = self._live.margins(x, y, eps, methods=("ibp", "crown-ibp"))
            found = (1 - beta) * interval + beta * back
        return found.to(x.dtype)


def worst_logits(margins: Tensor, y: Tensor) -> Tensor:
    """Return logits `(B, C)` of which the cross-entropy is the largest that margins `(B, C - 1)` allow.

    >>> worst_logits(torch.tensor([[1.0, -2.0]]), torch.tensor([1]))
    tensor([[-1.,  0.,  2.]])
    """
    classes = margins.shape[1] + 1
    others = torch.arange(classes - 1, device=y.device)[None].expand(len(y), -1)
    others = others + (others >= y[:, None])
    return torch.zeros(len(y), classes, dtype=margins.dtype, device=y.device).scatter(1, others, -margins)

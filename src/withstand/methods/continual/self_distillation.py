"""Further pretraining on the data at hand, and again from the same start, with the outcome as a teacher.

paper: Self-Distillation for Further Pre-training of Transformers (Lee, Kang, Lee, Hwang, Kawaguchi; ICLR 2023)
needs: what the wrapped method needs          modalities: any with an encoder
sizes: B samples of a batch, N of the data, L tokens, D width
differences: the paper matches all hidden states, its code the class token after the last normalisation; by default
    the encoder's features are matched, which are that token where the encoder has one, and else the mean of the
    patches. Where samples are read as they are, the teacher is asked once for each, and not at every step.
"""

import copy
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Epoch, Method, Model, Source, Terms
from withstand.losses.agreement.distillation import squared_distance
from withstand.methods.shared.pairs import example_of_pairs
from withstand.methods.shared.wrappers.continued import Continued, bare, take_over
from withstand.models.pictures.transformers.patches import with_patches

Match = Literal["features", "tokens"]


class FurtherPretraining(Continued):
    """The wrapped method goes on from an earlier stage's weights, and keeps a frozen copy of them.

    Args:
        method: what is trained on, a masked method as a rule.

    Attributes:
        start: the method as it was before the first step.
    """

    def __init__(self, method: Method) -> None:
        super().__init__(method)
        self.start = copy.deepcopy(method).requires_grad_(False).eval()

    @classmethod
    def example(cls) -> Self:
        return cls(example_of_pairs())

    def step(self, batch: Batch) -> Terms:
        """Return the wrapped method's terms."""
        return self.inside(batch)

    def inherit(self, earlier: Method) -> None:
        super().inherit(earlier)
        self.start.load_state_dict(self.method.state_dict())

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all that is trained; what is frozen stays in eval mode."""
        super().train(mode)
        self.start.eval()
        return self


class SelfDistillation(FurtherPretraining):
    """Trains the start of the stage before once more, and pulls its features towards that stage's outcome.

    The earlier stage is a `FurtherPretraining`, or a `SelfDistillation` for a further round. Both forward passes of the
    pull see whole samples; gradients of both losses are one step's.

    Args:
        method: what is trained, of the make of the earlier stage's.
        weight: of the squared distance; 0 trains as the stage before did.
        match: what is pulled: the encoder's "features", or all its "tokens", the mean over them, of one that reads
            patches.
        samples: N, to keep the teacher's features of each sample, `(N, D)`, where batches have no views and `match` is
            "features"; None asks the teacher at every step.
    """

    wanted: Tensor

    def __init__(
        self, method: Method, *, weight: float = 1.0, match: Match = "features", samples: int | None = None
    ) -> None:
        super().__init__(method)
        if not weight >= 0:
            raise ConfigError(f"weight must be at least 0, not {weight!r}")
        if match not in get_args(Match):
            raise ConfigError(f"match {match!r} is unknown: {nearest(str(match), get_args(Match))}")
        if match == "tokens":
            with_patches(method.encoder)
        if match == "tokens" and samples is not None:
            raise ConfigError("samples keeps the teacher's features: with match='tokens' it must be None")
        self.weight, self.match, self.samples = weight, match, samples
        self.teacher = copy.deepcopy(method.encoder).requires_grad_(False).eval()
        if samples is not None:
            self.register_buffer("wanted", torch.zeros(samples, method.encoder.width))

    def accept(self, source: Source, batch: int) -> None:
        if self.samples is not None and len(source) != self.samples:
            raise ConfigError(f"samples is {self.samples}, but the data have {len(source)}")
        super().accept(source, batch)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `pretraining` and `distillation`, unweighted, and the wrapped method's terms."""
        terms = self.inside(batch)
        if not self.weight:
            return terms
        distance = squared_distance(self._seen(self.encoder, self._whole(batch)), self.taught(batch))
        return {
            **terms,
            "loss": terms["loss"] + self.weight * distance,
            "pretraining": terms["loss"].detach(),
            "distillation": distance.detach(),
        }

    def taught(self, batch: Batch) -> Tensor:
        """Return what the teacher makes of a batch's whole samples: features `(B, D)` or tokens `(B, L, D)`."""
        if self.samples is not None and not batch.views:
            return self.wanted[batch.index]
        with torch.no_grad():
            return self._seen(self.teacher, self._whole(batch))

    def _whole(self, batch: Batch) -> Tensor:
        return unit_range(batch.views[0] if batch.views else batch.x)

    def _seen(self, encoder: Model, x: Tensor) -> Tensor:
        seen: Tensor = encoder(x) if self.match == "features" else with_patches(encoder).tokens(x)
        return seen

    def inherit(self, earlier: Method) -> None:
        if not isinstance(earlier, FurtherPretraining):
            other = type(earlier).__name__
            raise ConfigError(f"SelfDistillation builds on a FurtherPretraining, which keeps its start, not on {other}")
        take_over(self.teacher, bare(earlier).encoder)
        take_over(self.method, earlier.start)
        take_over(self.start, earlier.start)

    def before_epoch(self, epoch: Epoch) -> None:
        if epoch.number == 0 and self.samples is not None:
            self.wanted.copy_(epoch.pass_over(lambda x: self.teacher(unit_range(x))))
        super().before_epoch(epoch)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all that is trained; start and teacher stay in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

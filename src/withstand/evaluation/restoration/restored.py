"""What a masked method makes of hidden patches: pictures beside what was seen of them, and how far off they are."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding, Measure
from withstand.core.findings.pictures import as_bytes
from withstand.core.part import describe
from withstand.core.random import ranked
from withstand.core.roles import Evaluator, Method, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.evaluation.small import small_pictures
from withstand.losses.restoration.reconstruction import masked_patch_error
from withstand.models.blocks.pick import pick
from withstand.models.pictures.transformers.patches import TokenEncoder, joined

_AT_ONCE = 64
OFF, ORDER = "error over that of a flat guess", "rank correlation of told and true difficulty"


@runtime_checkable
class Restorer(Protocol):
    """A method that hides patches of pictures and tells them.

    Attributes:
        encoder: what cuts pictures into patches.
        normalise: whether patches are told less their mean, over their deviation.
    """

    encoder: TokenEncoder
    normalise: bool

    def masks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return which patches are seen, int64 `(B, K)`, and hidden, `(B, M)`."""
        ...

    def restored(self, x: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        """Return what the hidden patches are told to be, `(B, M, P*P*C)`."""
        ...


@runtime_checkable
class Difficult(Protocol):
    """A method that tells which patches are hard."""

    def difficulty(self, x: Tensor) -> Tensor:
        """Return a score for each patch of pictures, `(B, L)`, higher for harder ones."""
        ...


@dataclass(frozen=True)
class Restored(Evaluator):
    """What is restored of hidden patches, as pictures, and its error beside that of a flat guess.

    A flat guess is the patch's mean where patches are told less their mean, else the mean of the seen patches. Masks
    are those of a run's first step, so that nothing is hidden for being hard.

    Args:
        shown: pictures that are shown.
        samples: most pictures that errors are averaged over, drawn by (seed, index).
        seed: of the choice of pictures and of masks.
    """

    shown: int = 8
    samples: int = 256
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if not 1 <= self.shown <= self.samples:
            raise ConfigError(f"shown must lie between 1 and samples, not {self.shown!r} of {self.samples!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(shown=2, samples=8)

    def example_trial(self) -> Trial:
        from withstand.methods.masked.hpm import HPM

        return Trial(HPM.example(), small_pictures(), HPM.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method restores no patches, or that the data are no pictures."""
        if not isinstance(_inside(subject), Restorer):
            return f"{type(subject).__name__} restores no patches that could be shown"
        return "" if len(source.shape) == 3 else f"patches are of pictures, not of samples of shape {source.shape}"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "restored".

        Args:
            subject: a method that is a `Restorer`, and maybe `Difficult`, or that wraps one as its `method`.
            source: pictures.
            test: pictures that are shown and judged in place of the source's.
            control: the method untrained.

        Raises:
            ConfigError: the subject restores no patches.
            DataError: the samples are no pictures.
        """
        judged = source if test is None else test
        lacking, subject = self.lacks(subject, judged), _inside(subject)
        if lacking:
            raise (DataError if isinstance(subject, Restorer) else ConfigError)(lacking)
        rows = ranked(len(judged), self.seed, "restored")[: self.samples]
        batch = replace(judged[rows], seed=self.seed)
        batch = batch.with_x(unit_range(batch.x))
        found, pictures = self._judged(subject, batch)
        beside = {} if control is None else self._judged(_inside(control), batch)[0]
        figures = {
            name: replace(measure, control=beside.get(name)) if name in beside else measure
            for name, measure in found.items()
        }
        levels = "of the seen patches: a hidden patch's own mean and deviation would give it away"
        return Finding(
            name="restored",
            figures=figures,
            headline=OFF,
            protocol={
                "evaluator": describe(self),
                "samples": len(rows),
                "samples given": len(judged),
                "levels of what is shown": levels if subject.normalise else "as told, in pixels",
            },
            pictures=pictures if judged.shape[0] in (1, 3) else {},
        )

    def _judged(self, method: Any, batch: Batch) -> tuple[dict[str, Measure], dict[str, npt.NDArray[np.uint8]]]:
        errors: list[Tensor] = []
        flat: list[Tensor] = []
        orders: list[Tensor] = []
        pictures: dict[str, npt.NDArray[np.uint8]] = {}
        with Victim(method).held(), torch.no_grad():
            for start in range(0, len(batch), _AT_ONCE):
                some = _part(batch, slice(start, start + _AT_ONCE)).to(device_of_network(method))
                keep, hidden = method.masks(some)
                told, patches = method.restored(some.x, keep, hidden), method.encoder.patches(some.x)
                seen = pick(patches, keep)
                level, spread = seen.mean((1, 2)).view(-1, 1, 1), seen.var(2).mean(1).sqrt().view(-1, 1, 1)
                guess = (torch.zeros_like(level) if method.normalise else level).expand_as(told)
                for kept, one in ((errors, told), (flat, guess)):
                    kept.append(masked_patch_error(one, patches, hidden, method.normalise).double().cpu())
                scores = method.difficulty(some.x) if isinstance(method, Difficult) else None
                if scores is not None:
                    orders.append(_rank_correlation(scores.gather(1, hidden).double().cpu(), errors[-1]))
                if not start:
                    pixels = told * spread + level if method.normalise else told
                    pictures = _strips(method.encoder, some.x, patches, pixels, hidden)
                    if scores is not None:
                        pictures["difficulty"] = _map(scores, method.encoder.grid(some.x), some.x)
        if not float(torch.cat(flat).mean()) > 0:
            raise DataError("every hidden patch is of one color: there is nothing to restore")
        found = {
            OFF: Measure(float(torch.cat(errors).mean() / torch.cat(flat).mean()), "ratio", "lower", of=len(batch))
        }
        if orders:
            found[ORDER] = Measure(float(torch.cat(orders).mean()), "correlation", "higher", of=len(batch))
        return found, {name: strip[: self.shown] for name, strip in pictures.items()}


def _inside(method: Any) -> Any:
    """Return what restores: the method itself, or the one that it wraps."""
    while not isinstance(method, Restorer) and isinstance(getattr(method, "method", None), Method):
        method = method.method
    return method


def _part(batch: Batch, rows: slice) -> Batch:
    return Batch(batch.x[rows], batch.index[rows], seed=batch.seed)


def _strips(
    encoder: TokenEncoder, x: Tensor, patches: Tensor, told: Tensor, hidden: Tensor
) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the pictures, what is seen of them with the rest in grey, and what is restored."""
    grid, squares = encoder.grid(x), patches.shape[2] // encoder.channels
    covered = torch.zeros(len(x), patches.shape[1], dtype=torch.bool, device=x.device).scatter_(1, hidden, True)
    grey = joined(covered[:, :, None].expand(-1, -1, squares), *grid, 1)
    restored = encoder.pixels(patches.scatter(1, hidden[:, :, None].expand_as(told), told), grid)
    return {"picture": as_bytes(x), "seen": as_bytes(x.masked_fill(grey, 0.5)), "restored": as_bytes(restored)}


def _map(scores: Tensor, grid: tuple[int, int], x: Tensor) -> npt.NDArray[np.uint8]:
    """Return patches in greys by their rank, the hardest white."""
    ranks = scores.argsort(1).argsort(1).float() / max(1, scores.shape[1] - 1)
    cells = ranks.view(len(x), 1, *grid)
    side = x.shape[2] // grid[0]
    return as_bytes(cells.repeat_interleave(side, 2).repeat_interleave(side, 3).expand(-1, x.shape[1], -1, -1))


def _rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Return Spearman's correlation of each row, `(B,)`; ties are ranked by place."""
    ranks = torch.stack([one, other]).argsort(2).argsort(2).double()
    ranks -= ranks.mean(2, keepdim=True)
    product: Tensor = (ranks[0] * ranks[1]).sum(1) / (ranks.square().sum(2).prod(0).sqrt())
    return product

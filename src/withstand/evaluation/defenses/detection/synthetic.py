"""How well synthetic pictures are told from real ones, generator by generator, after what sharing does to pictures.

ImagiNet (2024): the area under the ROC curve of each generator's pictures against the real ones, balanced accuracy at
a probability of one half, and the calibration error, of pictures as they are and perturbed. Sizes: `N` pictures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from withstand.attacks.objectives import pick
from withstand.core.devices.device import device_of_network
from withstand.core.errors import DataError, require_at_least
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Outputs, Victim
from withstand.data.derived.origins import GENERATOR, REAL, SYNTHETIC, Origins
from withstand.evaluation.defenses.detection.roc import auroc
from withstand.evaluation.provenance import traced
from withstand.evaluation.small import untrained
from withstand.evaluation.statistics.calibration import expected_calibration_error
from withstand.evaluation.statistics.intervals import shares
from withstand.views.compose import Compose
from withstand.views.pictures.blur import GaussianBlur
from withstand.views.pictures.compression import Compression
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.pictures.noise import GaussianNoise
from withstand.views.pictures.picture import PictureView, own_copy
from withstand.views.pictures.rescaled import Rescaled

MEAN = "mean AUC over generators and perturbations"
CLEAN = "mean AUC over generators, as they are"
BALANCED, CALIBRATION = "balanced accuracy, perturbed", "calibration error, perturbed"
AS_THEY_ARE = "as they are"


def perturbations(size: int) -> dict[str, PictureView]:
    """Return what pictures of a size go through, by name.

    "shared" is the paper's mix of social networks: a square part of at least a quarter of the area, brought to the
    size, and three times in four JPEG or WebP of quality 60 to 100.
    """
    shared = (RandomResizedCrop(size, (0.25, 1.0), (1.0, 1.0)), Compression(quality=(60, 100), probability=0.75))
    return {
        **{f"JPEG {quality}": Compression(("jpeg",), (quality, quality)) for quality in (90, 70, 50)},
        "WebP 70": Compression(("webp",), (70, 70)),
        "resized by 0.75": Rescaled(0.75),
        "resized by 0.5": Rescaled(0.5),
        "blurred": GaussianBlur((1.0, 1.0), kernel_size=5, probability=1.0),
        "noisy": GaussianNoise(0.02),
        "shared": Compose(shared),
    }


@dataclass(frozen=True)
class SyntheticBench(Evaluator):
    """Judge a detector of synthetic pictures, by generator and by perturbation.

    Args:
        samples: how many pictures are used, drawn by the seed; all where there are fewer.
        seed: of that choice, and of what perturbations draw.
        batch: pictures at once.
        bins: of the calibration error.
    """

    samples: int = 2000
    seed: int = 0
    batch: int = 250
    bins: int = 15

    product = "classifier"

    def __post_init__(self) -> None:
        require_at_least(1, samples=self.samples, batch=self.batch, bins=self.bins)

    def example_trial(self) -> Trial:
        return Trial(untrained(192, 2), Origins.example(), untrained(192, 2))

    def lacks(self, subject: object, source: Source) -> str:
        return "" if _knows_origins(source) else "the data do not say which pictures are synthetic, and who made them"

    def evaluate(
        self,
        subject: Victim | Callable[[Tensor], Outputs],
        source: Source,
        *,
        test: Source | None = None,
        control: Any = None,
    ) -> Finding:
        """Return the finding "synthetic".

        Args:
            subject: gives logits `(N, 2)` of real and synthetic, for inputs in [0, 1].
            source: pictures that know their origins, as those of `Origins`.
            test: pictures to use in place of the source's.
            control: another model, to compare with.

        Raises:
            DataError: no such pictures, or real ones or synthetic ones alone.
        """
        source = source if test is None else test
        if not _knows_origins(source):
            raise DataError(f"{source.name} does not say which pictures are synthetic, and who made them: use Origins")
        rows = permutation(len(source), self.seed, "synthetic")[: self.samples].sort().values
        made = source.attributes[GENERATOR][rows]
        if bool((made < 0).all()) or bool((made >= 0).all()):
            raise DataError("detection is judged on real and synthetic pictures, and these are of one kind alone")
        names = source.group_names[GENERATOR]
        present = [code for code in range(len(names)) if bool((made == code).any())]
        victim = subject if isinstance(subject, Victim) else Victim(subject)
        x = victim.ready(source[rows[:2]].x.to(device_of_network(victim.model)))
        found = self._measured(victim, source, rows, made, present)
        figures = _figures(found, len(rows))
        if control is not None:
            other = control if isinstance(control, Victim) else Victim(control)
            beside = _figures(self._measured(other, source, rows, made, present), len(rows))
            figures = {name: replace(figure, control=beside[name]) for name, figure in figures.items()}
        columns = [names[code] for code in present]
        table: list[tuple[Cell, ...]] = [(how, *one.areas, one.mean) for how, one in found.items()]
        answers: list[tuple[Cell, ...]] = [(how, one.balanced, one.calibration) for how, one in found.items()]
        return Finding(
            "synthetic",
            figures=figures,
            headline=MEAN,
            tables={
                "AUC by generator and perturbation": Table(
                    ("pictures", *columns, "mean"), tuple(table), units=dict.fromkeys((*columns, "mean"), "share")
                ),
                "answers at a probability of one half": Table(
                    ("pictures", "balanced accuracy", "calibration error"),
                    tuple(answers),
                    units=shares("balanced accuracy", "calibration error"),
                ),
            },
            checks=(_far_from_given_away(found),),
            protocol={
                "bench": describe(self),
                **traced(victim, source, rows, x, made, asked=self.samples),
                "score": "the logit of synthetic less that of real",
                "real pictures": int((made < 0).sum()),
                "synthetic pictures": {names[code]: int((made == code).sum()) for code in present},
                "perturbations": {name: describe(view) for name, view in perturbations(source.shape[-1]).items()},
            },
        )

    def _measured(
        self, victim: Victim, source: Source, rows: Tensor, made: Tensor, present: list[int]
    ) -> "dict[str, Measured]":
        """Return what is measured of pictures as they are and after each perturbation."""
        views: dict[str, PictureView | None] = {AS_THEY_ARE: None, **perturbations(source.shape[-1])}
        with victim.held(), torch.no_grad():
            logits = {how: self._logits(victim, source, rows, view, how) for how, view in views.items()}
        return {how: measured(one, made, present, self.bins) for how, one in logits.items()}

    def _logits(self, victim: Victim, source: Source, rows: Tensor, view: PictureView | None, how: str) -> Tensor:
        found = []
        device, seed = device_of_network(victim.model), derive(self.seed, "synthetic", how)
        for first in range(0, len(rows), self.batch):
            batch = source[rows[first : first + self.batch]]
            x = own_copy(batch.x)
            if view is not None:
                x = view.change(x, Draws(seed, batch.index))
            # Whole levels, as a file's are: a detector shall not see that these pictures were none.
            levels = (x * 255).round() / 255
            found.append(pick(victim(levels.to(device) * victim.span + victim.low), "logits").cpu())
        return torch.cat(found)


@dataclass(frozen=True)
class Measured:
    """What is measured of pictures that went through one perturbation.

    Attributes:
        areas: the AUC of each generator's pictures against the real ones.
        balanced: accuracy at a probability of one half, mean over real and synthetic.
        calibration: the expected calibration error.
    """

    areas: tuple[float, ...]
    balanced: float
    calibration: float

    @property
    def mean(self) -> float:
        """The mean AUC over generators."""
        return sum(self.areas) / len(self.areas)


def measured(logits: Tensor, made: Tensor, present: list[int], bins: int = 15) -> Measured:
    """Return what logits say of pictures.

    Args:
        logits: `(N, 2)`, of real and synthetic.
        made: each picture's generator, -1 for real.
        present: the generators that areas are of.
        bins: of the calibration error.

    Raises:
        DataError: logits of another shape.
    """
    if logits.dim() != 2 or logits.shape[1] != 2:
        raise DataError(f"a detector gives two logits a picture, of real and synthetic, not {tuple(logits.shape)}")
    score, y = (logits[:, 1] - logits[:, 0]).double(), made >= 0
    answer = score > 0
    return Measured(
        tuple(auroc(score[made == code], score[~y]) for code in present),
        float(balanced_accuracy_score(y.numpy(), answer.numpy())),
        expected_calibration_error(score.abs().sigmoid(), answer == y, bins),
    )


def _figures(found: Mapping[str, Measured], samples: int) -> dict[str, Measure]:
    every, perturbed = list(found.values()), [one for how, one in found.items() if how != AS_THEY_ARE]

    def share(value: float) -> Measure:
        return Measure(value, "share", "higher", of=samples)

    return {
        MEAN: share(sum(one.mean for one in every) / len(every)),
        CLEAN: share(found[AS_THEY_ARE].mean),
        "balanced accuracy, as they are": share(found[AS_THEY_ARE].balanced),
        BALANCED: share(sum(one.balanced for one in perturbed) / len(perturbed)),
        CALIBRATION: Measure(sum(one.calibration for one in perturbed) / len(perturbed), "ratio", "lower", of=samples),
    }


def _knows_origins(source: Source) -> bool:
    return GENERATOR in source.group_names and GENERATOR in source.attributes and source.classes == (REAL, SYNTHETIC)


def _far_from_given_away(found: Mapping[str, Measured]) -> Check:
    """Return the check that no detection falls from perfect to chance by the lightest compression."""
    clean, light = found[AS_THEY_ARE].mean, found["JPEG 90"].mean
    lost = clean > 0.95 and light < 0.6
    return Check(
        "what tells pictures survives JPEG 90",
        not lost,
        f"mean AUC {clean:.3f} as they are, {light:.3f} after it"
        + (": the format of files may be what was learnt, see equalise" if lost else ""),
    )

"""`trace`: which copy of a classifier adversarial examples were made on; a match is no proof."""

import csv
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.api.front import open_run
from withstand.api.runs import Run
from withstand.api.settings import Tracing, changed
from withstand.core.devices.device import device_of_network, moved
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files import replacing
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes
from withstand.core.options import Device
from withstand.core.roles import network_of
from withstand.core.victims.victim import Victim
from withstand.evaluation.defenses.tracing.calibration import Worth
from withstand.evaluation.defenses.tracing.cases import RADII, calibrate
from withstand.evaluation.defenses.tracing.evidence import Evidence, every_copy, gather
from withstand.models.pictures.tracers import TracedCopies

NO_PROOF = (
    "A match is no proof. It is learnt from attacks of our own: examples made otherwise, from pooled copies or without "
    "the tracer may point at a copy that had no part in them, or at none."
)
UNKNOWN = "unknown"
_ARRAYS = ("adversarial", "x", "y", "predicted")
_SHOWN = 8


@dataclass(frozen=True)
class Traced:
    """What `trace` gives.

    Attributes:
        copy: the number of the copy that is named as the source of all pictures together; None where it is unknown.
        worth: what the evidence of all pictures together is worth, for each copy.
        pictures: the same of each picture alone, by its place in the file; of usable ones.
        finding: the summary.
        file: the table of pictures that was written.
    """

    copy: int | None
    worth: Worth
    pictures: Mapping[int, Worth]
    finding: Finding
    file: Path


def trace(
    run: str | Path | Run,
    adversarial: str | Path | Mapping[str, npt.NDArray[np.generic]],
    asked: Tracing = Tracing(),  # noqa: B008 - a frozen value
    *,
    out: str | Path | None = None,
    device: Device = "auto",
    allow: Sequence[str] = (),
    **settings: object,
) -> Traced:
    """Rank the copies of a run's classifier by how likely adversarial examples were made on them, and keep the finding.

    Args:
        run: one of attack-tracing.
        adversarial: an `.npz` file as `withstand attack` writes it, or its arrays: `adversarial` `(N, C, H, W)`, bytes
            or numbers in [0, 1]; what they show, as labels `y` `(N,)` or as the originals `x`; and, where it is known,
            what the attacked copy took them for, `predicted` `(N,)`.
        asked: how sure one has to be.
        out: the `.csv` file of the pictures, one a line; `trace-NAME.csv` in the run folder if None.
        device: auto, cpu, cuda or mps.
        allow: modules outside withstand that the run's description may name.
        **settings: single fields of `asked`, by name: `confidence=0.95`.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked = changed(asked, settings)
    for name in ("confidence", "level"):
        if not 0 < getattr(asked, name) < 1:
            raise ConfigError(f"{name} must lie between 0 and 1, not {getattr(asked, name)!r}")
    opened = run if isinstance(run, Run) else open_run(run, device=device, allow=allow)
    word = "given" if isinstance(adversarial, Mapping) else re.sub(r"[^\w.-]+", "-", Path(adversarial).stem)
    path = opened.path / f"trace-{word}.csv" if out is None else Path(out)
    if path.suffix != ".csv":
        raise ConfigError(f"out must name a .csv file, not {str(path)!r}")
    arrays = dict(adversarial) if isinstance(adversarial, Mapping) else _read(Path(adversarial))
    copies = network_of(opened.method, "copies").eval()
    if not isinstance(copies, TracedCopies):
        raise ConfigError(f"the copies that {opened.path} gives are {type(copies).__name__}, which hold no tracers")
    with moved(opened.device, copies):
        suspected = _suspected(copies, arrays)
        reference, calibration = calibrate(
            copies, opened.source, samples=asked.samples, prior=asked.prior, seed=asked.seed
        )
        evidence = gather(copies, reference, suspected.x, suspected.right, suspected.wrong)
    usable = evidence.fooled.any(1).cpu()
    if not bool(usable.any()):
        raise DataError(f"none of the {len(usable)} pictures is adversarial: every copy says what they show")
    score = evidence.score.cpu()[usable]
    places = suspected.rows[usable].tolist()
    alone = dict(zip(places, calibration.each(score), strict=True))
    together = calibration.worth(score)
    named = together.named(asked.confidence, asked.level)
    finding = _finding(word, copies, suspected, evidence, usable, together, alone, named, asked)
    opened.folder.save(finding)
    _write(finding.tables["pictures"], path)
    return Traced(named, together, alone, finding, path)


def write_copies(run: str | Path | Run, folder: str | Path, *, allow: Sequence[str] = ()) -> list[Path]:
    """Write the copies of a run's classifier that are to be handed out: `copy-NUMBER.safetensors` with its `.json`.

    Args:
        run: one of attack-tracing.
        folder: where.
        allow: modules outside withstand that the run's description may name.

    Raises:
        ConfigError: the run gives no copies.
    """
    from withstand.engine.export import to_safetensors

    opened = run if isinstance(run, Run) else open_run(run, allow=allow)
    copies = network_of(opened.method, "copies").eval()
    if not isinstance(copies, TracedCopies):
        raise ConfigError(f"the copies that {opened.path} gives are {type(copies).__name__}, which hold no tracers")
    Path(folder).mkdir(parents=True, exist_ok=True)
    width = len(str(copies.registered - 1))
    return [
        to_safetensors(copies.copy(place), Path(folder) / f"copy-{place:0{width}}.safetensors")
        for place in range(copies.registered)
    ]


@dataclass(frozen=True)
class _Suspected:
    """Pictures that may be adversarial, with what is known of them.

    Attributes:
        x: in [0, 1], `(N, C, H, W)`.
        right: what they show, `(N,)`.
        wrong: what they were taken for, `(N,)`; None where nobody knows.
        rows: their places in the file.
        originals: clean ones; None where nobody has them.
        given: how many the file holds.
        unchanged: how many of them are as the original was.
        misread: how many of the others have an original that the classifier misreads by itself.
        repeated: how many of the rest are the same as an earlier one, which is evidence once.
    """

    x: Tensor
    right: Tensor
    wrong: Tensor | None
    rows: Tensor
    originals: Tensor | None
    given: int
    unchanged: int
    misread: int
    repeated: int


def _read(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays of a file that are known by name.

    Raises:
        DataError: it is no such file.
    """
    if path.suffix != ".npz":
        raise DataError(f"{str(path)!r} is no .npz file: withstand attack writes one, with the array adversarial")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if name in _ARRAYS} or {
                name: np.empty(0) for name in arrays.files
            }
    except FileNotFoundError:
        raise DataError(f"there is no file {str(path)!r}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{str(path)!r} cannot be read as .npz ({error})") from None


def _suspected(copies: TracedCopies, arrays: Mapping[str, npt.NDArray[np.generic]]) -> _Suspected:
    """Return the pictures that can be traced at all.

    Raises:
        DataError: no pictures of the copies' shape, nothing that says what they show, or none that can be traced.
    """
    if "adversarial" not in arrays:
        raise DataError(f"there is no array 'adversarial': {nearest('adversarial', arrays)}")
    victim = Victim(copies.classifier)
    x = _pictures(copies, victim, "adversarial", arrays["adversarial"])
    if "x" not in arrays and "y" not in arrays:
        raise DataError(
            "nothing says what the pictures show: give the originals as the array x, or their labels as y; without "
            "either no difference of logits can be told"
        )
    count, classes = len(x), copies.tracers.classes
    originals = _pictures(copies, victim, "x", arrays["x"]) if "x" in arrays else None
    if originals is not None and len(originals) != count:
        raise DataError(f"x holds {len(originals)} originals of {count} adversarial pictures")
    y = _labels("y", arrays["y"], count, classes).to(x.device) if "y" in arrays else None
    wrong = _labels("predicted", arrays["predicted"], count, classes).to(x.device) if "predicted" in arrays else None
    kept, unchanged, misread = torch.ones(count, dtype=torch.bool, device=x.device), 0, 0
    if originals is not None:
        says = every_copy(copies, originals)[0]
        same = (originals == x).flatten(1).all(1)
        y = says if y is None else y
        bad = ~same & (says != y)
        kept, unchanged, misread = ~same & ~bad, int(same.sum()), int(bad.sum())
    assert y is not None
    if wrong is not None:
        kept &= wrong != y
    rows = _first_of_each(x, kept.nonzero()[:, 0])
    repeated = int(kept.sum()) - len(rows)
    if not len(rows):
        raise DataError(
            f"none of the {count} pictures can be traced: {unchanged} are as the original, {misread} have an original "
            "that the classifier misreads anyway, and the others were taken for what they show"
        )
    return _Suspected(
        x[rows],
        y[rows],
        None if wrong is None else wrong[rows],
        rows.cpu(),
        None if originals is None else originals[rows],
        count,
        unchanged,
        misread,
        repeated,
    )


def _first_of_each(x: Tensor, rows: Tensor) -> Tensor:
    """Return those of some rows whose picture does not stand in an earlier one of them."""
    seen: set[bytes] = set()
    kept = []
    for row in rows.tolist():
        held = x[row].cpu().numpy().tobytes()
        if held not in seen:
            seen.add(held)
            kept.append(row)
    return torch.tensor(kept, dtype=torch.int64, device=rows.device)


def _pictures(copies: TracedCopies, victim: Victim, name: str, array: npt.NDArray[np.generic]) -> Tensor:
    shape = copies.tracers.shape
    if array.dtype.kind not in "fu" or array.shape[1:] != shape:
        raise DataError(
            f"{name} must hold pictures (N, {', '.join(map(str, shape))}), bytes or numbers in [0, 1], as the copies "
            f"read them, not {array.dtype} {array.shape}"
        )
    if not len(array):
        raise DataError(f"{name} holds no pictures")
    if array.dtype.kind == "u" and array.dtype != np.uint8:
        raise DataError(f"{name} must hold bytes or numbers in [0, 1], not {array.dtype}")
    values = torch.from_numpy(np.ascontiguousarray(array if array.dtype == np.uint8 else array.astype(np.float32)))
    return victim.ready(values.to(device_of_network(copies)))


def _labels(name: str, array: npt.NDArray[np.generic], count: int, classes: int) -> Tensor:
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise DataError(
            f"{name} must be whole numbers ({count},), a class of each picture, not {array.dtype} {array.shape}"
        )
    found = torch.from_numpy(array.astype(np.int64))
    if not 0 <= int(found.min()) <= int(found.max()) < classes:
        raise DataError(
            f"{name} lies in [{int(found.min())}, {int(found.max())}], and the copies know classes 0 to {classes - 1}"
        )
    return found


def _finding(
    word: str,
    copies: TracedCopies,
    suspected: _Suspected,
    evidence: Evidence,
    usable: Tensor,
    together: Worth,
    alone: Mapping[int, Worth],
    named: int | None,
    asked: Tracing,
) -> Finding:
    order = together.score.sort(descending=True, stable=True).indices.tolist()
    ranking: list[tuple[Cell, ...]] = [
        (place, float(together.score[place]), float(together.confidence[place]), float(together.p[place]))
        for place in order
    ]
    wrong, right = evidence.wrong[usable.to(evidence.wrong.device)].tolist(), suspected.right.cpu()[usable].tolist()
    pictures: list[tuple[Cell, ...]] = []
    for (row, worth), shown, taken in zip(alone.items(), right, wrong, strict=True):
        best, mine = int(worth.score.argmax()), worth.named(asked.confidence, asked.level)
        pictures.append(
            (
                row,
                shown,
                taken,
                UNKNOWN if mine is None else f"copy {mine}",
                best,
                float(worth.confidence[best]),
                worth.unknown,
                float(worth.p[best]),
            )
        )
    shares = ("confidence", "unknown's", "p, corrected")
    some = usable.nonzero()[:_SHOWN, 0]
    drawn = {"adversarial": as_bytes(suspected.x.cpu()[some])} if suspected.x.shape[1] in (1, 3) else {}
    if drawn and suspected.originals is not None:
        drawn = {"original": as_bytes(suspected.originals.cpu()[some]), **drawn}
    said = (
        f"copy {named}, if all pictures come from one source"
        if named is not None
        else f"{UNKNOWN}: no copy has a probability of {asked.confidence:g} and a corrected p of {asked.level:g}"
    )
    return Finding(
        name=f"trace, {word}",
        figures={
            "pictures": Measure(suspected.given, "count", None),
            "pictures that were traced": Measure(len(alone), "count", None),
            "confidence of the first": Measure(float(together.confidence[order[0]]), "share", None),
            "confidence of an unknown source": Measure(together.unknown, "share", None),
            "p of the first, corrected": Measure(float(together.p[order[0]]), "share", None),
        },
        tables={
            "copies": Table(
                ("copy", "score", "confidence", "p, corrected"),
                tuple(ranking),
                units={"score": "ratio", "confidence": "share", "p, corrected": "share"},
            ),
            "pictures": Table(
                ("picture", "shows", "taken for", "traced to", "first", *shares),
                tuple(pictures),
                units=dict.fromkeys(shares, "share"),
            ),
        },
        checks=(Check("enough to name a copy", None if named is None else True, said),),
        protocol={
            "asked": asdict(asked),
            "verdict": UNKNOWN if named is None else f"copy {named}",
            "candidates": copies.registered,
            "counted as": together.pooled,
            "unchanged": suspected.unchanged,
            "misread without attack": suspected.misread,
            "the same as an earlier one": suspected.repeated,
            "fool no copy": int((~usable).sum()),
            "taken for": "as given"
            if suspected.wrong is not None
            else "the wrong class to which any copy is led farthest",
            "self-made attacks": [f"PGD on the margin, linf {eps * 255:g}/255" for eps in RADII],
            "p": "Student's t over self-made sources, times the number of copies",
            "what it means": NO_PROOF,
        },
        pictures=drawn,
    )


def _write(table: Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(table.rows)

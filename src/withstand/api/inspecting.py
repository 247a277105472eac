"""`inspect`: pictures that may carry a backdoor's trigger, with reasons; a score is no proof."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from withstand.api.front import open_run
from withstand.api.settings import Inspection, changed
from withstand.core.errors import ConfigError, DataError, MissingExtra
from withstand.core.files import printable, replacing
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.findings.pictures import pictures_of
from withstand.core.options import Device
from withstand.core.part import describe
from withstand.core.roles import Source, encoder_of
from withstand.data.load import Data, load
from withstand.data.pictures.decoding.decode import sides_of
from withstand.data.pictures.decoding.listing import list_files
from withstand.evaluation.defenses.backdoor.frequency_audit import FrequencyAudit, Shared, Spectra
from withstand.evaluation.defenses.backdoor.suspicion import (
    activation_clustering,
    deep_neighbours,
    pseudo_classes,
    spectral_signatures,
)
from withstand.evaluation.features import embed
from withstand.views.triggers import CHANNELS

NO_PROOF = (
    "A score is no proof. Near copies, one camera's pattern, borders and drawings share frequencies too: look at the "
    "pictures and at where they come from."
)
NOT_CLEAN = (
    "That shows no picture to be clean: a pattern on fewer than about 20 pictures is not told from chance, and "
    "patches, patterns in brightness, and patterns that differ from picture to picture are not looked for."
)
_SHOWN = 64
_LARGEST = 512


@dataclass(frozen=True)
class Inspected:
    """What `inspect` gives.

    Attributes:
        spectra: what the frequency audit found.
        shape: of the pictures, (C, H, W).
        finding: the summary.
        files: what was written, by name: the list, a sheet of the first pictures, and the finding.
    """

    spectra: Spectra
    shape: tuple[int, ...]
    finding: Finding
    files: dict[str, Path]


def inspect(
    data: Data,
    asked: Inspection = Inspection(),  # noqa: B008 - a frozen value
    *,
    run: str | Path | None = None,
    out: str | Path | None = None,
    device: Device = "auto",
    allow: Sequence[str] = (),
    **settings: object,
) -> Inspected:
    """Look through pictures for a pattern in their colors that many share, and list those that hold it.

    Args:
        data: a folder of pictures, a set's name, an array file, a source.
        asked: how.
        run: a run on such pictures; its encoder's features are scored too, for who knows how to read such scores.
        out: the folder of suspicious.csv, suspicious.png and inspection.json; `inspect-NAME` if None.
        device: auto, cpu, cuda or mps, for the run's encoder.
        allow: modules outside withstand that a run's description may name.
        **settings: single fields of `asked`, by name: `look=50`.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked = changed(asked, settings)
    if asked.look < 0 or asked.clusters < 1:
        raise ConfigError("look must be at least 0, and clusters at least 1")
    windows = None if asked.window is None else (asked.window,)
    audit = FrequencyAudit(windows, threshold=asked.threshold, seed=asked.seed)
    size = own_side(data) if asked.size is None else asked.size
    source = load(data, split=asked.split, size=size, reading=asked.reading)
    found = audit.look(source)
    scores = {} if run is None else _by_features(data, source, asked, run, device, allow)
    flagged = found.flagged()
    ranked = found.score.sort(descending=True, stable=True).indices.tolist()
    alone = [row for row in ranked if row not in flagged and float(found.score[row]) > asked.threshold]
    order = sorted(flagged, key=lambda row: -_far(flagged[row], row)) + alone[: asked.look]
    table = _listed(source, found, flagged, order, scores, asked.threshold)
    finding = _finding(source, audit, found, flagged, table, asked)
    folder = Path(f"inspect-{source.name}") if out is None else Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"list": _write(table, folder / "suspicious.csv")}
    sheet = folder / "suspicious.png"
    if order:
        with replacing(sheet) as aside:
            Image.fromarray(_sheet(pictures_of(source, torch.tensor(order[:_SHOWN])))).save(aside, format="PNG")
        files["pictures"] = sheet
    else:
        sheet.unlink(missing_ok=True)  # an earlier inspection's
    files["finding"] = finding.save(folder)
    return Inspected(found, source.shape, finding, files)


def own_side(data: Data) -> int | None:
    """Return the side of a folder's pictures where all are squares of one size up to 512; None of any others.

    Resizing would take fine patterns away.
    """
    if not isinstance(data, str | Path) or not Path(data).is_dir():
        return None
    sides: set[int] = set()
    for file in list_files(Path(data))[0]:
        try:
            _, width, height = sides_of(Path(data) / file.name)
        except (ValueError, OSError, MissingExtra):
            continue  # the folder's reader says what is wrong with it
        sides.add(width if width == height else 0)
        if len(sides) > 1:
            return None
    side = sides.pop() if sides else 0
    return side if 0 < side <= _LARGEST else None


def in_words(one: Shared) -> str:
    """Return where a shared coefficient lies, and who exceeds it."""
    side, other = ("above", "below") if one.sign > 0 else ("below", "above")
    row, column = one.place
    return (
        f"{one.channel.upper()}, row {row}, column {column} of every {one.window} x {one.window} window: {one.count} "
        f"far {side} the usual, {one.opposite} far {other}; p {one.p:.1g}, corrected"
    )


def _by_features(
    data: Data, source: Source, asked: Inspection, run: str | Path, device: Device, allow: Sequence[str]
) -> dict[str, Tensor]:
    """Return scores by the features of a run's encoder, which sees pictures of the size that it learnt from."""
    opened = open_run(run, device=device, allow=allow)
    shape = opened.source.shape
    folder = isinstance(data, str | Path) and Path(data).is_dir()
    seen = load(data, split=asked.split, size=shape[-1], reading=asked.reading) if folder else source
    if seen.shape != shape or len(seen) != len(source):
        raise DataError(f"{opened.path} learnt from samples of shape {shape}, and these have {seen.shape}")
    features = embed(encoder_of(opened.method), seen).x
    labels = seen.labels
    if labels is None:
        labels = pseudo_classes(features, min(asked.clusters, len(features)), seed=asked.seed)
    return {
        "activation clustering": activation_clustering(features, labels, seed=asked.seed),
        "spectral signatures": spectral_signatures(features, labels),
        "other classes among neighbours": deep_neighbours(features, labels),
    }


def _far(one: Shared, row: int) -> float:
    return float(one.deviations[one.rows == row].max())


def _company(found: Spectra, row: int, threshold: float) -> str:
    """Return how many other pictures have their largest deviation in the same place as one."""
    alike = (found.peak == found.peak[row]).all(1) & (found.score > threshold)
    count = int(alike.sum()) - 1
    if not count:
        return "no other has its largest there"
    return f"others that have theirs there: {count:,}, too few to tell from chance"


def _listed(
    source: Source,
    found: Spectra,
    flagged: dict[int, Shared],
    order: Sequence[int],
    scores: dict[str, Tensor],
    threshold: float,
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for row in order:
        if row in flagged:
            one = flagged[row]
            why = f"{_far(one, row):.0f} deviations off in a frequency that is shared: {in_words(one)}"
        else:
            window, channel, down, across = found.peak[row].tolist()
            why = (
                f"unusual: {float(found.score[row]):.0f} deviations off in {CHANNELS[channel].upper()}, row "
                f"{down}, column {across} of every {window} x {window} window; {_company(found, row, threshold)}"
            )
        name = printable(source.names[row]) if source.names else str(row)
        mine = [float(score[row]) for score in scores.values()]
        rows.append((name, row in flagged, float(found.score[row]), *mine, why))
    columns = ("picture", "shared", "deviations", *scores, "because")
    return Table(columns, tuple(rows), units={"deviations": "ratio", **dict.fromkeys(scores, "ratio")})


def _finding(
    source: Source,
    audit: FrequencyAudit,
    found: Spectra,
    flagged: dict[int, Shared],
    table: Table,
    asked: Inspection,
) -> Finding:
    grey = int(found.grey.sum())
    return Finding(
        name="inspection",
        figures={
            "pictures": Measure(len(source), "count", None),
            "pictures that hold a shared frequency": Measure(len(flagged), "count", None),
            "grey pictures, not looked at": Measure(grey, "count", None),
            "shared frequencies": Measure(len(found.shared), "count", None),
        },
        headline="pictures that hold a shared frequency",
        tables={"suspicious": table},
        protocol={
            "audit": describe(audit),
            "data": {"name": source.name, "origin": source.origin},
            "part": asked.split,
            "shape": list(source.shape),
            "coefficients looked at": found.coefficients,
            "shared": [in_words(one) for one in found.shared],
            "what it means": NO_PROOF,
            "what is not looked for": NOT_CLEAN,
        },
    )


def _write(table: Table, path: Path) -> Path:
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(table.rows)
    return path


def _sheet(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return pictures `(N, H, W, 3)` side by side, eight a row, with a white line between them."""
    count, height, width, _ = pictures.shape
    across = min(8, count)
    down = -(-count // across)
    sheet = np.full((down * (height + 2), across * (width + 2), 3), 255, dtype=np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // across * (height + 2), place % across * (width + 2)
        sheet[top : top + height, left : left + width] = picture
    return sheet

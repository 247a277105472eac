"""What a trained method makes of samples, batch by batch, and the files that it is written to."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files import printable, replacing
from withstand.core.options import options_of
from withstand.core.outputs import UNSEEN, Frames, Maker, Output
from withstand.core.part import check_types
from withstand.core.roles import Method, Source, network_of
from withstand.core.victims.victim import Victim

Applicable: TypeAlias = Literal["generator", "purifier", "segmenter", "keypoints", "classifier"]
"""Products that are applied to samples, the first that a method gives by default."""
APPLICABLE: tuple[Applicable, ...] = ("generator", "purifier", "segmenter", "keypoints", "classifier")
Rows: TypeAlias = Callable[[Iterable[Iterable[object]]], object]
CONDENSED = "condensed"
TABLE = "table.csv"
_AT_ONCE = 64
_FEW = 20
"""Classes beyond which the most probable one alone is written."""
_SUFFIXES = (".nii.gz", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".nii", ".npz", ".npy")


@dataclass(frozen=True)
class Applied:
    """What was written.

    Attributes:
        folder: where.
        count: of samples.
        outputs: what was made of each, and as which files, in words.
        notes: (what, how) of what had to be bent to fit what was learnt, as categories that training did not have.
    """

    folder: Path
    count: int
    outputs: tuple[str, ...]
    notes: tuple[tuple[str, str], ...] = ()


def maker_of(method: Method, part: str | None, classes: Sequence[str] = ()) -> Maker:
    """Return what makes outputs of batches: the method's own maker, or one of its products.

    Args:
        method: a trained one.
        part: a product's name; None for the method's own maker, or else the first product that can be applied.
        classes: of the training data, which predictions are named by.

    Raises:
        ConfigError: a method that only embeds, or has no such product, or one that makes nothing of samples.
    """
    own, products = method.maker(), method.products()
    if part is None and own is not None:
        return own
    chosen = next((name for name in APPLICABLE if name in products), None) if part is None else part
    if chosen is None:
        gives = ", ".join(products)
        raise ConfigError(f"{type(method).__name__} makes nothing of samples to write (it gives: {gives})")
    network = network_of(method, chosen)
    if chosen not in APPLICABLE:
        raise ConfigError(f"the {chosen} cannot be applied to samples: {', '.join(APPLICABLE)} can")
    return partial(_FORMS[chosen], network, tuple(classes))


def outputs(
    method: Method, maker: Maker, source: Source, settings: Mapping[str, object] | None = None
) -> Iterator[tuple[Batch, dict[str, Output]]]:
    """Yield each batch of a source, in its order, with what a maker makes of it, on the CPU.

    Raises:
        ConfigError: settings that the maker does not have.
        DataError: there are no samples, or a maker that does not give a row a sample.
    """
    if not len(source):
        raise DataError("there are no samples to apply the run to")
    making = _told(maker, settings or {})
    device, step = device_of_network(method), source.at_once or _AT_ONCE
    with Victim(method).held(), torch.no_grad():
        for start in range(0, len(source), step):
            batch = source[torch.arange(start, min(start + step, len(source)))]
            made = making(batch.to(device))
            for name, output in made.items():
                if len(output) != len(batch):
                    raise DataError(f"{name} must have a row for each of {len(batch)} samples, not {len(output)}")
            yield batch, {name: _on_cpu(output) for name, output in made.items()}


def joined(pieces: Iterable[Mapping[str, Output]]) -> dict[str, Output]:
    """Return the outputs of several batches one after the other; rows that differ in size come as a list."""
    found: dict[str, list[Output]] = {}
    for piece in pieces:
        for name, output in piece.items():
            found.setdefault(name, []).append(_whole(output))
    return {name: Output(_rows_of(some), some[0].form, some[0].words) for name, some in found.items()}


@dataclass
class Writer:
    """Writes outputs to a new folder: `NAME/SAMPLE.png` of each picture and mask, `NAME.csv` of points, `table.csv`.

    Args:
        folder: new, or empty.

    Raises:
        ConfigError: the folder holds something.
    """

    folder: Path
    count: int = 0
    _used: set[str] = field(default_factory=set)
    _told: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ConfigError(f"{self.folder} exists and is not empty: name a new folder with --out")
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, pieces: Iterable[tuple[Sequence[str], Mapping[str, Output]]]) -> Applied:
        """Write what was made, batch by batch, each with the names of its samples.

        A disk that fills up leaves no file half written, but for the tables.
        """
        with ExitStack() as opened:
            tables: dict[str, Rows] = {}

            def table(name: str, head: Sequence[str]) -> Rows:
                if name not in tables:
                    aside = opened.enter_context(replacing(self.folder / name))
                    tables[name] = csv.writer(
                        opened.enter_context(aside.open("w", newline="", encoding="utf-8"))
                    ).writerows
                    tables[name]([head])
                return tables[name]

            for names, made in pieces:
                self.count += len(names)
                files = [self._file(name) for name in names]
                columns = {name: output for name, output in made.items() if output.form == "columns"}
                if columns:
                    self._told[TABLE] = f"{TABLE}: {', '.join(columns)}"
                    rows = [_cells(output) for output in columns.values()]
                    head = [title for name, output in columns.items() for title in _titles(name, output)]
                    lines = ([printable(name), *chain(*cells)] for name, *cells in zip(names, *rows, strict=True))
                    table(TABLE, ("name", *head))(lines)
                for name, output in made.items():
                    if output.form == "points":
                        self._told[name] = f"{name}.csv: points of each sample, x and y in pixels"
                        table(f"{name}.csv", ("name", "point", "x", "y", *_more(output)))(_points(names, output))
                    elif output.form != "columns":
                        self._pictures(name, files, output)
        return Applied(self.folder, self.count, tuple(self._told.values()))

    def _pictures(self, name: str, files: Sequence[str], output: Output) -> None:
        form = "a PNG"
        for file, row in zip(files, output.values, strict=True):
            rows = row if isinstance(row, Frames) else [row]
            pieces = (frame for part in rows for frame in _frames(name, part, output.form))
            first = list(islice(pieces, 2))
            several = isinstance(row, Frames) or len(first) > 1
            form = "a folder of PNGs" if several else form
            where = self.folder / name / (file if several else "")
            where.mkdir(parents=True, exist_ok=True)
            for number, frame in enumerate(chain(first, pieces)):
                path = where / (f"{number:06}.png" if several else f"{file}.png")
                with replacing(path) as aside:
                    frame.save(aside, format="PNG")
        words = f", whose values are {', '.join(f'{i} {word}' for i, word in enumerate(output.words))}"
        cut = f"; {UNSEEN} where a picture was cut off, and not looked at" if output.unseen else ""
        self._told[name] = f"{name}/: {form} a sample" + (words if output.words else "") + cut

    def _file(self, name: str) -> str:
        """Return a file's stem for a sample, one that no other sample has."""
        stem = printable(name).replace("/", "-").replace("\\", "-").lstrip(".") or "sample"
        stem = next((stem[: -len(end)] for end in _SUFFIXES if stem.lower().endswith(end) and stem[: -len(end)]), stem)
        file, number = stem, 1
        while file in self._used:
            number += 1
            file = f"{stem} ({number})"
        self._used.add(file)
        return file


def write_condensed(source: Source, folder: Path) -> Applied:
    """Write a condensed set to `condensed.npz`: its samples x and, as far as there are any, labels y and targets."""
    batch = source[torch.arange(len(source))]
    arrays: dict[str, Any] = {"x": batch.x.detach().cpu().numpy()}
    if source.labels is not None:
        arrays["y"] = source.labels.cpu().numpy()
    arrays |= {name: value.detach().cpu().numpy() for name, value in batch.extras.items()}
    path = Writer(folder).folder / f"{CONDENSED}.npz"
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)
    return Applied(folder, len(source), (f"{path.name}: {', '.join(arrays)}",))


def _told(maker: Maker, settings: Mapping[str, object]) -> Callable[[Batch], dict[str, Output]]:
    """Return a maker with its settings."""
    if not settings:
        return maker
    known = [] if isinstance(maker, partial) else [option.name for option in options_of(maker)][1:]
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"what this run makes has no setting {name!r}{f': {nearest(name, known)}' if known else ''}"
            )
    check_types(maker, settings, "what this run makes")
    return partial(maker, **settings)


def _on_cpu(output: Output) -> Output:
    values = output.values
    if isinstance(values, Tensor):
        return Output(values.detach().cpu(), output.form, output.words)
    rows: list[Any] = [
        _frames_on_cpu(row) if isinstance(row, Frames) else row.detach().cpu() if isinstance(row, Tensor) else row
        for row in values
    ]
    return Output(rows, output.form, output.words)


def _whole(output: Output) -> Output:
    """Return an output whose clips are made now."""
    if isinstance(output.values, Tensor) or not any(isinstance(row, Frames) for row in output.values):
        return output
    rows: list[Any] = [row.whole() if isinstance(row, Frames) else row for row in output.values]
    return Output(rows, output.form, output.words)


def _frames_on_cpu(frames: Frames) -> Frames:
    return Frames(lambda: (frame.detach().cpu() for frame in frames))


def _rows_of(some: Sequence[Output]) -> Tensor | list[Any]:
    rows = [row for output in some for row in output.values]
    tensors = [row for row in rows if isinstance(row, Tensor)]
    alike = len(tensors) == len(rows) and len({(row.shape, row.dtype) for row in tensors}) == 1
    return torch.stack(tensors) if alike else rows


def predicted(network: torch.nn.Module, classes: tuple[str, ...], batch: Batch) -> dict[str, Output]:
    """Return each sample's class and its probability; where classes are few and have names, the others' too."""
    probabilities = network(unit_range(batch.x)).float().softmax(1)
    best = probabilities.max(1)
    found = {"prediction": Output(best.indices, "columns", classes), "probability": Output(best.values, "columns")}
    few = classes if len(classes) <= _FEW else ()
    return found | {
        f"probability of {name}": Output(probabilities[:, place], "columns") for place, name in enumerate(few)
    }


def predicted_numbers(network: torch.nn.Module, mean: float, batch: Batch) -> dict[str, Output]:
    """Return the number that is predicted of each sample: what a network `(B, 1)` gives, and the mean."""
    return {"prediction": Output(network(unit_range(batch.x))[:, 0].cpu().double() + mean, "columns")}


def _drawn(network: torch.nn.Module, classes: tuple[str, ...], batch: Batch) -> dict[str, Output]:
    return {"pictures": Output(network(unit_range(batch.x)), "pictures")}


def _segmented(network: torch.nn.Module, classes: tuple[str, ...], batch: Batch) -> dict[str, Output]:
    return {"masks": Output(network(unit_range(batch.x)).argmax(1), "masks")}


def _placed(network: torch.nn.Module, classes: tuple[str, ...], batch: Batch) -> dict[str, Output]:
    return {"keypoints": Output(network(unit_range(batch.x)), "points")}


_FORMS = {
    "generator": _drawn,
    "purifier": _drawn,
    "segmenter": _segmented,
    "keypoints": _placed,
    "classifier": predicted,
}


def _frames(name: str, row: object, form: str) -> list[Image.Image]:
    """Return a sample's pictures or masks, one each of a clip's frames and a volume's slices."""
    if not isinstance(row, Tensor):
        raise DataError(f"{name} must be tensors, not {type(row).__name__}")
    plain = 3 if form == "pictures" else 2
    if row.dim() not in (plain, plain + 1):
        raise DataError(f"{name} have {row.dim()} axes a sample, where {form} have {plain} or {plain + 1}")
    frames = row if row.dim() == plain + 1 else row[None]
    if form == "masks":
        most = int(frames.max()) if frames.numel() else 0
        if frames.is_floating_point() or int(frames.min()) < 0 or most > 65_535:
            raise DataError(f"{name} must hold whole numbers from 0 to 65535")
        return [Image.fromarray(frame.numpy().astype(np.uint8 if most < 256 else np.uint16)) for frame in frames]
    if frames.shape[1] not in (1, 3) or not bool(frames.isfinite().all()):
        raise DataError(f"{name} must be finite and have 1 or 3 channels, not {frames.shape[1]}")
    whole = (frames.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in whole]


def _titles(name: str, output: Output) -> list[str]:
    first = output.values[0]
    many = len(first) if isinstance(first, Tensor) and first.dim() else 0
    return [f"{name} {place}" for place in range(1, many + 1)] if many else [name]


def _cells(output: Output) -> list[list[str | int | float]]:
    """Return each sample's cells; whole numbers that words stand for come as these."""

    def cell(value: float | str | Frames) -> str | int | float:
        if isinstance(value, Frames):
            raise DataError("columns hold numbers and words, and no frames")
        if isinstance(value, int) and not isinstance(value, bool) and output.words:
            return printable(output.words[value])
        return printable(value) if isinstance(value, str) else value

    rows = (row.tolist() if isinstance(row, Tensor) else row for row in output.values)
    return [[cell(value) for value in row] if isinstance(row, list) else [cell(row)] for row in rows]


def _more(output: Output) -> list[str]:
    first = output.values[0]
    width = first.shape[-1] if isinstance(first, Tensor) else 2
    return ["score"] if width == 3 else [f"value {place}" for place in range(1, width - 1)]


def _points(names: Sequence[str], output: Output) -> Iterator[list[str | int | float]]:
    for name, row in zip(names, output.values, strict=True):
        if not isinstance(row, Tensor) or row.dim() != 2 or row.shape[1] < 2:
            raise DataError("points must be (J, 2) or more a sample: x, y and what else is known")
        for place, point in enumerate(row.tolist()):
            yield [printable(name), output.words[place] if output.words else place, *point]

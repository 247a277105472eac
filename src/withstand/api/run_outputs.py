"""What a run makes of samples, and gives: features, neighbors, outputs, networks in files."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

import torch

from withstand.api.neighbors import Neighbors, called, nearest_samples
from withstand.api.run_parts import RunParts
from withstand.api.subjects import regression
from withstand.core.batch import as_structured, unit_range
from withstand.core.devices.device import moved
from withstand.core.errors import ConfigError, DataError
from withstand.core.outputs import Maker, Output
from withstand.core.roles import Attack, Source, network_of
from withstand.data.derived.subset import labelled
from withstand.data.load import Data
from withstand.data.shared.rows import Rows, own_rows, rows_like
from withstand.engine.export import check_form, to_onnx, to_safetensors
from withstand.engine.origin.data_places import DataGone
from withstand.engine.outputs import (
    APPLICABLE,
    CONDENSED,
    Applied,
    Writer,
    maker_of,
    outputs,
    predicted,
    predicted_numbers,
    write_condensed,
)
from withstand.engine.outputs import joined as joined_outputs
from withstand.evaluation.features import Features, embed, joined


class RunOutputs(RunParts):
    """A run, asked for what it makes of samples."""

    def embed(self, data: Data | None = None, *, split: str = "all", id: str | None = None) -> Features:
        """Return the features of every sample, in the order of its file, set or folder.

        `index` holds each sample's place there, `names` what it is called where it has a name, and `parts` the part
        that it belongs to. Labels are -1 where a sample has none.

        Args:
            data: the run's own if None.
            split: "all"; or "train", "test" or another part that the data come in. Of the run's own data, "train" is
                what was learnt from.
            id: of a table: the column that names its rows; the one that training was told if None.

        Raises:
            ConfigError: the data have no such part, or no such column.
        """
        return self._embedded(self._to_embed(self._rows(data, split, id)))

    def _rows(self, data: Data | None, split: str, column: str | None = None) -> list[Rows]:
        """Return samples in their own order: of the run's own data, or of other data read as these were.

        Args:
            data: the run's own if None.
            split: as for `embed`.
            column: of a table: the one that names its rows.
        """
        self.others(data)  # its own, where they were moved
        source, test = self._like(data), self._test() if data is None else None
        if column is not None:
            source, test = source.called_by(column), None if test is None else test.called_by(column)
        found = own_rows(source, test, split) if data is None else rows_like(source, data, split)
        for some in found:
            if column is not None and not some.source.names:
                raise ConfigError(f"id {column!r} is no column of {some.source.name}")
        return found

    def _to_embed(self, rows: Sequence[Rows]) -> list[Rows]:
        """Return samples as the encoder takes them, with what is to be told of their size."""
        return [some.fitted(*self._sized(some.source, partial(embed, self.encoder))) for some in rows]

    def _embedded(self, rows: Sequence[Rows]) -> Features:
        with moved(self.device, self.method):
            found = [embed(self.encoder, some.source) for some in rows]
            return joined([
                replace(one, index=some.index, parts=some.parts, notes=some.notes)
                for one, some in zip(found, rows, strict=True)
            ])  # fmt: skip

    def neighbors(self, *data: Data, k: int = 5, split: str = "train") -> Neighbors:
        """Return the nearest of the run's own samples to each sample of other data, by cosine of their features.

        Args:
            data: the path of a picture's file, or whatever holds samples of the run's kind; read as its own were.
            k: how many; all where there are fewer.
            split: whose neighbors: "train", what was learnt from; "test"; or "all".

        Raises:
            ConfigError: nothing is asked about, or k below 1.
            DataError: samples that the run's encoder does not read.
        """
        if not data:
            raise ConfigError("neighbors of what? Name one or more files, or give samples")
        asked = [(one, self._rows(one, "all")) for one in data]
        own = self._rows(None, split)
        for one, rows in asked:
            for some in rows:
                if (
                    len(some.source.shape) != len(own[0].source.shape)
                    or some.source.shape[:1] != own[0].source.shape[:1]
                ):
                    name = str(one) if isinstance(one, str | Path) else some.source.name
                    raise DataError(
                        f"{name} holds samples of {some.source.shape}, and this run learnt from {own[0].source.shape}"
                    )
        fitted = self._to_embed([some for _, rows in asked for some in rows])
        _warn(fitted)
        queries = self._embedded(fitted)
        names = [name for one, rows in asked for name in called(one, rows)]
        return nearest_samples(self._embedded(own), queries, names, k, own[0].source.kind)

    def apply(
        self,
        data: Data | None = None,
        *,
        part: str | None = None,
        split: str = "all",
        id: str | None = None,
        **settings: object,
    ) -> dict[str, Output]:
        """Return what the run makes of every sample, in the data's order: predictions, pictures, masks, keypoints.

        Points and masks are in the pixels of the pictures themselves, where these were brought to another size.
        Pictures in arrays of another size than the run's are brought to it where its network takes no other.

        Args:
            data: the run's own if None; read as the run's own were, labels are not needed.
            part: the product that is applied; None for what the method itself holds to be its output. The classifier of
                a run that trains none is its encoder with a linear probe; where numbers are to be predicted, with ridge
                regression.
            split: "all"; or "train", "test" or another part that the data come in.
            id: of a table: the column that names its rows; the one that training was told if None.
            **settings: what the method's own output can be told, by name.

        Raises:
            ConfigError: a run that only embeds, of data without anything to predict; settings that it does not have.
        """
        maker = self._maker(part)
        rows = self._fitted(self._rows(data, split, id), maker)
        if data is not None:
            _warn(rows)
        pieces = self._outputs(rows, maker, settings)
        return joined_outputs(made for _, made in pieces)

    def apply_to(
        self,
        out: str | Path,
        data: Data | None = None,
        *,
        part: str | None = None,
        split: str = "all",
        id: str | None = None,
        **settings: object,
    ) -> Applied:
        """Write what the run makes of every sample to a new folder, batch by batch; arguments as for `apply`.

        Points and masks are in the pixels of the pictures themselves: of a photo's file, of a slice of a volume.
        Pictures and masks are PNG files, named as their samples; points and columns are CSV tables. A condensed set
        needs no samples, and is an `.npz` file.
        """
        condensed = self.method.products().get(CONDENSED)
        if isinstance(condensed, Source) and part in (None, CONDENSED):
            if data is not None or settings or split != "all" or id is not None:
                raise ConfigError("a condensed set is written as it was learnt: it takes no data, part, id or settings")
            return write_condensed(condensed, Path(out))
        maker = self._maker(part)
        rows = self._fitted(self._rows(data, split, id), maker)
        pieces = self._outputs(rows, maker, settings)
        first = next(pieces)  # what is refused is refused before a folder is made
        written = Writer(Path(out)).write(chain([first], pieces))
        return replace(written, notes=tuple(dict.fromkeys(note for some in rows for note in some.notes)))

    def _maker(self, part: str | None) -> Maker:
        """Return what makes outputs: the method's own, or a probe on the encoder of a run that only embeds."""
        products = self.method.products()
        alone = part is None and self.method.maker() is None and not set(APPLICABLE) & set(products)
        if "encoder" not in products or not (alone or (part == "classifier" and "classifier" not in products)):
            return maker_of(self.method, part, self.classes)
        source = self._build("source", Source)
        if source.labels is not None:
            return partial(predicted, self.classifier(), source.classes)
        if source.targets is None:
            return maker_of(self.method, part, self.classes)  # refuses, and says what the run gives
        train = labelled(source)
        with moved(self.device, self.method):
            return partial(predicted_numbers, *regression(self.encoder, train))

    def _fitted(self, rows: Sequence[Rows], maker: Maker) -> list[Rows]:
        """Return samples as what makes outputs takes them, with what is to be told of their size."""

        def look(source: Source) -> None:
            next(outputs(self.method, maker, source))

        return [some.fitted(*self._sized(some.source, look)) for some in rows]

    def _outputs(
        self, rows: Sequence[Rows], maker: Maker, settings: Mapping[str, object]
    ) -> Iterator[tuple[Sequence[str], dict[str, Output]]]:
        """Yield the names of a batch's samples and what is made of them."""
        with moved(self.device, self.method):
            for some in rows:
                known = some.source.names or [f"{place:06}" for place in some.index.tolist()]
                several = len(rows) > 1 and not some.source.names
                for batch, found in outputs(self.method, maker, some.source, settings):
                    made = _in_own_pixels(found, some.source, batch.index.tolist())
                    yield (
                        [f"{some.parts[row]}-{known[row]}" if several else known[row] for row in batch.index.tolist()],
                        made,
                    )

    def export(
        self,
        out: str | Path | None = None,
        *,
        form: Literal["safetensors", "onnx"] = "safetensors",
        part: str = "encoder",
    ) -> Path:
        """Write one of the networks that the run gives, or the attack that it learnt, and return the file's path.

        Args:
            out: the file; `PART.safetensors` (with `PART.json`, its description) or `PART.onnx` in the run folder if
                None.
            form: "safetensors", or "onnx" (extra `export`), whose outputs are compared with torch's.
            part: a product's name. The classifier of a run that trains none is its encoder with a linear probe.

        Raises:
            ConfigError: the run gives none of that name, or what the form does not hold; or a file that is named as
                another form's are.
        """
        if out is not None:
            check_form(Path(out), form)
        product = self.method.product(part) if part == "attack" else None
        if isinstance(product, Attack) and form == "onnx":
            raise ConfigError("ONNX files hold networks, and an attack is none: use the form safetensors")
        if isinstance(product, Attack):
            return to_safetensors(product, Path(out) if out is not None else self.path / "attack.safetensors")
        network = self.classifier() if part == "classifier" else network_of(self.method, part).eval()
        path = Path(out) if out is not None else self.path / f"{part.replace(' ', '-')}.{form}"
        if form == "onnx":
            train = self.sources()[0]
            refuse_structured(train, "ONNX files hold networks whose samples are one tensor: use the form safetensors")
            return to_onnx(network, unit_range(train[torch.arange(min(3, len(train)))].x), path)
        return to_safetensors(network, path, classes=self._output_classes() if part == "classifier" else ())

    def _output_classes(self) -> tuple[str, ...]:
        """Return the names of the classifier's outputs; () where nothing tells them any more."""
        try:
            return self.classes
        except DataGone:
            return ()


def _warn(rows: Sequence[Rows]) -> None:
    """Tell what was bent to fit what was learnt, where nothing that is given back holds it."""
    for some in rows:
        for what, how in some.notes:
            warnings.warn(f"{some.source.name}: {what} {how}", stacklevel=3)


def _in_own_pixels(made: dict[str, Output], source: Source, rows: Sequence[int]) -> dict[str, Output]:
    """Return outputs with points and masks as they lie in the pictures' files."""
    if not any(output.form in ("points", "masks") for output in made.values()):
        return made
    seen = source.part_seen(rows)
    if seen is None:
        return made
    height, width = source.shape[-2:]
    return {name: output.in_own_pixels(seen, height, width) for name, output in made.items()}


def refuse_structured(source: Source, reason: str) -> None:
    """Refuse samples that no single tensor holds."""
    if (whole := as_structured(source[[0]].x)) is not None:
        raise ConfigError(f"this run's samples come as {type(whole).__name__}, of several tensors: {reason}")

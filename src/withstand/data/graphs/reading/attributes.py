"""What is made of nodes' attributes: their features, their class, and their part of a split."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.part import Part
from withstand.data.shared.rounding import Rounding
from withstand.data.tables.frame import Frame, Values, Words, distinct, missing, short
from withstand.data.tables.infer import FEW, fit_schema, same_everywhere
from withstand.data.tables.schema import Column, Schema, as_words
from withstand.data.tables.units.account import account_of_columns
from withstand.data.tables.written.reading import Written

Scale: TypeAlias = Literal["none", "unit"]
Features: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]

LABELS = ("label", "labels", "class", "target", "y")
"""Names of the column of a table of nodes that holds the class; `y` beside `x` is a coordinate."""
PARTS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
"""Words for the parts of a split, in lower case."""
_MOST = 12
"""Classes that are named in words."""
_SURE = 30
"""Labelled nodes from which it is no chance that a feature says what the label says."""


@dataclass(frozen=True)
class NodeColumns(Part):
    """How nodes' attributes are read, beside the label.

    Args:
        features: the attributes that are features; if none are named all that are nothing else.
        ignore: attributes that are left out.
        kinds: what an attribute is, where the inferred kind is wrong: "numeric", "categorical" or "date".
        scale: "none" takes numbers as they stand, a gap as the column's least value; "unit" brings each column to
            [0, 1], a gap as 0. None is "none" where all features are numbers without gaps, as word counts are, and else
            "unit", for categories are 0 and 1.
        split: the attribute that says each node's part in words (train, validation, test; empty for none); or one
            attribute a part, with the part in its name, that is true or 1 where a node belongs to it.
    """

    features: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    kinds: Mapping[str, str] | None = None
    scale: Scale | None = None
    split: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scale not in (None, *get_args(Scale)):
            raise ConfigError(f"scale {self.scale!r} is unknown: {nearest(str(self.scale), get_args(Scale))}")


@dataclass(frozen=True)
class NodeFacts:
    """What nodes' attributes say.

    Attributes:
        features: float32 `(N, F)`; None where no attribute is one.
        labels: class numbers, -1 for none, int64 `(N,)`; None where there is no label.
        classes: the classes' names.
        label: the attribute that holds the class.
        parts: which nodes belong to each part of the split, bool `(N,)` each.
        columns: how the attributes were read, with the scale that was chosen.
        schema: the columns behind the features.
        account: what is to be told of the reading, line by line.
    """

    features: Features | None
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...]
    label: str | None
    parts: dict[str, Mask]
    columns: NodeColumns
    schema: Schema | None
    account: tuple[str, ...] = ()


@dataclass(frozen=True)
class Learnt:
    """How other nodes' attributes were read, where these are to be read alike.

    Attributes:
        schema: the columns behind the features.
        classes: the label's.
    """

    schema: Schema | None
    classes: tuple[str, ...]


def node_facts(frame: Frame, asked: NodeColumns, label: str | None, *, learnt: Learnt | None = None) -> NodeFacts:
    """Return what nodes' attributes say.

    Numbers come first among the features, then a 1 for each gap of a column that has any, then one feature for each
    category of a column of words (and one for a gap).

    Args:
        frame: the attributes, without the nodes' names.
        asked: how they are read.
        label: the attribute that holds the class; None where none does.
        learnt: read as these were.

    Raises:
        ConfigError: an attribute that there is not, with the nearest.
        DataError: a class of too many values, an unknown part, a feature that gives the label away, no column that
            could be a feature.
    """
    known = [*frame.columns, *frame.unread]
    for name in (*asked.features, *asked.ignore, *(asked.kinds or {}), *asked.split):
        if name not in known:
            raise ConfigError(f"the nodes have no attribute {short(name)}: {nearest(name, known)}")
    labels, classes, lines = None, () if learnt is None else learnt.classes, list[str]()
    if label is not None and label in frame.columns:
        labels, classes = _labels(label, frame.columns[label], classes)
        lines.append(_answer(label, labels, classes))
    parts = _parts(frame, asked.split)
    aside = {label, *asked.ignore, *asked.split}
    names = [name for name in asked.features or known if name not in aside]
    if learnt is not None:
        names = [] if learnt.schema is None else [column.name for column in learnt.schema.columns]
    if not names:
        return NodeFacts(None, labels, classes, label, parts, asked, None, tuple(lines))
    chosen = replace(
        frame,
        columns={name: frame.columns[name] for name in names if name in frame.columns},
        unread={name: frame.unread[name] for name in names if name in frame.unread},
    )
    if learnt is not None and learnt.schema is not None:
        schema, scale = learnt.schema, asked.scale or "unit"
    else:
        schema, scale = _schema(chosen, asked, label, frame.columns[label] if labels is not None and label else None)
    features, bent, rounded = _features(chosen, schema, scale)
    if schema.numeric and learnt is None:
        lines.append("numbers are features " + ("as they stand" if scale == "none" else "brought to 0 to 1"))
    lines += [*(account_of_columns(schema) if learnt is None else bent), *rounded]
    return NodeFacts(features, labels, classes, label, parts, replace(asked, scale=scale), schema, tuple(lines))


def _schema(frame: Frame, asked: NodeColumns, label: str | None, target: Values | None) -> tuple[Schema, Scale]:
    """Return the columns of the features, and how numbers among them are scaled."""
    plain = not frame.unread and all(
        not isinstance(values, Words) and not missing(values).any() for values in frame.columns.values()
    )
    plain = plain and "categorical" not in (asked.kinds or {}).values()
    scale = asked.scale or ("none" if plain else "unit")
    if not plain or scale == "unit":
        columns = frame.columns if target is None or label is None else {**frame.columns, label: target}
        try:
            found = fit_schema(
                replace(frame, columns=columns), kinds=asked.kinds, target=label if target is not None else None
            )
        except DataError as error:
            if "no column is left" not in str(error):
                raise
            raise DataError(f"{error}: ignore them all, and degrees stand for features") from None
        return found, scale
    held: list[Column] = []
    for name, values in frame.columns.items():
        assert not isinstance(values, Words)
        if np.isinf(values).any():
            raise DataError(
                f"attribute {short(name)} holds infinity, first in node {int(np.isinf(values).argmax()) + 1}"
            )
        if target is not None:
            told = ~missing(target)
            if int(told.sum()) >= _SURE and same_everywhere(values[told], target[told]):
                raise DataError(
                    f"attribute {short(name)} says the same as the label {short(str(label))} in every node: ignore it, "
                    "or the features hold the answer"
                )
        written = frame.written.get(name, Written("."))
        held.append(Column(name, "numeric", float(values.min()), float(values.max()), written=written))
    return Schema(tuple(held)), scale


def _features(frame: Frame, schema: Schema, scale: Scale) -> tuple[Features, list[str], list[str]]:
    """Return the features `(N, F)`, what had to be bent to fit, and what single precision does not tell apart."""
    if scale == "none" and not schema.categorical and not any(column.missing for column in schema.columns):
        stood = np.stack([_as_they_stand(frame, column) for column in schema.columns], 1)
        return stood.astype(np.float32), [], _rounded(schema.columns, stood)
    coded = schema.code(frame)
    x = schema.expand(coded, torch.arange(len(coded)))[:, _kept(schema)].numpy()
    bent, rounded = [f"{short(name)}: {what}" for name, what in coded.notes], list[str]()
    if scale == "none" and schema.numeric:
        stood = np.stack(
            [np.nan_to_num(_as_they_stand(frame, column), nan=column.low) for column in schema.numeric], axis=1
        )
        x[:, : stood.shape[1]] = stood
        rounded = _rounded(schema.numeric, stood)
    return x, bent, rounded


def _rounded(columns: Sequence[Column], stood: npt.NDArray[np.float64]) -> list[str]:
    """Return what is told of columns whose numbers single precision does not tell apart."""
    found = []
    for column, values in zip(columns, stood.T, strict=True):
        seen = Rounding()
        seen.see(torch.from_numpy(np.ascontiguousarray(values))[:, None])
        if seen.told:
            shown = f"{column.low:.10g} to {column.high:.10g}"
            found.append(f"{short(column.name)}: {shown} is more than single precision tells apart: scale it")
    return found


def _as_they_stand(frame: Frame, column: Column) -> npt.NDArray[np.float64]:
    """Return a column of numbers; NaN for gaps, where there were some when it was learnt."""
    if column.name not in frame.columns:
        raise DataError(f"attribute {short(column.name)}, which was learnt from, is lacking")
    values = frame.columns[column.name]
    if isinstance(values, Words):
        raise DataError(f"attribute {short(column.name)} was numbers and holds words now: {short(values.names[0])}")
    gone = np.isnan(values)
    if gone.any() and not column.missing:
        raise DataError(
            f"node {int(gone.argmax()) + 1} has no value of {short(column.name)}, and no node that was learnt from "
            "lacked one"
        )
    return values


def _kept(schema: Schema) -> torch.Tensor:
    """Return which of a schema's slots are features: those of gaps only where there were gaps."""
    kept = torch.ones(schema.width, dtype=torch.bool)
    numbers = len(schema.numeric)
    for place, column in enumerate(schema.numeric):
        kept[numbers + place] = column.missing > 0
    for column, first in zip(schema.categorical, schema.offsets.tolist(), strict=True):
        gap = first + len(column.categories)
        kept[gap], kept[gap + 1] = column.missing > 0, False
    return kept


def _answer(name: str, labels: npt.NDArray[np.int64] | None, classes: tuple[str, ...]) -> str:
    """Return what the class is, in words."""
    if labels is None:
        return f"target: {name}, missing in every node"
    counts = np.bincount(labels[labels >= 0], minlength=len(classes)).tolist()
    shown = ", ".join(f"{one} {count:,}" for one, count in zip(classes[:_MOST], counts, strict=False))
    more = f" and {len(classes) - _MOST:,} more" if len(classes) > _MOST else ""
    gaps = f", missing in {int((labels < 0).sum()):,}" if (labels < 0).any() else ""
    return f"target: {name}, {len(classes):,} classes ({shown}{more}){gaps}"


def _labels(
    name: str, values: Values, classes: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...]]:
    """Return class numbers and the classes' names; none where every value is missing.

    Raises:
        DataError: names or measurements, which are no classes; a class that was not learnt.
    """
    gone, count = missing(values), distinct(values)
    if gone.all():
        return None, classes
    broken = not isinstance(values, Words) and bool((values[~gone] % 1 != 0).any())
    if count > FEW and (broken or count > int((~gone).sum()) / 2):
        raise DataError(
            f"{short(name)} holds {count} different values in {int((~gone).sum())} nodes, which are no classes: name "
            "another column"
        )
    words = as_words(values)
    held = [words.names[code] for code in np.unique(words.codes[words.codes >= 0])]
    named = classes or tuple(held if isinstance(values, Words) else sorted(held, key=float))
    if unknown := sorted(set(held) - set(named)):
        raise DataError(f"{short(name)} holds the class {short(unknown[0])}, which was not learnt")
    rank = {word: place for place, word in enumerate(named)}
    moved = np.array([*(rank.get(word, -1) for word in words.names), -1], dtype=np.int64)
    return moved[words.codes], named


def _parts(frame: Frame, split: tuple[str, ...]) -> dict[str, Mask]:
    """Return which nodes belong to each part.

    Raises:
        DataError: words that are no parts, a column that is no mask.
    """
    if len(split) == 1 and not _masks(frame, split[0]):
        return parts_of_words(frame.columns[split[0]], split[0])
    found: dict[str, Mask] = {}
    for name in split:
        words = [part for word, part in PARTS.items() if word in name.lower().replace("-", "_").split("_")]
        if len(set(words)) != 1 or not _masks(frame, name):
            raise DataError(
                f"{short(name)} is no mask of a part: a column named as train_mask, val_mask or test_mask holds true "
                "and false, or 1 and 0"
            )
        if words[0] in found:
            raise DataError(f"two columns are masks of the part {words[0]!r}: {', '.join(map(short, split))}")
        values = frame.columns[name]
        if isinstance(values, Words):
            true = np.array([*(word.lower() == "true" for word in values.names), False])
            found[words[0]] = true[values.codes]
        else:
            found[words[0]] = values == 1
    return found


def _masks(frame: Frame, name: str) -> bool:
    values = frame.columns.get(name)
    if isinstance(values, Words):
        return {word.lower() for word in values.names} <= {"true", "false"}
    return values is not None and bool(np.isin(values[~np.isnan(values)], (0, 1)).all())


def parts_of_words(values: Values, name: str) -> dict[str, Mask]:
    """Return which nodes belong to each part that words name.

    Raises:
        DataError: words that are no parts.
    """
    words = as_words(values)
    unknown = [word for word in words.names if word.lower() not in PARTS]
    if unknown:
        raise DataError(
            f"{short(name)} holds {short(unknown[0])}, which is no part of a split: allowed are train, validation, "
            "test and nothing"
        )
    part = np.array([*(PARTS[word.lower()] for word in words.names), ""])[words.codes]
    return {one: part == one for one in ("train", "validation", "test") if (part == one).any()}


def found_label(names: Sequence[str], aside: Collection[str], whose: str) -> str | None:
    """Return the attribute whose name says that it holds the class, or None where none does.

    Args:
        names: of the attributes.
        aside: those that are something else.
        whose: they are, for the refusal.

    Raises:
        DataError: several may hold the class.
    """
    found = [name for name in names if name.lower() in LABELS and name not in aside]
    if "x" in map(str.lower, names):
        found = [name for name in found if name.lower() != "y"]
    if len(found) > 1:
        raise DataError(f"{whose} {' and '.join(map(short, found[:4]))}: say which is label= (--target)")
    return found[0] if found else None


def refuse_unlike(mine: NodeFacts | None, theirs: NodeFacts | None, what: str) -> None:
    """Refuse nodes whose features are made of other attributes than those that were learnt from.

    Args:
        mine: what was learnt from.
        theirs: the others.
        what: they are called.
    """
    ours, others = (_made_of(facts) for facts in (mine, theirs))
    if ours != others:
        raise DataError(f"the nodes that were learnt from had {ours} as features, and those of {what} have {others}")


def _made_of(facts: NodeFacts | None) -> str:
    if facts is None or facts.schema is None:
        return "their degrees"
    return f"the attributes {', '.join(column.name for column in facts.schema.columns[:6])}"


def labelled_parts(parts: dict[str, Any], labels: Any) -> tuple[dict[str, Any], str]:
    """Return the parts without nodes that lack a label, and how many those were, in words."""
    if labels is None:
        return parts, ""
    found, left = {}, []
    for part, rows in parts.items():
        places = rows.nonzero()[0] if rows.dtype == bool else rows
        known = places[labels[places] >= 0]
        if len(known) < len(places):
            left.append(f"{len(places) - len(known)} of {part}")
        found[part] = known
    return found, f"; nodes without a label left out of the split: {', '.join(left)}" if left else ""

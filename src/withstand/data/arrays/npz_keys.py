"""Which arrays of an `.npz` file are samples and labels, and of which part, by their names.

Known are `x` and `y`; with words for parts as folders have them, `x_train`, `y_val`, `X_TEST`; `images` or `data` in
place of `x` and `labels` or `targets` in place of `y`, as `train_images` and `train_labels`; `classes`, the names of
labels 0, 1, ...; and `names` or `ids`, what each sample is called. A single array may have any name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.data.pictures.folder_parts import role_of, words_of

_X = (
    *("x", "data", "image", "images", "img", "imgs", "picture", "pictures", "photos"),
    *("sample", "samples", "feature", "features", "input", "inputs"),
)
_Y = ("y", "label", "labels", "target", "targets")
_PARTS = ("train", "test", "validation")


@dataclass(frozen=True)
class Keys:
    """The names of a file's arrays.

    Attributes:
        x: of the samples, by part ("" where there are no parts).
        y: of their labels, likewise.
        classes: of the classes' names.
        names: of the samples' names.
        unread: of all others.
    """

    x: dict[str, str]
    y: dict[str, str] = field(default_factory=dict)
    classes: str | None = None
    names: str | None = None
    unread: tuple[str, ...] = ()


def find_keys(there: Sequence[str], file: str) -> Keys:
    """Return which arrays of a file are what; its parts are named train, test and validation, in this order.

    Raises:
        DataError: no samples, or two arrays that are the same.
    """
    if len(there) == 1:
        (key,) = there
        part, _ = _slot(key)
        return Keys({part if part == "train" else "": key})
    slots: dict[str, dict[str, list[str]]] = {"x": {}, "y": {}}
    for key in there:
        part, axis = _slot(key)
        if axis:
            slots[axis].setdefault(part, []).append(key)
    x, y = (_one_each(slots[axis], axis, file) for axis in ("x", "y"))
    if "train" in x:
        x.pop("", None)
    elif "" in x:
        x = {"": x[""]}
    else:
        shown = ", ".join(map(printable, there)) or "nothing"
        raise DataError(
            f"{file} holds {shown}: allowed are x_train, y_train, x_test, y_test (also train_images, train_labels, "
            "val_images, ...); or x, y; or a single array"
        )
    x = {part: x[part] for part in ("", *_PARTS) if part in x}
    y = {part: key for part, key in y.items() if part in x}
    classes = "classes" if "classes" in there else None
    names = next((key for key in ("names", "ids") if key in there and "" in x), None)
    read = {*x.values(), *y.values(), classes, names}
    return Keys(x, y, classes, names, tuple(key for key in there if key not in read))


def _slot(key: str) -> tuple[str, str]:
    """Return the part and the axis, x or y, that a key names; no axis where it names neither.

    >>> _slot("x_train"), _slot("val_labels"), _slot("X"), _slot("test_set"), _slot("mask")
    (('train', 'x'), ('validation', 'y'), ('', 'x'), ('test', 'x'), ('', ''))
    """
    role, _ = role_of(key)
    if role is not None and role not in _PARTS:
        return "", ""
    words = [word for word in words_of(key) if role_of(word)[0] is None]
    if role is not None and words in ([], ["set"], ["split"], ["part"]):
        return role, "x"
    rest = words[0] if len(words) == 1 else ""
    return role or "", "x" if rest in _X else "y" if rest in _Y else ""


def _one_each(found: dict[str, list[str]], axis: str, file: str) -> dict[str, str]:
    """Return the key of each part; the plainest where there are several."""
    chosen = {}
    for part, keys in found.items():
        plain = [key for key in keys if key in (axis, f"{axis}_{part}")]
        if len(keys) > 1 and not plain:
            shown = " and ".join(printable(key) for key in keys)
            raise DataError(f"{file} holds {shown}, which may both be {axis}: call the one that is meant {axis}")
        chosen[part] = (plain or keys)[0]
    return chosen

"""The parts of a folder of pictures, told by the names of its folders: `train` and `valid`, `Training` and `Testing`,
`training_set` and `test_set`, `seg_train` and `seg_test`, `train2017` and `val2017`. Parts are never classes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.core.errors import DataError

Role: TypeAlias = Literal["train", "test", "validation", "aside"]

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluation", "dev", "devel", "development"), "validation"),
    # Only ever beside a training part: more pictures without labels, or what a competition asks to be labelled.
    **dict.fromkeys(("unlabeled", "unlabelled", "unsup", "extra", "pred", "predict", "prediction"), "aside"),
}
_FILLERS = (
    *("datasets", "dataset", "data", "sets", "set", "splits", "split", "parts", "part", "samples", "folder", "files"),
    *("images", "image", "imgs", "img", "pictures", "picture", "pics", "photos", "photo"),
)


@dataclass(frozen=True)
class Parts:
    """Which of a folder's folders are parts.

    Attributes:
        train: the training part's folder.
        test: the test part's, or None.
        validation: the validation part's, or None.
        aside: folders with pictures that belong to none of these.
    """

    train: str
    test: str | None = None
    validation: str | None = None
    aside: tuple[str, ...] = ()

    def items(self) -> dict[str, str]:
        """Return the folders by the part's name: train, test, validation, as far as they are there."""
        known = {"train": self.train, "test": self.test, "validation": self.validation}
        return {part: folder for part, folder in known.items() if folder is not None}


def role_of(name: str) -> tuple[Role | None, str]:
    """Return which part a folder's name says it is, and what else the name says; None where it names no part.

    >>> role_of("Training_Set"), role_of("seg_test"), role_of("val2017"), role_of("train station")
    (('train', ''), ('test', 'seg'), ('validation', ''), ('train', 'station'))
    >>> role_of("cats")
    (None, 'cats')
    """
    telling = [word for word in map(_bare, words_of(name)) if word not in _FILLERS]
    roles = [word for word in telling if word in _ROLES]
    rest = " ".join(word for word in telling if word not in _ROLES)
    return (_ROLES[roles[0]], rest) if len(roles) == 1 else (None, " ".join(telling))


def words_of(name: str) -> list[str]:
    """Return a name's words, in small letters.

    >>> words_of("Train_Data-2"), words_of("testImages")
    (['train', 'data'], ['test', 'images'])
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()
    return [word for word in re.split(r"[\W\d_]+", spaced) if word]


def find_parts(folders: Sequence[str]) -> Parts | None:
    """Return the parts among folders that hold pictures; None where they are no parts.

    There are parts where one folder is for training and another, whose name differs from it in that word alone, for
    testing, validation or neither.

    Raises:
        DataError: two folders are the same part, there are the parts of several sets, or parts and none for training.
    """
    groups: dict[str, dict[str, Role]] = {}
    for name in sorted(folders):
        role, rest = role_of(name)
        if role is not None:
            groups.setdefault(rest, {})[name] = role
    whole = {
        rest: group for rest, group in groups.items() if "train" in group.values() and len(set(group.values())) > 1
    }
    if len(whole) > 1:
        shown = "; ".join(", ".join(group) for group in whole.values())
        raise DataError(f"there are the parts of {len(whole)} sets ({shown}): give each set a folder of its own")
    if not whole:
        if set(groups.get("", {}).values()) == {"test", "validation"}:
            shown = ", ".join(map(repr, groups[""]))
            raise DataError(f"the folders {shown} are parts of a set without a training part: name one of them")
        return None
    (group,) = whole.values()
    found: dict[Role, list[str]] = {}
    for name, role in group.items():
        found.setdefault(role, []).append(name)
    judged = [name for name in found.get("validation", ()) if "eval" in name.casefold()]
    if len(found.get("validation", ())) == 2 and len(judged) == 1 and "test" not in found:
        found["test"] = judged  # train, dev, eval
        found["validation"].remove(judged[0])
    for part, names in found.items():
        if len(names) > 1 and part != "aside":
            raise DataError(f"the folders {' and '.join(map(repr, names))} are both the {part} part: move one away")
    test, validation = (found.get(part, [None])[0] for part in ("test", "validation"))
    used = {found["train"][0], test, validation}
    return Parts(found["train"][0], test, validation, tuple(name for name in sorted(folders) if name not in used))


def _bare(word: str) -> str:
    """Return a word without a filler at its end: `trainset` is `train`."""
    return next((word.removesuffix(filler) for filler in _FILLERS if word.removesuffix(filler) in _ROLES), word)

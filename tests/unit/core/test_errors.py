"""Errors that a user can mend: one line, whatever stands in them."""

import pickle

import pytest

from withstand.core import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.WithstandError)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not errors.MissingExtra])
def test_names_with_breaks_do_not_break_the_line(kind: type[errors.WithstandError]) -> None:
    told = kind("column a\r\nb\u2028c\x1b[2J\udce9 is café, '日本'")
    assert str(told) == r"column a\r\nb\u2028c\x1b[2J\udce9 is café, '日本'"
    assert str(pickle.loads(pickle.dumps(told))) == str(told)


def test_a_missing_package_is_told_in_one_line() -> None:
    assert "\n" not in str(errors.MissingExtra("reading a\nb.csv", "pyarrow", "table"))

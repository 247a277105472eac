from importlib import import_module
from importlib.util import find_spec

import pytest

from withstand.core.moved import MOVED, current_path
from withstand.core.part import build, describe
from withstand.verification.smoothing import Smoothing


@pytest.mark.parametrize("old", MOVED)
def test_what_once_moved_is_found_where_it_lies_now(old: str) -> None:
    now = current_path(old)
    assert current_path(now) == now
    where, _, name = now.rpartition(".")
    if name[0].isupper():
        assert isinstance(getattr(import_module(where), name), type)
    else:
        assert find_spec(now)
        assert current_path(f"{old}.Name") == f"{now}.Name"


@pytest.mark.parametrize("old", MOVED)
def test_a_name_that_only_begins_like_a_moved_one_stays(old: str) -> None:
    where = old.rpartition(".")[0]
    assert current_path(f"{old}_of_another_name").startswith(current_path(where))


@pytest.mark.parametrize("old", [old for old in MOVED if not old.rpartition(".")[2][0].isupper()])
def test_a_path_that_moved_is_taken_by_nothing_new(old: str) -> None:
    where = old.rpartition(".")[0]
    assert not (current_path(where) == where and find_spec(where) and find_spec(old))


def test_a_part_saved_under_its_old_path_is_built() -> None:
    tree = describe(Smoothing())
    assert isinstance(tree, dict)
    tree["class_path"] = "withstand.certify.smoothing.Smoothing"
    assert isinstance(build(tree), Smoothing)

import pytest

from withstand.core.moved import MOVED, current_path
from withstand.core.part import build, describe
from withstand.verification.smoothing import Smoothing


@pytest.mark.parametrize(("old", "now"), MOVED.items())
def test_a_moved_module_is_found_with_all_that_lies_below(old: str, now: str) -> None:
    assert current_path(old) == now
    assert current_path(f"{old}.part.Name") == f"{now}.part.Name"
    assert current_path(f"{old}_of_another_name.Name") == f"{old}_of_another_name.Name"


def test_a_part_saved_under_its_old_path_is_built() -> None:
    tree = describe(Smoothing())
    assert isinstance(tree, dict)
    tree["class_path"] = "withstand.certify.smoothing.Smoothing"
    assert isinstance(build(tree), Smoothing)

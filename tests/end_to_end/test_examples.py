"""Every example runs as it stands, on fewer samples and for fewer passes."""

import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from withstand.data.pictures import named
from withstand.data.pictures.fashion_mnist import small

HERE = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path.stem for path in HERE.glob("*.py"))
FEWER = {"epochs": 1, "samples": 2, "steps": 2, "rows": 120, "volumes": 3, "timeout": 0.1}
read_small = small.read_small


def few(split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a part of the embedded pictures, every class in it."""
    x, y = read_small(split)
    return (x[:256], y[:256]) if split == "train" else (x[:20], y[:20])


def test_there_are_ten_at_least_and_none_is_long() -> None:
    assert len(EXAMPLES) >= 10
    for name in EXAMPLES:
        assert len((HERE / f"{name}.py").read_text().splitlines()) < 80, name


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(small, "read_small", few)
    monkeypatch.setattr(named, "read_small", few)
    module = importlib.import_module(name)
    if hasattr(module, "read_small"):
        monkeypatch.setattr(module, "read_small", few)
    told = inspect.signature(module.main).parameters
    found = module.main(**{option: value for option, value in FEWER.items() if option in told})
    assert len(repr(found)) < 2000  # what Python shows of it is short
    assert module.__doc__.rstrip().splitlines()[-1].startswith(f"python examples/{name}.py")

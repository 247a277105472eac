"""Every example runs as it stands, on fewer samples and for fewer passes."""

import importlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import notebooks
from withstand.data.pictures import named
from withstand.data.pictures.fashion_mnist import small

HERE = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path.stem for path in HERE.glob("*.py"))
FEWER = {"epochs": 1, "samples": 2, "steps": 2, "rows": 120, "volumes": 3, "timeout": 0.1, "pictures": 20, "clips": 2}
read_small = small.read_small


def few(split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a part of the embedded pictures, every class in it."""
    x, y = read_small(split)
    return (x[:256], y[:256]) if split == "train" else (x[:20], y[:20])


@pytest.mark.parametrize("name", notebooks.SHOWN)
def test_notebooks_are_the_examples(name: str) -> None:
    text = (notebooks.OUT / f"{name}.ipynb").read_text(encoding="utf-8")
    assert text == notebooks.notebook(name), "run python tools/notebooks.py"
    # That every name in it is known, `make lint` sees; what it does, the example's own test.
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        compile(cell, name, "exec")
    assert sorted(path.stem for path in notebooks.OUT.glob("*")) == sorted(notebooks.SHOWN)


def test_every_example_is_listed() -> None:
    listed = re.findall(r"^\| \[`(\w+)\.py`\]\((\w+)\.py\) \|", (HERE / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in listed) == EXAMPLES
    assert all(name == target for name, target in listed)


def test_there_are_ten_at_least_and_none_is_long() -> None:
    assert len(EXAMPLES) >= 10
    for name in EXAMPLES:
        assert len((HERE / f"{name}.py").read_text().splitlines()) < 80, name


@pytest.mark.thorough
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

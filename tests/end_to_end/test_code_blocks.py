"""The code in README and docs runs as printed, on smaller data."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from withstand.data.pictures import named

HERE = Path(__file__).parent.parent.parent
PAGES = [
    path for path in (HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))) if "```python" in path.read_text()
]


def few(split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a part of the embedded pictures, every class in it."""
    x, y = read_small(split)
    return (x[:320], y[:320]) if split == "train" else (x[:20], y[:20])


read_small = named.read_small


@pytest.mark.thorough
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_code_blocks_run_as_printed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(named, "read_small", few)
    rng = np.random.default_rng(0)
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    pictures = {f"x_{part}": rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"y_{part}": np.arange(12) % 10 for part in ("train", "test")}
    np.savez(tmp_path / "data" / "cifar10" / "tiny.npz", **pictures, **labels)
    monkeypatch.setenv("WITHSTAND_DATA", str(tmp_path / "data"))
    torch.manual_seed(0)
    names: dict[str, object] = {"my_classifier": nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))}
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)

"""Scattering of CIFAR-size pictures: ours against kymatio's two-dimensional torch and numpy front ends, in one process.

    python -m benchmarks.scattering [results.jsonl] [--threads 1] [--batch 128] [--orientations 8] [--repeats 5]
        [--device cuda] [--parts]

kymatio (pip install --no-deps kymatio) is imported by module path: its `torch` and `numpy` modules do not import beside
a SciPy without sph_harm. Both get the same pictures, and their coefficients are compared first. --parts times what no
way of computing them can leave out, by torch's own transforms: the padded pictures' spectra, the waves' inverse
transforms and their moduli, J 2.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from withstand.models.pictures.wavelet_scattering.scattering import Scattering


def best_seconds(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return each work's least seconds, taking turns so that a busy moment strikes all alike."""
    best = dict.fromkeys(works, math.inf)
    for _ in range(repeats + 1):  # the first time warms up
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def difference(ours: Tensor, theirs: Tensor, first: int) -> float:
    """Return the largest difference of coefficients; kymatio divides each filter by 3.1415 where pi stands."""
    orders = torch.ones(ours.shape[2], device=ours.device)
    orders[1:], orders[1 + first :] = 2, 3
    return float((ours * ((math.pi / 3.1415) ** orders)[:, None, None] - theirs).abs().max())


def unavoidable(pictures: int, orientations: int, repeats: int) -> dict[str, float]:
    """Return the milliseconds a picture of three channels of what has to be computed, by kind."""
    maps, wave = 3 * pictures, torch.complex64
    first, large = torch.rand(maps * orientations, 40, 40), torch.randn(maps * orientations, 40, 40, dtype=wave)
    small = torch.randn(maps * (orientations + orientations**2), 20, 20, dtype=wave)
    real, imaginary = torch.rand(2, large.numel() + small.numel()).unbind()
    place = torch.empty_like(real)
    works: dict[str, Callable[[], object]] = {
        "spectra": lambda: torch.fft.fft2(first),
        "inverse transforms": lambda: (torch.fft.ifft2(large), torch.fft.ifft2(small)),
        "moduli": lambda: torch.square(real, out=place).addcmul_(imaginary, imaginary).sqrt_(),
    }
    return {name: 1000 * value / pictures for name, value in best_seconds(works, repeats).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, help="file that gets one JSON line")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--orientations", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parts", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x = torch.rand(options.batch, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(options.device)
    ours = Scattering((32, 32), 2, options.orientations).to(options.device)
    works: dict[str, Callable[[], object]] = {"withstand": lambda: ours(x)}
    try:
        from kymatio.scattering2d.frontend.numpy_frontend import ScatteringNumPy2D
        from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D
    except ImportError as error:
        print(f"kymatio is missing ({error}): pip install --no-deps kymatio")
    else:
        settings = {"J": 2, "shape": (32, 32), "L": options.orientations}
        theirs = ScatteringTorch2D(**settings).to(options.device)
        works["kymatio torch"] = lambda: theirs(x)
        if options.device == "cpu":
            plain, arrays = ScatteringNumPy2D(**settings), x.numpy()
            works["kymatio numpy"] = lambda: plain(arrays)
        with torch.no_grad():
            print(f"largest difference {difference(ours(x), theirs(x), 2 * options.orientations):.1e}")
    with torch.no_grad():
        seconds = best_seconds(works, options.repeats)
    where = f"{options.threads} thread(s)" if options.device == "cpu" else torch.cuda.get_device_name()
    print(f"32 x 32 x 3, J 2, L {options.orientations}, batch {options.batch}, {where}")
    for name, value in seconds.items():
        ratio = f"   {value / seconds['withstand']:5.1f}x" if name != "withstand" else ""
        print(f"{name:14s} {1000 * value / options.batch:7.3f} ms a picture{ratio}")
    if options.parts:
        for name, value in unavoidable(4, options.orientations, 50).items():
            print(f"{name:18s} {value:7.3f} ms a picture")
    if options.results is not None:
        mine = seconds.pop("withstand")
        line = {
            "work": f"scattering of 32 x 32 pictures, batch {options.batch}, {where}",
            "ours": options.batch / mine,
            "peers": {name: options.batch / value for name, value in seconds.items()},
            "ratio": {name: value / mine for name, value in seconds.items()},
        }
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

"""onnxruntime as the judge of what was read from an ONNX file: the same outputs, up to rounding, on many points."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import derive
from withstand.verification.exchange.onnx_file import one_line
from withstand.verification.exchange.rounded import rounded

COUNT = 64
"""Points of a box at which a network is compared."""
_AROUND = 16
"""Points beside them, at which rounding is measured too: a box may be a single point."""
_ROUNDING = 8.0
_ULPS = 32.0
"""How far outputs may be off: so many times the largest rounding error that was measured, and so many units in the last
place of the largest output. Sums in another order, fused operations and approximated exponentials stay below a quarter
of it on all networks that were tried; another function is beyond it by orders of magnitude."""


class Runtime:
    """A file as onnxruntime runs it, on the processor, one sample at a time.

    Args:
        model: the file's own model, not converted.
        shape: one sample's shape, without the batch.
        batched: whether the file's input has a first dimension for the batch.
        title: for messages.

    Raises:
        ConfigError: onnxruntime does not run it.
    """

    def __init__(self, model: Any, shape: tuple[int, ...], *, batched: bool, title: str) -> None:
        import onnxruntime

        self._shape, self._title = ((1, *shape) if batched else shape), title
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its complaints come as exceptions too
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common class
            raise ConfigError(f"{title}: onnxruntime does not run it: {one_line(error)}") from error
        (self._input,) = (item.name for item in self._session.get_inputs())

    def __call__(self, x: Tensor) -> Tensor:
        """Return outputs `(N, K)`, flat, for inputs `(N, *shape)` in the file's precision."""
        rows = []
        for sample in x.detach().cpu().numpy():
            try:
                (found,) = self._session.run(None, {self._input: np.ascontiguousarray(sample).reshape(self._shape)})
            except Exception as error:
                raise DataError(f"{self._title}: onnxruntime does not run it: {one_line(error)}") from error
            rows.append(torch.from_numpy(np.array(found)).flatten())
        return torch.stack(rows)


def points(low: Tensor, high: Tensor, dtype: torch.dtype, *, count: int = COUNT, seed: int = 0) -> Tensor:
    """Return points of a box `(*shape)` in a precision, `(count, *shape)`: its centre, corners, and random ones."""
    draws = torch.Generator().manual_seed(derive("onnx", seed))
    low, high = low.detach().cpu().double(), high.detach().cpu().double()
    share = torch.rand(count, *low.shape, generator=draws, dtype=torch.float64)
    corners = max(2, count // 3)
    share[:corners] = share[:corners].round()
    share[0], share[1], share[-1] = 0.0, 1.0, 0.5
    return rounded(low + share * (high - low), low, high, dtype)


def compare(network: nn.Module, runtime: Runtime, x: Tensor, title: str) -> tuple[Tensor, Tensor]:
    """Hold a network against onnxruntime at inputs `(N, *shape)`; return the latter's outputs `(N, K)`, and rounding.

    Args:
        network: as it was read, in the file's precision.
        runtime: the file itself.
        x: inputs in the file's precision.
        title: for messages.

    Raises:
        ConfigError: it gives something else, beyond rounding.
    """
    wanted, found = runtime(x), outputs(network, x, torch.float64)
    if found.shape != wanted.shape:
        raise ConfigError(
            f"{title} as it was read gives {found.shape[1]} numbers for a sample, onnxruntime {wanted.shape[1]}"
        )
    if not bool(torch.isfinite(wanted).all() and torch.isfinite(found).all()):
        raise ConfigError(f"{title} gives values that are not finite: nothing can be said of it")
    draws = torch.Generator().manual_seed(derive("onnx", "around"))
    off = torch.rand(_AROUND, *x.shape[1:], generator=draws, dtype=torch.float64) - 0.5
    some = x[torch.linspace(0, len(x) - 1, _AROUND).long()].double()
    near = (some + 1e-2 * off * (1 + some.abs())).to(x.dtype)
    # Nothing finer than float64 tells its rounding: float32's does, which grows through a network alike.
    coarse = torch.float32 if x.dtype == torch.float64 else x.dtype
    noise = torch.cat([outputs(network, part, coarse) - outputs(network, part, torch.float64) for part in (x, near)])
    noise *= torch.finfo(x.dtype).eps / torch.finfo(coarse).eps
    check(found, wanted, noise, torch.finfo(x.dtype).eps, title)
    return wanted, noise


def check(found: Tensor, wanted: Tensor, noise: Tensor, eps: float, title: str) -> None:
    """Refuse outputs that differ by more than rounding does.

    Args:
        found: outputs `(N, K)` in float64.
        wanted: onnxruntime's.
        noise: rounding errors that were measured.
        eps: the precision's unit.
        title: for messages.
    """
    noise = noise[torch.isfinite(noise)]
    allowed = _ROUNDING * (noise.abs().max().item() if noise.numel() else 0.0)
    allowed += _ULPS * eps * max(1e-30, wanted.double().abs().max().item())
    off = (found - wanted.double()).abs().max().item()
    if not off <= allowed:
        raise ConfigError(
            f"{title} was not read as onnxruntime runs it: outputs differ by {off:.3g}, and rounding explains "
            f"{allowed:.3g}; nothing is claimed of it"
        )


def outputs(network: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a network's outputs `(N, K)`, computed in some precision and given in float64.

    In the precision of its inputs it is run as it is: parts of it may be of a wider one.
    """
    held = {} if dtype == x.dtype else {name: value.to(dtype) for name, value in network.named_buffers()}
    with torch.no_grad():
        rows = [torch.func.functional_call(network, held, (part.to(dtype),)) for part in torch.split(x, 16)]
    return torch.cat(rows).flatten(1).double()

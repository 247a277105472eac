"""Every dialect of ONNX beside onnxruntime: what is read is equal, what is not is refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from unit.verification.onnx_dialects import DIALECTS, DOUBLE, FLOAT, HALF, Dialect, written  # noqa: E402
from withstand.core.errors import ConfigError, DataError  # noqa: E402
from withstand.verification.bounds.crown import relax_network  # noqa: E402
from withstand.verification.exchange import onnx_import  # noqa: E402
from withstand.verification.network.capture import capture  # noqa: E402
from withstand.verification.network.capture_check import as_given  # noqa: E402
from withstand.verification.specification.box import Region  # noqa: E402

PRECISION = {FLOAT: (torch.float32, 3e-6), HALF: (torch.float16, 4e-3), DOUBLE: (torch.float64, 1e-12)}
FILES = [
    pytest.param(dialect, opset, kind, id=f"{dialect.name}-{opset}-{PRECISION[kind][0]}")
    for dialect in DIALECTS
    for opset in dialect.opsets
    for kind in dialect.types
]


def by_runtime(path: Path, dialect: Dialect, x: torch.Tensor) -> torch.Tensor:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    shape = dialect.shape if dialect.batch is None else (1, *dialect.shape)
    rows = [session.run(None, {"x": row.numpy().reshape(shape)})[0] for row in x]
    return torch.from_numpy(np.stack(rows)).flatten(1)


@pytest.mark.parametrize(("dialect", "opset", "kind"), FILES)
def test_read_as_the_runtime_runs_it_or_refused_by_name(
    dialect: Dialect, opset: int, kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the comparison that reading makes itself, so that the reader alone is looked at.
    monkeypatch.setattr(onnx_import, "compare", lambda *_: None)
    path = written(dialect, opset, kind, tmp_path)
    if dialect.refused:
        with pytest.raises((ConfigError, DataError)) as raised:
            onnx_import.read_onnx(path)
        assert dialect.refused in str(raised.value)
        assert "\n" not in str(raised.value)
        return
    dtype, tolerance = PRECISION[kind]
    network = onnx_import.read_onnx(path)
    assert (network.shape, network.dtype) == (dialect.shape, dtype)
    x = (torch.rand(64, *dialect.shape, generator=torch.Generator().manual_seed(opset)) * 4 - 2).to(dtype)
    wanted = by_runtime(path, dialect, x)
    with torch.no_grad():
        found = network(x)
    assert found.dtype == wanted.dtype
    assert found.flatten(1).shape == wanted.shape
    assert float((found.flatten(1) - wanted).abs().max() / wanted.abs().max()) < tolerance


READ = [
    pytest.param(dialect, kind, id=f"{dialect.name}-{PRECISION[kind][0]}")
    for dialect in DIALECTS
    for kind in dialect.types
    if not dialect.refused
]


@pytest.mark.parametrize(("dialect", "kind"), READ)
def test_what_is_bounded_is_what_was_read(dialect: Dialect, kind: int, tmp_path: Path) -> None:
    # The network that bounds are computed of, beside the runtime; and its boxes round a point.
    network = onnx_import.read_onnx(written(dialect, dialect.opsets[-1], kind, tmp_path))
    dtype, tolerance = PRECISION[kind]
    x = (torch.rand(48, *dialect.shape, generator=torch.Generator().manual_seed(3)) * 4 - 2).to(dtype)
    captured = capture(network, x)
    wanted = by_runtime(tmp_path / "net.onnx", dialect, x).double()
    found = as_given(captured, captured(x)).flatten(1)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < max(tolerance, 1e-5)
    if dtype == torch.float16:
        return
    region = Region.box(x[:1].double() - 0.05, x[:1].double() + 0.05)
    values = captured(region.sample(torch.rand(300, 1, *dialect.shape, dtype=torch.float64).round())[:, 0])
    for typed in (captured, captured.to(torch.float32)):
        box = relax_network(typed, region.to(typed.dtype)).boxes[-1]
        assert (box.low.double() <= values.amin(0) + 1e-12).all()
        assert (box.high.double() >= values.amax(0) - 1e-12).all()


def test_every_operator_that_is_read_is_among_them() -> None:
    from withstand.verification.exchange.onnx_operators import OPERATORS

    read = {item.op_type for dialect in DIALECTS if not dialect.refused for item in dialect.nodes}  # type: ignore[attr-defined]
    assert set(OPERATORS) <= read
    assert {opset for dialect in DIALECTS for opset in dialect.opsets} >= {*range(7, 16), *range(18, 23)} - {
        8,
        10,
        12,
        14,
    } | {8}

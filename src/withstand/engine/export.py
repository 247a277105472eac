"""Export: the encoder alone, for use elsewhere."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from withstand.core.errors import MissingExtra, RunError
from withstand.core.files import replacing
from withstand.core.part import describe
from withstand.core.random import derive
from withstand.core.roles import Model
from withstand.core.version import __version__


def to_safetensors(encoder: Model, path: Path) -> Path:
    """Write weights to `path`, and beside it, as `.json`, the tree from which `build` makes the encoder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in encoder.state_dict().items()}
    record = {"withstand": __version__, "width": encoder.width, "tree": describe(encoder)}
    with replacing(path) as aside:
        save_file(weights, aside)
    with replacing(path.with_suffix(".json")) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def to_onnx(encoder: Model, shape: tuple[int, ...], path: Path) -> Path:
    """Write the encoder as ONNX, any batch size, and check its outputs against torch's.

    Args:
        encoder: in eval mode.
        shape: one sample's shape.
        path: the file to write.

    Raises:
        MissingExtra: the extra `export` is not installed.
        RunError: the exported network's outputs differ from torch's by more than 1e-3 of their size.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise MissingExtra("ONNX export", "onnx, onnxscript and onnxruntime", "export") from error
    generator = torch.Generator().manual_seed(derive("onnx"))
    x = torch.rand(3, *shape, generator=generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside:
        program = torch.onnx.export(
            encoder.cpu(),
            (x,),
            dynamo=True,
            input_names=["x"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
        assert program is not None
        program.save(str(aside))
        session = onnxruntime.InferenceSession(str(aside), providers=["CPUExecutionProvider"])
        with torch.no_grad():
            expected = encoder(x)
        found = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
        gap = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        if not gap < 1e-3:
            raise RunError(f"the ONNX file's outputs differ from torch's by {gap:.2g} of their size: not written")
    return path

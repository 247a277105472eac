"""ONNX files before their operators are looked at: read from disk, checked, and brought to one opset."""

from pathlib import Path
from typing import Any

from withstand.core.errors import ConfigError, DataError, MissingExtra
from withstand.verification.exchange.packed import read_bytes

OPSET = 22
"""The opset that every file is brought to, so that each operator has one meaning."""
_OLDEST = 7
"""Before, operators broadcast and normalise by rules of their own; onnxruntime does not promise to run them either."""
STANDARD = ("", "ai.onnx")
"""Names of the domain that the standard's plain operators are in."""


def load(path: Path) -> Any:
    """Return a file's model, as it is.

    Raises:
        MissingExtra: the packages onnx and onnxruntime are not installed.
        DataError: the file is missing, damaged, or no sound ONNX model.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 - whatever is read is compared with it
    except ImportError as error:
        raise MissingExtra("reading ONNX files", "onnx and onnxruntime", "certify") from error
    content = read_bytes(path)
    try:
        model = onnx.load_model_from_string(content)
        # Weights may lie in files beside it.
        onnx.load_external_data_for_model(model, str(path.parent))
        _check(model)
    except Exception as error:  # protobuf's decoder and onnx's checker raise types of their own
        raise DataError(f"{path} is not an ONNX file that can be read: {one_line(error)}") from error
    return model


def _check(model: Any) -> None:
    """Raise what onnx's checker finds wrong, but for an output whose shape nobody wrote down."""
    from onnx import checker

    bare = [item.type.tensor_type for item in model.graph.output if item.type.HasField("tensor_type")]
    bare = [kind for kind in bare if not kind.HasField("shape")]
    for kind in bare:
        kind.shape.dim.add().dim_param = "unknown"
    try:
        checker.check_model(model)
    finally:
        for kind in bare:
            kind.ClearField("shape")


def opset(model: Any, title: str) -> int:
    """Return the opset of a model's standard operators.

    Raises:
        ConfigError: one that is too old, or none.
    """
    found = [int(item.version) for item in model.opset_import if item.domain in STANDARD]
    if len(found) != 1 or found[0] < _OLDEST:
        said = f"opset {found[0]}" if found else "no opset"
        raise ConfigError(f"{title} names {said} of the standard operators: {_OLDEST} or newer is wanted")
    return found[0]


def foreign(model: Any) -> list[str]:
    """Return what a model uses that lies outside the standard's plain operators, in words."""
    found = [f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in STANDARD]
    if model.functions:
        found.append("functions of its own")
    if model.graph.sparse_initializer:
        found.append("sparse weights")
    return list(dict.fromkeys(found))


def converted(model: Any, title: str) -> Any:
    """Return the model in `OPSET`, by onnx's own converter.

    Raises:
        ConfigError: the converter cannot.
    """
    from onnx import version_converter

    old = opset(model, title)
    if old == OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:
        raise ConfigError(f"{title} cannot be brought from opset {old} to {OPSET}: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Return another library's message, fit for one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__

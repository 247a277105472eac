"""Export: one network of a run, or the attack that it learnt, for use elsewhere."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from withstand.attacks.learnt.perturbations import networks_of
from withstand.core.errors import ConfigError, DataError, MissingExtra, RunError
from withstand.core.files import replacing
from withstand.core.part import Part, describe, externals
from withstand.core.roles import Attack, Model
from withstand.core.version import __version__

FORMS = (".safetensors", ".onnx")
"""How files of both forms end."""


def check_form(path: Path, form: str) -> None:
    """Refuse a file that is named as one of another form, or as the description that lies beside weights.

    Raises:
        ConfigError: names the ending that fits.
    """
    ending = path.suffix.lower()
    if ending == ".json" or (ending in FORMS and ending != f".{form}"):
        other = f"form {ending[1:]}, or " if ending in FORMS else ""
        raise ConfigError(f"out {str(path)!r} does not name a file of form {form}: give {other}a name in .{form}")


def to_safetensors(product: nn.Module | Attack, path: Path, *, classes: Sequence[str] = ()) -> Path:
    """Write weights to `path`, and beside it, as `.json`, the tree from which `build` makes the network or the attack.

    Args:
        product: what is written.
        path: the file of weights.
        classes: the names of a classifier's outputs, where it has any: by them it is judged on other data.

    Raises:
        ConfigError: a network that is no part, from which no description could make it again; an attack without tensors
            of its own.
    """
    described: object = product
    if not isinstance(described, Part):
        raise ConfigError(f"a {type(product).__name__} has no description to be built from: use the form onnx")
    if isinstance(product, Attack) and (missing := externals(product)):
        kind = type(next(iter(missing.values()))).__name__
        raise ConfigError(f"{next(iter(missing))} of the attack, a {kind}, has no description to be built from")
    network = networks_of(product) if isinstance(product, Attack) else product
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    record: dict[str, object] = {"withstand": __version__, "tree": describe(described)}
    if isinstance(network, Model):
        record["width"] = network.width
    if classes:
        record["classes"] = list(classes)
    with replacing(path) as aside:
        save_file(weights, aside)
    with replacing(path.with_suffix(".json")) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def to_onnx(network: nn.Module, x: Tensor, path: Path) -> Path:
    """Write a network as ONNX, any batch size, and check its outputs against torch's.

    One that says by `any_size` that it takes pictures of any height and width does so as ONNX too.

    Args:
        network: in eval mode. A `Model`'s outputs are called features, any other's outputs.
        x: a few samples as the network takes them, two or more.
        path: the file to write.

    Raises:
        MissingExtra: the extra `export` is not installed.
        DataError: a single sample, from which the exporter would make a fixed batch.
        RunError: the exported network's outputs differ from torch's by more than 1e-3 of their size.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise MissingExtra("ONNX export", "onnx, onnxscript and onnxruntime", "export") from error
    if len(x) < 2:
        raise DataError("ONNX export needs two samples or more to try, and was given one")
    axes = {0: "batch"} | ({2: "height", 3: "width"} if getattr(network, "any_size", False) else {})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside:
        program = torch.onnx.export(
            network.cpu(),
            (x,),
            dynamo=True,
            input_names=["x"],
            output_names=["features" if isinstance(network, Model) else "outputs"],
            dynamic_shapes=({axis: torch.export.Dim(name) for axis, name in axes.items()},),
            verbose=False,
        )
        assert program is not None
        program.save(str(aside))
        session = onnxruntime.InferenceSession(str(aside), providers=["CPUExecutionProvider"])
        for some in (x, x[:1, :, 1:, :-1]) if len(axes) > 1 else (x,):
            with torch.no_grad():
                expected = network(some)
            found = torch.from_numpy(session.run(None, {"x": some.numpy()})[0])
            gap = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
            if not gap < 1e-3:
                raise RunError(f"the ONNX file's outputs differ from torch's by {gap:.2g} of their size: not written")
    return path

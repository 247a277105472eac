"""Exchange with other verifiers: a network and a property as the pair of files that the competition uses.

`unsat` is a proof, `sat` a counterexample that the network itself was shown, `timeout` and `unknown` are neither.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, MissingExtra
from withstand.core.files import replacing
from withstand.verification.exchange.onnx_import import OnnxNetwork, read_onnx
from withstand.verification.exchange.specification import Specification
from withstand.verification.exchange.vnnlib import read_vnnlib
from withstand.verification.exchange.vnnlib_write import answer, margin_specification, write_vnnlib
from withstand.verification.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Instance:
    """A network, and a property that is asked of it."""

    network: OnnxNetwork
    specification: Specification

    @classmethod
    def read(cls, network: Path | str, specification: Path | str) -> "Instance":
        """Read the two files.

        Raises:
            DataError: one of them cannot be read, or they do not fit each other.
        """
        instance = cls(read_onnx(network).eval(), read_vnnlib(specification))
        asked = instance.specification
        size = int(torch.tensor(instance.network.shape).prod())
        if size != asked.inputs:
            raise DataError(f"{network} takes {size} numbers, {specification} speaks of {asked.inputs}")
        outputs = instance.output(torch.zeros(size)).numel()
        if outputs != asked.outputs:
            raise DataError(f"{network} gives {outputs} numbers, {specification} speaks of {asked.outputs}")
        return instance

    def output(self, x: Tensor) -> Tensor:
        """Return what the network gives for one input, flat in and out, in the file's own precision."""
        with torch.no_grad():
            found: Tensor = self.network(x.float().view(1, *self.network.shape))
        return found.flatten()

    def broken(self, x: Tensor, *, slack: float = 0.0) -> bool:
        """Return whether an input, flat or shaped, is a counterexample as the network sees it."""
        rounded = x.detach().cpu().float().flatten()
        return self.specification.broken(rounded, self.output(rounded), slack=slack)

    def reply(self, verdict: Verdict) -> str:
        """Return the text of the competition's result file.

        Raises:
            ConfigError: the verdict's counterexample is none: `sat` would be a wrong answer.
        """
        if verdict.status == "safe":
            return answer("unsat")
        if verdict.counterexample is None:
            return answer("timeout" if "time" in verdict.reason else "unknown")
        x = verdict.counterexample.detach().cpu().float().flatten()
        if not self.broken(x, slack=1e-4):
            raise ConfigError(
                "the counterexample does not break the property when it is replayed: it is not handed out"
            )
        return answer("sat", x, self.output(x))


def write_instance(
    model: nn.Module, low: Tensor, high: Tensor, label: int, folder: Path, *, name: str = "query", margin: float = 0.0
) -> tuple[Path, Path]:
    """Write a network and "class `label` wins everywhere in the box" as `NAME.onnx` and `NAME.vnnlib`.

    Args:
        model: in eval mode, gives logits `(1, K)`.
        low: smallest inputs of the box, one sample's shape.
        high: largest inputs.
        label: the class that is to win.
        folder: where to write.
        name: of both files.
        margin: by how much it is to win.

    Raises:
        MissingExtra: the extra `export` is not installed.
        ConfigError: a model in train mode.
    """
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise MissingExtra("writing ONNX files", "onnx and onnxscript", "export") from error
    if model.training:
        raise ConfigError("the model is in train mode: call eval() before it is written")
    example = ((low + high) / 2).float()[None]
    with torch.no_grad():
        classes = model(example).shape[1]
    text = write_vnnlib(margin_specification(low, high, label, classes, margin=margin), f"class {label} wins in a box")
    folder.mkdir(parents=True, exist_ok=True)
    network, specification = folder / f"{name}.onnx", folder / f"{name}.vnnlib"
    with replacing(network) as aside:
        program = torch.onnx.export(
            model, (example,), dynamo=True, input_names=["x"], output_names=["y"], verbose=False
        )
        assert program is not None
        program.save(str(aside))
    with replacing(specification) as aside:
        aside.write_text(text, encoding="utf-8")
    return network, specification

"""Exchange with other verifiers: a network and a property as the pair of files that the competition uses.

`unsat` is a proof in exact arithmetic for the file's weights. `sat` is a counterexample that onnxruntime, on the file
itself and in its precision, was shown. `timeout` and `unknown` are neither.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, MissingExtra, RunError
from withstand.core.files import replacing
from withstand.verification.exchange.onnx_import import OnnxNetwork, read_both
from withstand.verification.exchange.onnx_runtime import Runtime, compare, points
from withstand.verification.exchange.rounded import rounded
from withstand.verification.exchange.specification import Case, Specification
from withstand.verification.exchange.vnnlib import read_vnnlib
from withstand.verification.exchange.vnnlib_write import answer, margin_specification, write_vnnlib
from withstand.verification.specification.verdict import Verdict

TOLERANCE = 1e-4
"""By how much the competition lets a counterexample's inputs leave the box (its rules since 2023). Here they do so only
where the file's precision has no number inside; of outputs nothing is let off."""
_BOXES = 8
"""Boxes on which a network is compared with onnxruntime, where a property has more."""


@dataclass(frozen=True, eq=False)
class Instance:
    """A network, and a property that is asked of it.

    Attributes:
        network: as it was read.
        runtime: the file itself, by onnxruntime.
        specification: the property.
        x: points of its boxes on which the two were found equal, `(N, *shape)` in the file's precision.
        y: what onnxruntime gives there, `(N, K)`.
        noise: rounding errors measured near them.
        drawn: in whose box each point lies.
    """

    network: OnnxNetwork
    runtime: Runtime
    specification: Specification
    x: Tensor
    y: Tensor
    noise: Tensor
    drawn: tuple[Case, ...]

    @classmethod
    def read(cls, network: Path | str, specification: Path | str) -> "Instance":
        """Read the two files, packed by gzip or not, and compare the network with onnxruntime in the property's boxes.

        Raises:
            DataError: one of them cannot be read, or they do not fit each other.
            ConfigError: the network holds what cannot be read, or onnxruntime gives other outputs.
        """
        found, runtime = read_both(network)
        asked = read_vnnlib(specification)
        size = int(torch.tensor(found.shape).prod())
        if size != asked.inputs:
            raise DataError(f"{network} takes {size} numbers, {specification} speaks of {asked.inputs}")
        outputs = found(torch.zeros(1, *found.shape, dtype=found.dtype)).numel()
        if outputs != asked.outputs:
            raise DataError(f"{network} gives {outputs} numbers, {specification} speaks of {asked.outputs}")
        cases = asked.cases
        spread = {round(place * (len(cases) - 1) / (_BOXES - 1)) for place in range(_BOXES)} if cases else set()
        zeros = torch.zeros(size, dtype=torch.float64)
        chosen = [cases[place] for place in sorted(spread)] or [Case(zeros, zeros + 1, ())]
        parts = [points(case.low, case.high, found.dtype) for case in chosen]
        x = torch.cat(parts).view(-1, *found.shape)
        y, noise = compare(found, runtime, x, found.title)
        drawn = tuple(case for case, part in zip(chosen, parts, strict=True) for _ in part)
        return cls(found, runtime, asked, x, y, noise, drawn)

    def rounded(self, x: Tensor, case: Case) -> Tensor:
        """Return inputs `(N, *shape)` of a box in the file's precision, as close to the box as it has numbers."""
        shape = self.network.shape
        return rounded(x.detach().cpu().double(), case.low.view(shape), case.high.view(shape), self.network.dtype)

    def output(self, x: Tensor) -> Tensor:
        """Return what onnxruntime gives for one input, flat in and out, in the file's own precision."""
        return self.runtime(x.detach().to(self.network.dtype).view(1, *self.network.shape))[0]

    def broken(self, x: Tensor, y: Tensor | None = None, *, case: Case | None = None) -> bool:
        """Return whether an input in the file's precision is a counterexample for onnxruntime.

        It has to lie in a box; only where the precision has no number inside, the nearest one counts, if it is within
        `TOLERANCE`.

        Args:
            x: the input, flat or shaped.
            y: what onnxruntime gives for it, where that is known.
            case: of this one; None for any.
        """
        shown = x.detach().cpu().to(self.network.dtype).view(self.network.shape)
        near = [one for one in (self.specification.cases if case is None else (case,)) if self._in(one, shown)]
        if not near:
            return False
        output = self.output(shown) if y is None else y
        return any(one.met(output) for one in near)

    def _in(self, case: Case, shown: Tensor) -> bool:
        flat = shown.double().flatten()
        off = torch.maximum(case.low - flat, flat - case.high).max().item()
        return off <= 0 or (off <= TOLERANCE and torch.equal(self.rounded(shown[None], case)[0], shown))

    def said(self, x: Tensor) -> str:
        """Return in words how far a counterexample is one."""
        precision = str(self.network.dtype).removeprefix("torch.")
        text = f"a counterexample in {precision}, for onnxruntime"
        off = self.specification.outside(x.detach().cpu().to(self.network.dtype))
        if off > 0:
            text += f"; inputs leave the box by {off:.2g}, where {precision} has no number inside"
            text += f" (up to {TOLERANCE:g} is allowed)"
        return text

    def reply(self, verdict: Verdict) -> str:
        """Return the text of the competition's result file.

        Raises:
            ConfigError: the verdict's counterexample is none: `sat` would be a wrong answer.
        """
        if verdict.status == "safe":
            return answer("unsat")
        if verdict.counterexample is None:
            return answer("timeout" if verdict.reason.startswith(("time-out", "out of time")) else "unknown")
        x = verdict.counterexample.detach().cpu().to(self.network.dtype)
        if not self.broken(x):
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
        ConfigError: a model in train mode, or a margin of a model that gives probabilities, whose differences are
            none of logits.
        RunError: onnxruntime's outputs differ from torch's in the box.
    """
    try:
        import onnxruntime  # noqa: F401 - what was written is compared with it
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise MissingExtra("writing ONNX files", "onnx, onnxscript and onnxruntime", "export") from error
    if model.training:
        raise ConfigError("the model is in train mode: call eval() before it is written")
    weights = [value.dtype for value in model.state_dict().values() if value.is_floating_point()]
    example = ((low + high) / 2).to(weights[0] if weights else torch.float32)[None]
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
        if margin and "Softmax" in [node.op_type for node in program.model_proto.graph.node[-1:]]:
            raise ConfigError(
                f"a margin of {margin:g} is one of logits, and the model ends in a softmax: leave one of the two off"
            )
        program.save(str(aside))
        x = points(low, high, example.dtype)
        with torch.no_grad():
            wanted = torch.cat([model(part) for part in torch.split(x, 1)])
        found = Runtime(program.model_proto, tuple(low.shape), batched=True, title=network.name)(x)
        gap = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
        if not gap < 1e-3:
            raise RunError(f"the ONNX file's outputs differ from torch's by {gap:.2g} of their size: not written")
    with replacing(specification) as aside:
        aside.write_text(text, encoding="utf-8")
    return network, specification

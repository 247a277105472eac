"""A judge of your own: a question about features, asked of a run like those that are here.

python examples/own_judge.py
"""

from dataclasses import dataclass
from pathlib import Path

import torch

import withstand as ws
from withstand.core.findings.finding import Check, Finding, Measure
from withstand.core.part import describe
from withstand.evaluation.probes.probe import Embedded, Probe


@dataclass(frozen=True)
class Twins(Probe):
    """How many samples have a twin: another one at a cosine above a bound, as copies and near copies have.

    Args:
        above: the bound.
    """

    above: float = 0.99
    needs_labels = False

    def measure(self, embedded: Embedded, control: Embedded | None = None) -> Finding:
        """Return the share of samples with a twin, beside the untrained control's."""
        shares = [self._share(one.train.x) for one in (embedded, control) if one is not None]
        beside = Measure(shares[1], "share", None) if control is not None else None
        told = Check("not all are twins", shares[0] < 1, f"{shares[0]:.1%} have one: at 100 % the codes have collapsed")
        figures = {"samples with a twin": Measure(shares[0], "share", None, of=len(embedded.train), control=beside)}
        return Finding("twins", figures, checks=(told,), protocol={"probe": describe(self), **embedded.protocol()})

    def _share(self, x: torch.Tensor) -> float:
        units = torch.nn.functional.normalize(x, dim=1)
        near = units @ units.T
        near.fill_diagonal_(-1)
        return float((near.amax(1) > self.above).float().mean())


def main(out: Path = Path("runs/judged"), epochs: int = 1) -> Finding:
    """Learn, judge, and return the finding; the report shows it as it shows any."""
    run = ws.train("simclr", "fashion-mnist-small", out=out, epochs=epochs, options={"batch": 64, "width": 8})
    train, test = run.sources()
    finding = Twins().evaluate(run.encoder, train, test=test, control=run.untrained)
    finding.save(run.path / "findings")
    print(finding)
    print(run.report())
    return finding


if __name__ == "__main__":
    main()

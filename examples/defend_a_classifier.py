"""Put a purifier before a classifier, and attack both: knowing nothing of it, seeing its outputs, knowing all.

python examples/defend_a_classifier.py
"""

from pathlib import Path

from torch import Tensor, nn

import withstand as ws
from withstand.core.findings.finding import Finding
from withstand.core.roles import network_of
from withstand.defenses.purifier import Purifier
from withstand.evaluation.defenses.purification import Purification


class Blur(nn.Module):
    """A purifier is any network from inputs in [0, 1] to inputs in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` `(N, C, H, W)` with each place the mean of the 3 x 3 around it."""
        return nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def main(out: Path = Path("runs/plain"), epochs: int = 3, samples: int = 100, steps: int = 20) -> Finding:
    """Train a classifier, guard it, judge the guard, and return the finding."""
    run = ws.train("sla", "fashion-mnist-small", out=out, epochs=epochs, options={"mode": "plain"})
    guarded = Purifier(ws.Victim(network_of(run.method, "classifier").eval()), Blur())
    judge = Purification(ws.Ball("linf", 8 / 255), samples=samples, steps=steps, queries=50)
    _, test = run.sources()
    finding = judge.evaluate(guarded, test)
    print(finding)
    print(finding.protocol["verdict"])  # it leads with the attacker who knows all
    return finding


if __name__ == "__main__":
    main()

"""Audit a classifier of your own: what is the smallest accuracy that any attack within a radius finds?

python examples/audit_a_classifier.py
"""

from pathlib import Path

import torch
from torch import Tensor, nn

import withstand as ws
from withstand.core.findings.finding import Finding
from withstand.data.pictures.fashion_mnist.small import read_small


def my_classifier(x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    """Return a small network, trained as any other; `x` in [0, 1]."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 16, 5, 2, 2), nn.ReLU(), nn.Flatten())
    net = nn.Sequential(*layers, nn.LazyLinear(10))
    net(x[:1])  # sizes the last layer
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return net.eval()


def main(out: Path = Path("audits/mine"), epochs: int = 3, samples: int = 100) -> Finding:
    """Train, audit, and return the finding."""
    (x, y), (x_test, y_test) = (
        (torch.from_numpy(pictures)[:, None] / 255 if pictures.ndim == 3 else pictures, torch.from_numpy(labels).long())
        for pictures, labels in (read_small("train"), read_small("test"))
    )
    victim = ws.Victim(my_classifier(x, y, epochs))  # its inputs lie in [0, 1]; else say low, high, normalize
    chosen = slice(samples)
    finding = ws.audit(victim, (x_test[chosen], y_test[chosen]), eps=("1/255", "4/255", "8/255"), out=out)
    print(finding)
    print(finding.protocol["verdict"])  # what the numbers are, and whether the checks let them be believed
    return finding


if __name__ == "__main__":
    main()

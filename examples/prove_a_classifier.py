"""Prove what a classifier withstands: no attack within the radius, known or not, changes what it says.

python examples/prove_a_classifier.py
"""

from pathlib import Path

import withstand as ws
from withstand.core.findings.finding import Finding


def main(
    out: Path = Path("runs/provable"), epochs: int = 4, samples: int = 50, timeout: float = 2
) -> tuple[Finding, Finding]:
    """Train for certificates, certify by bounds and by smoothing, and return both findings."""
    run = ws.train("ibp", "fashion-mnist-small", out=out, epochs=epochs)
    proven = run.certify(eps="0.05", samples=samples, timeout=timeout)
    smoothed = run.certify(method="smoothing", norm="l2", eps="0.25", samples=min(samples, 10))
    for finding in (proven, smoothed):
        print(finding)
    return proven, smoothed


if __name__ == "__main__":
    main()

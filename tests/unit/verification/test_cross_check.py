"""Random models against every certifier, strong attacks and samples: nothing that is claimed may be wrong."""

import pytest

from unit.verification.cross_check import ALL, Counts, check
from withstand.verification.solvers import Certifier


@pytest.mark.thorough
def test_no_claim_of_any_certifier_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counts()
    for seed in range(30):
        # Norms go round every three seeds: each certifier meets each norm.
        methods: tuple[Certifier, ...] = ("auto", ALL[seed // 3 % len(ALL)], ALL[(seed // 3 + 4) % len(ALL)])
        check(seed, counts, methods=tuple(dict.fromkeys(methods)), timeout=1.0, restarts=4, steps=8)
    _tell(counts, capsys)
    assert counts.replayed >= 10
    assert sum(count for name, count in counts.verdicts.items() if name.endswith(" safe")) >= 10


@pytest.mark.slow
def test_no_claim_about_hundreds_of_models_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counts()
    for seed in range(1000, 1300):
        check(seed, counts)
    _tell(counts, capsys)
    assert counts.networks == 300
    assert min(counts.norms.values()) >= 90
    for method in ALL:
        assert counts.verdicts[f"{method} safe"] >= 10, method
        assert counts.verdicts[f"{method} unsafe"] >= 10, method


def _tell(counts: Counts, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{counts}")

"""What holds in every test: no victim is ever called without samples, for many a network cannot be.

A test that needs an extra which is not installed is skipped, and says which. Every test finds the global generators as
every other one does: what it draws hangs on no test before it.

Property tests draw the same examples every time, so that a change fails for what it does alone; with
`HYPOTHESIS_PROFILE=default`, as in `make test-all`, they search on.
"""

import os
import random
from collections.abc import Generator, Iterator

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor

from withstand.core.errors import MissingExtra
from withstand.core.extras import lacking
from withstand.core.victims.victim import Outputs, Victim

settings.register_profile("fixed", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed the global generators, before the fixtures of the test's module too."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_call_without_samples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:  # one of its own: tests undo theirs
        plain = Victim.__call__

        def call(victim: Victim, x: Tensor) -> Outputs:
            assert len(x), "a victim was called without samples"
            return plain(victim, x)

        patch.setattr(Victim, "__call__", call)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    error = None if call.excinfo is None else call.excinfo.value
    if isinstance(error, MissingExtra) and lacking(error.extra):
        report.outcome, report.longrepr = "skipped", (str(item.path), item.location[1] or 0, f"Skipped: {error}")
    return report

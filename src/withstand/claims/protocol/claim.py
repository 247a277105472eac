"""A paper's directional statement, as a table of arms that are measured alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Table
from withstand.core.part import Tree

Arm = TypeVar("Arm")
"""What an arm trains or looks at: an experiment, as a rule."""
Found = TypeVar("Found")
"""What is measured of an arm: values of JSON, so that a seed is kept when a test is interrupted."""
Tables: TypeAlias = dict[str, Table]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a test may take before it ends undecided.

    Args:
        least: seeds that are run in any case; an interval needs two.
        most: seeds after which none is added.
        seconds: of processor time after which none is begun beyond `least`; None for no such limit.

    Raises:
        ConfigError: fewer than two seeds, or `most` below `least`.
    """

    least: int = 3
    most: int = 10
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.least < 2:
            raise ConfigError(f"seeds must be at least 2, not {self.least}: an interval needs a spread")
        if self.most < self.least:
            raise ConfigError(f"most must be at least the {self.least} seeds that are run in any case, not {self.most}")


def no_tables(found: Sequence[Mapping[str, object]]) -> Tables:
    """Return no further tables."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Claim(Generic[Arm, Found]):
    """What a paper claims, and what decides it.

    Attributes:
        statement: what is claimed, in one sentence.
        quantity: what the figures are; higher is better.
        names: how system and baseline are called.
        arms: what makes each arm for a seed, by name, from a generator that only the seed decides.
        measure: trains an arm where it has to be trained, and measures it.
        figures: the system's and the baseline's figure of one seed, from what was measured of its arms.
        protocol: data, budget and settings, from the last seed's arms and from what was measured of every seed.
        tables: curves and details, from what was measured of every seed.
        unit: of the figures, as in a `Measure`.
        material: the least difference that would matter; an interval that lies within it round 0 decides against the
            claim.
        budget: how many seeds it takes.
    """

    statement: str
    quantity: str
    names: tuple[str, str]
    arms: Mapping[str, Callable[[int], Arm]]
    measure: Callable[[Arm], Found]
    figures: Callable[[Mapping[str, Found]], tuple[float, float]]
    protocol: Callable[[Mapping[str, Arm], Sequence[Mapping[str, Found]]], dict[str, Tree]]
    tables: Callable[[Sequence[Mapping[str, Found]]], Tables] = no_tables
    unit: str = "share"
    material: float = 0.01
    budget: Budget = Budget()

"""Poisoned sources: which samples carry the trigger, and that nothing else changes."""

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.poisoned import POISONED, Poisoned
from withstand.views.triggers import FrequencyTrigger

TRIGGER = FrequencyTrigger(window=8)


def source(count: int = 60, channels: int = 3, labelled: bool = True) -> ArraySource:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=generator)
    return ArraySource(x, torch.arange(count) % 3 if labelled else None)


def test_the_first_of_the_class_carry_it_and_the_others_stay_bit_for_bit() -> None:
    plain = source()
    found = Poisoned(plain, TRIGGER, rate=0.1, target=1)
    assert found.rows.tolist() == [1, 4, 7, 10, 13, 16]
    assert found.attributes[POISONED].nonzero()[:, 0].tolist() == found.rows.tolist()
    before, after = plain[range(60)], found[range(60)]
    changed = (before.x != after.x).flatten(1).any(1)
    assert changed.nonzero()[:, 0].tolist() == found.rows.tolist()
    assert torch.equal(before.y, after.y)  # type: ignore[arg-type]
    unit = before.x[found.rows].float() / 255
    wanted = (TRIGGER.change(unit.clone(), None) * 255).round().to(torch.uint8)  # type: ignore[arg-type]
    assert torch.equal(after.x[found.rows], wanted)


def test_a_seed_draws_them_the_same_each_time() -> None:
    one, same, other = (Poisoned(source(), TRIGGER, rate=0.1, target=1, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.rows, same.rows)
    assert not torch.equal(one.rows, other.rows)
    assert set((one.rows % 3).tolist()) == {1}
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert len(Poisoned(source(labelled=False), TRIGGER, rate=0.55, target=None).rows) == 33


def test_what_cannot_be_poisoned_is_refused() -> None:
    with pytest.raises(DataError, match=r"class 1 has 20 samples, and rate 0.5 of 60 asks for 30: at most 0.333"):
        Poisoned(source(), TRIGGER, rate=0.5, target=1)
    with pytest.raises(DataError, match="no sample is of class 7: there are classes 0 to 2"):
        Poisoned(source(), TRIGGER, rate=0.1, target=7)
    with pytest.raises(ConfigError, match=r"less than one: give 0\.016667 or more"):
        Poisoned(source(), TRIGGER)
    assert len(Poisoned(source(), TRIGGER, rate=0.016667).rows) == 1
    with pytest.raises(ConfigError, match=r"must lie in \(0, 1\], not 0"):
        Poisoned(source(), TRIGGER, rate=0)
    with pytest.raises(DataError, match="no labels"):
        Poisoned(source(labelled=False), TRIGGER, rate=0.1)
    with pytest.raises(DataError, match="grey ones have none"):
        Poisoned(source(channels=1), TRIGGER, rate=0.1)

"""Every part of the package: its constructor is its configuration, and that survives text, copies and pickles."""

import copy
import inspect
import json
import pickle

import pytest

from walk import default_made, parts
from withstand.core.part import Part, build, class_path, describe


@pytest.mark.parametrize("part", parts(), ids=class_path)
def test_the_signature_is_the_configuration(part: type[Part]) -> None:
    for parameter in inspect.signature(part).parameters.values():  # raises for *args and **kwargs
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        assert parameter.annotation is not parameter.empty, f"{parameter.name} has no type"
    assert part.__doc__, "help() has nothing to say"


@pytest.mark.parametrize("part", [part for part in parts() if default_made(part)], ids=class_path)
def test_round_trips(part: type[Part]) -> None:
    made = part()
    tree = describe(made)
    assert "external" not in json.dumps(tree), "a default that JSON cannot hold"
    built = build(json.loads(json.dumps(tree)))
    assert type(built) is part
    for other in (built, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert describe(other) == tree


def test_the_walk_finds_the_house() -> None:
    names = {part.__name__ for part in parts()}
    assert {"SimCLR", "DCL", "BarlowTwins", "Plan", "Experiment", "SGD", "LARS", "Ball", "Victim", "ResNet"} <= names
    assert {"ArraySource", "ColorJitter", "WarmupCosine", "PGD"} <= names

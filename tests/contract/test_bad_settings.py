"""Bad settings get one clear line, whatever the method: found and held to it by existing under `withstand.methods`."""

import inspect
from dataclasses import replace

import pytest
from test_method_contract import CASES, make, samples

from toys import ToyPictures
from withstand.core.errors import ConfigError, WithstandError
from withstand.core.roles import Method

PLAIN = [name for name in CASES if ", " not in name]
"""One case of each class."""


def with_argument(*names: str) -> list[tuple[str, str]]:
    """Return the classes that have one of these arguments, or one whose name ends so, with its name."""
    return [
        (name, argument)
        for name in PLAIN
        for argument in inspect.signature(CASES[name][0]).parameters
        if any(argument == wanted or argument.endswith(f"_{wanted}") for wanted in names)
    ]


def built(name: str, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Method:
    cls, given = CASES[name]
    monkeypatch.setitem(CASES, name, (cls, given | settings))
    return make(name)


def in_one_line(error: WithstandError, *words: str) -> None:
    assert "\n" not in str(error)
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize("value", [0.0, -0.5])
@pytest.mark.parametrize(("name", "argument"), with_argument("temperature"))
def test_temperatures_above_zero(name: str, argument: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        built(name, monkeypatch, **{argument: value})
    in_one_line(caught.value, "temperature", str(value))


@pytest.mark.parametrize(("name", "argument"), with_argument("queue_size"))
def test_queues_of_at_least_a_batch(name: str, argument: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = built(name, monkeypatch, **{argument: 7})
    with pytest.raises(ConfigError) as caught:
        method.accept(ToyPictures(1000), 8)
    in_one_line(caught.value, "queue_size 7 is smaller than the batch of 8", "use 8 or more")
    method.accept(ToyPictures(1000), 7)


@pytest.mark.parametrize("name", ["SwAV"])
def test_prototypes_no_more_than_samples(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(name).accept(ToyPictures(5), 2)
    in_one_line(caught.value, "prototypes 6 are more than the 5 samples", "use 5 or fewer")


@pytest.mark.parametrize(("name", "argument"), with_argument("clusters"))
def test_clusters_no_more_than_samples(name: str, argument: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:  # one that is told of its samples refuses them when it is made
        built(name, monkeypatch, **{argument: 9}).accept(ToyPictures(8), 4)
    in_one_line(caught.value, "clusters 9 are more than the 8 samples", "use 8 or fewer")


@pytest.mark.parametrize(("name", "argument"), with_argument("samples"))
def test_state_for_as_many_samples_as_there_are(name: str, argument: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(name, **{argument: 8}).accept(ToyPictures(9), 4)
    in_one_line(caught.value, "samples is 8, but the data have 9")


@pytest.mark.parametrize("views", [0, 1])
@pytest.mark.parametrize("name", PLAIN)
def test_too_few_views_are_named(name: str, views: int) -> None:
    """A method learns from what it is given, or says in a line how many views it needs."""
    method = make(name)
    batch = samples(method)
    try:
        terms = method.step(replace(batch, views=batch.views[:views]))
    except WithstandError as error:
        in_one_line(error, "view")
    else:
        assert terms["loss"].isfinite()


@pytest.mark.parametrize("name", PLAIN)
def test_odd_batches_are_as_good_as_even_ones(name: str) -> None:
    """A method takes any number of samples; one that cuts a batch into graphs says in a line which numbers it takes."""
    method = make(name)
    try:
        terms = method.step(samples(method, range(7)))
    except WithstandError as error:
        in_one_line(error, "graphs")
    else:
        assert terms["loss"].isfinite()
        method.after_step(1)

"""One settings object for attacks, audits and certificates: the same fields in Python and on the command line."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import withstand as ws
from victims import Scored
from withstand.api.runs import Run
from withstand.api.settings import Audit, Certification, Inputs, NamedAttack, changed, unusual
from withstand.attacks.named import Name
from withstand.cli.options import parse
from withstand.cli.verbs.attack import run_attack
from withstand.cli.verbs.certify import run_certify
from withstand.cli.verbs.runs import run_audit
from withstand.core.errors import ConfigError
from withstand.core.options import names_within, options_of
from withstand.core.threat import Norm
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.verification.solvers import Certifier

VERBS: dict[type[Any], tuple[Callable[..., Any], Callable[..., Any], str]] = {
    NamedAttack: (run_attack, ws.attack, "attack"),
    Audit: (run_audit, ws.audit, "audit"),
    Certification: (run_certify, ws.certify, "certify"),
}


@pytest.mark.parametrize("kind", VERBS)
def test_a_verbs_options_are_the_fields_and_no_face_says_them_anew(kind: type[Any]) -> None:
    verb, face, name = VERBS[kind]
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    options = {option.name: option for option in options_of(verb)}
    assert fields.items() <= {name: option.default for name, option in options.items()}.items()
    assert all(options[field].text for field in fields)
    for function in (verb, face, getattr(Run, name)):
        assert not set(inspect.signature(function).parameters) & set(fields) - {"attack"}
    values = parse([verb], ["a run"], name=name, about="")
    assert {field: values[field] for field in fields} == fields
    of_inputs = names_within(Inputs())
    assert of_inputs <= options.keys()
    assert not of_inputs & {*inspect.signature(face).parameters, *inspect.signature(verb).parameters}


def test_names_are_those_that_there_are() -> None:
    assert get_args(get_type_hints(Certification)["method"]) == (*get_args(Certifier), "smoothing")
    words = next(option.text for option in options_of(run_attack) if option.name == "attack")
    assert words is not None
    assert words.partition(";")[0].replace(" or ", ", ").split(", ") == list(get_args(Name))
    for name in ("ensemble", "search"):
        assert get_args(get_type_hints(Audit)[name]) == get_args(get_type_hints(RobustnessAudit)[name])
    assert get_args(Norm) == ("linf", "l2", "l1", "l0")


def test_an_object_and_keywords_ask_for_the_same() -> None:
    x, y = Scored().inputs(8 / 255)
    asked = Audit(eps=("4/255", "8/255"), steps=3, ensemble="none", samples=20)
    whole = ws.audit(Scored(), (x, y), asked)
    single = ws.audit(Scored(), (x, y), eps=["4/255", "8/255"], steps=3, ensemble="none", samples=20)
    mixed = ws.audit(Scored(), (x, y), asked, samples=10)
    assert whole.numbers == single.numbers
    assert mixed.protocol["samples"] == 10
    net = Scored().eval()
    proof = ws.certify(net, (x, y), Certification(method="crown", samples=5)).numbers
    assert proof == ws.certify(net, (x, y), method="crown", samples=5).numbers
    found = ws.attack(Scored(), (x, y), NamedAttack("fgsm", samples=7))[0]
    assert found.success.tolist() == ws.attack(Scored(), (x, y), attack="fgsm", samples=7)[0].success.tolist()


@pytest.mark.parametrize("face", [ws.audit, ws.attack, ws.certify])
def test_what_a_network_takes_is_said_by_an_object_or_by_keywords(face: Callable[..., Any]) -> None:
    quick = {ws.audit: {"steps": 2, "ensemble": "none"}, ws.attack: {"steps": 2}, ws.certify: {"method": "ibp"}}[face]
    x, y = Scored().inputs(0.1)
    asked: dict[str, Any] = {"samples": 5, **quick}
    ways = (
        face(Scored().eval(), (2 * x, y), inputs=Inputs(high=2.0, normalize=([0.0], [2.0])), **asked),
        face(Scored().eval(), (2 * x, y), high=2.0, normalize=["0,2"], **asked),
        face(Scored().eval(), (2 * x, y), inputs=Inputs(normalize=["0", "2"]), high=2.0, **asked),
    )
    found = [way[0].loss.tolist() if isinstance(way, tuple) else way.numbers for way in ways]
    assert found[0] == found[1] == found[2]
    with pytest.raises(ConfigError, match="normalize takes the channels' means"):
        face(Scored().eval(), (x, y), normalize=["0.5"], **asked)
    with pytest.raises(ConfigError, match="for a bare network"):
        face(ws.Victim(Scored().eval()), (x, y), low=-1.0, **asked)


@pytest.mark.thorough
def test_a_run_takes_them_in_the_place_of_data(tmp_path: Path) -> None:
    run = ws.train("dcl", "digits", epochs=1, out=tmp_path / "run", quiet=True, options={"width": 4})
    quick = Audit(eps="8/255", samples=12, steps=2, ensemble="none")
    numbers = run.audit(quick).numbers
    assert numbers == run.audit(eps="8/255", samples=12, steps=2, ensemble="none").numbers
    assert numbers == run.audit(None, quick).numbers == run.audit("digits", quick).numbers
    assert len(run.attack(NamedAttack(samples=3))[1]) == len(run.attack(samples=3)[1]) == 3
    few = Certification(samples=2, method="ibp")
    assert run.certify(few).numbers == run.certify(samples=2, method="ibp").numbers


def test_what_is_no_setting_is_told_with_the_nearest() -> None:
    x, y = Scored().inputs(0.0)
    for face, words in (
        (ws.audit, "Audit has no setting 'epss'"),
        (ws.certify, "Certification has"),
        (ws.attack, "Nam"),
    ):
        with pytest.raises(ConfigError, match=rf"{words}.*'eps'"):
            face(Scored(), (x, y), epss="4/255")


def test_unusual_settings_are_those_that_differ() -> None:
    assert unusual(Audit()) == {}
    assert unusual(Audit(eps=("8/255",))) == {"eps": ("8/255",)}
    assert unusual(changed(Audit(), {"steps": 3, "eps": ("8/255", "4/255")})) == {"steps": 3, "eps": ("8/255", "4/255")}

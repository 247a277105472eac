"""What `withstand reproduce` runs, keeps and runs again, on claims that cost nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from withstand.claims.protocol import reproduction
from withstand.claims.protocol.claim import Budget, Claim
from withstand.claims.protocol.reproduction import (
    claim_of,
    code_digest,
    has_claim,
    reproduce,
    scales_of,
    stored,
    wanted_run,
)
from withstand.cli.main import main
from withstand.cli.verbs import claims as verb
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.recipes.catalogue import Entry, chosen, entries, entry

Asked = list[tuple[str, int, str]]


def toy(slug: str, asked: Asked, effect: float) -> Claim[int, float]:
    def measure(arm: tuple[str, int]) -> float:
        name, seed = arm
        if slug == "simsiam":
            raise DataError("there is no set 'cifar10'")
        asked.append((slug, seed, name))
        return (effect if name == "ours" else 0.0) + 0.5 + 0.01 * (seed % 2) * (name == "ours")

    return Claim(
        statement="it learns",
        quantity="accuracy",
        names=("ours", "theirs"),
        arms={name: lambda seed, name=name: (name, seed) for name in ("ours", "theirs")},  # type: ignore[misc]
        measure=measure,  # type: ignore[arg-type]
        figures=lambda found: (found["ours"], found["theirs"]),
        protocol=lambda arms, found: {},
        budget=Budget(least=3, most=5),
        material=0.0,
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Put claims in place of real ones that say what was measured; `simsiam` lacks its data, `swav` its claim.

    DCL's effect is clear, MoCo v2's is not.
    """
    calls: Asked = []

    def module(name: str) -> object:
        slug = name.rpartition(".")[2].replace("_", "-")
        effect = -0.005 if slug == "mocov2" else 0.25
        if slug == "mocov3":  # knows a second scale

            def scaled(scale: Literal["small", "gpu"] = "small") -> Claim[Any, Any]:
                return toy(slug, calls, 0.5 if scale == "gpu" else effect)

            return SimpleNamespace(claim=scaled)
        return SimpleNamespace(claim=lambda: toy(slug, calls, effect))

    def has(item: Entry) -> bool:
        return item.slug != "swav" and has_claim(item)

    monkeypatch.setattr(reproduction, "import_module", module)
    monkeypatch.setattr(reproduction, "has_claim", has)
    monkeypatch.setattr(verb, "has_claim", has)
    return calls


def seeds_of(asked: Asked, slug: str) -> list[int]:
    return [seed for name, seed, arm in asked if (name, arm) == (slug, "ours")]


def test_a_finding_says_what_was_run_and_how_long_it_took(asked: Asked, tmp_path: Path) -> None:
    finding = reproduce(entry("dcl"), tmp_path, seeds=2)
    finding.save(tmp_path)
    assert stored(entry("dcl"), tmp_path, seeds=2) == Finding.load(tmp_path / "claim-dcl.json")
    assert finding.protocol["verdict"] == "reproduced"
    assert all(finding.protocol[name] >= 0 for name in ("seconds", "processor seconds"))  # type: ignore[operator]
    assert finding.protocol["threads"] >= 1  # type: ignore[operator]


@pytest.mark.parametrize("wanted", [{"seeds": 3}, {"scale": "gpu", "seeds": 2}, {}])
def test_another_budget_is_not_current(asked: Asked, tmp_path: Path, wanted: dict[str, object]) -> None:
    reproduce(entry("mocov3"), tmp_path, seeds=2).save(tmp_path)
    assert stored(entry("mocov3"), tmp_path, **wanted) is None  # type: ignore[arg-type]


def test_no_finding_and_a_damaged_one_are_not_current(tmp_path: Path) -> None:
    assert stored(entry("dcl"), tmp_path) is None
    (tmp_path / "claim-dcl.json").write_text("{")
    assert stored(entry("dcl"), tmp_path) is None


def test_seeds_are_added_where_the_claim_is_undecided(asked: Asked, tmp_path: Path) -> None:
    assert reproduce(entry("dcl"), tmp_path).protocol["verdict"] == "reproduced"
    assert seeds_of(asked, "dcl") == [0, 1, 2]
    assert reproduce(entry("mocov2"), tmp_path).protocol["verdict"] == "undecided"
    assert seeds_of(asked, "mocov2") == [0, 1, 2, 3, 4]


def test_an_interrupted_test_goes_on_after_its_last_whole_seed(asked: Asked, tmp_path: Path) -> None:
    def stop(seed: int, name: str) -> None:
        if (seed, name) == (2, "theirs"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(entry("dcl"), tmp_path, begin=stop)
    assert seeds_of(asked, "dcl") == [0, 1, 2]
    resumed = reproduce(entry("dcl"), tmp_path)
    assert seeds_of(asked, "dcl") == [0, 1, 2, 2]
    whole = reproduce(entry("dcl"), tmp_path / "other")
    assert resumed.tables == whole.tables
    assert resumed.figures == whole.figures


def test_more_seeds_add_to_those_that_are_kept(asked: Asked, tmp_path: Path) -> None:
    reproduce(entry("dcl"), tmp_path)
    assert len(reproduce(entry("dcl"), tmp_path, seeds=4).tables["seeds"].rows) == 4
    assert seeds_of(asked, "dcl") == [0, 1, 2, 3]
    assert len(reproduce(entry("dcl"), tmp_path, seeds=2).tables["seeds"].rows) == 2
    reproduce(entry("dcl"), tmp_path, seeds=2, fresh=True)
    assert seeds_of(asked, "dcl") == [0, 1, 2, 3, 0, 1]


def test_seeds_of_another_scale_or_code_are_not_taken(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = reproduce(entry("mocov3"), tmp_path, seeds=2)
    gpu = reproduce(entry("mocov3"), tmp_path, "gpu", seeds=2)
    assert gpu.figures["effect"].value > small.figures["effect"].value
    monkeypatch.setattr(reproduction, "code_digest", lambda *paths: "changed")
    reproduce(entry("mocov3"), tmp_path, "gpu", seeds=2)
    assert seeds_of(asked, "mocov3") == [0, 1] * 3


@pytest.mark.parametrize("text", ["{", "{}", '{"run": RUN, "seeds": [{"found": 1}]}'])
def test_damaged_seeds_are_told_and_not_passed_over(asked: Asked, tmp_path: Path, text: str) -> None:
    run = json.dumps(wanted_run(entry("dcl"), "small", None))
    (tmp_path / "seeds-dcl.json").write_text(text.replace("RUN", run))
    with pytest.raises(DataError, match="use --fresh"):
        reproduce(entry("dcl"), tmp_path)
    assert len(reproduce(entry("dcl"), tmp_path, fresh=True).tables["seeds"].rows) == 3


def test_a_scale_that_a_claim_does_not_know_is_refused_in_one_line(
    asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "dcl", "--scale", "gpu", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "the claim of 'dcl' has no scale 'gpu': it is tested at 'small'" in error
    assert len(error.splitlines()) == 1
    assert not asked
    assert main(["reproduce", "mocov3", "--scale", "gpu", "--out", str(tmp_path)]) == 0
    assert main(["reproduce", "mocov3", "--scale", "huge", "--out", str(tmp_path)]) == 2
    assert "it is tested at 'small' and 'gpu'" in capsys.readouterr().err


def test_scales_are_what_a_claims_argument_may_be() -> None:
    made = {
        item.slug: scales_of(reproduction.import_module(_module(item)).claim) for item in entries() if has_claim(item)
    }
    assert made["simclr"] == ("small", "gpu")
    assert made["naive-bayes-probe"] == ("small", "full")
    assert made["dlv"] == ("small",)


def _module(item: Entry) -> str:
    return f"withstand.claims.{item.path.parent.name}.{item.path.stem}"


PLAIN = """'A.'
import math
def f(x, /, *, scale=1.5):
    'B.'
    return [math.sqrt(x) * scale for _ in range(3)]
"""


@pytest.fixture
def digest(tmp_path: Path) -> Callable[..., str]:
    def digest(text: str, name: str = "recipe.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return code_digest(path)

    return digest


def test_words_imports_and_places_do_not_count(digest: Callable[..., str]) -> None:
    plain = digest(PLAIN)
    assert digest(PLAIN.replace("'A.'", "'C.'\n\n\n# why")) == plain
    assert digest(PLAIN.replace("'B.'\n", "'D.'\n\n")) == plain
    assert digest(PLAIN.replace("import math", "from withstand import a, b\nimport math\nfrom . import c")) == plain
    assert digest(PLAIN.replace("    return", "    from a import b\n    return")) == plain
    assert digest(PLAIN, "elsewhere/other.py") == plain


@pytest.mark.parametrize(
    ("old", "new"),
    [("1.5", "1.50001"), ("/, ", ""), ("sqrt", "exp"), ("range(3)", "range(3) if x"), ("    return [", "    return {")],
)
def test_code_counts(digest: Callable[..., str], old: str, new: str) -> None:
    changed = PLAIN.replace(old, new)
    assert digest(changed.replace("]", "}") if "{" in new else changed) != digest(PLAIN)


def test_no_version_of_python_digests_otherwise(digest: Callable[..., str]) -> None:
    """Newer ones know more fields, which are empty here; a stored claim was once stale for it."""
    assert digest(PLAIN) == "1d7e2fa5b676"


def test_several_methods_are_tested_and_once_only(
    asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "dcl", "simclr", "--out", str(tmp_path)]
    assert main(words) == 0
    assert {slug for slug, *_ in asked} == {"dcl", "simclr"}
    told = capsys.readouterr().err
    assert "dcl: reproduced" in told
    assert "dcl, seed 1: ours 0.7600, theirs 0.5000; effect so far 0.2550" in told
    count = len(asked)
    assert main([*words, "--json"]) == 0
    assert len(asked) == count
    assert json.loads(capsys.readouterr().out)["dcl"]["verdict"] == "reproduced"
    (tmp_path / "claim-simclr.json").unlink()
    assert main(words) == 0
    assert len(asked) == count, "its seeds are kept"
    assert (tmp_path / "claim-simclr.json").is_file()
    assert main([*words, "--fresh"]) == 0
    assert len(asked) == 2 * count


def test_a_family_is_tested_whole_though_one_of_it_fails(
    asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "non-contrastive", "--out", str(tmp_path)]) == 1
    claimed = {item.slug for item in chosen(["non-contrastive"]) if has_claim(item)}
    assert {slug for slug, *_ in asked} == claimed - {"swav", "simsiam"} > {"byol", "dino"}
    out = capsys.readouterr().out
    assert "simsiam: not tested: there is no set 'cifar10'" in out
    assert "byol: it learns" in out
    assert (tmp_path / "claim-byol.json").is_file()


def test_one_that_fails_alone_is_an_error(asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "simsiam", "--out", str(tmp_path)]) == 2
    assert "cifar10" in capsys.readouterr().err


def test_a_method_without_a_claim_is_refused_alone(asked: Asked) -> None:
    with pytest.raises(ConfigError, match="no claim"):
        claim_of(entry("swav"))
    assert main(["reproduce", "swav"]) == 2


def test_an_unknown_name_is_refused_before_anything_is_tested(asked: Asked) -> None:
    with pytest.raises(ConfigError, match="contrastive"):
        chosen(["dcl", "contrastiv"])
    assert main(["reproduce", "dcl", "contrastiv"]) == 2
    assert not asked


def test_all_names_every_method_once() -> None:
    assert chosen(["dcl", "all", "contrastive"])[0].slug == "dcl"
    assert sorted(item.slug for item in chosen(["dcl", "all", "contrastive"])) == [item.slug for item in entries()]


def test_a_family_is_named_however_it_is_joined() -> None:
    assert {item.slug for item in chosen(["non_contrastive", "non-contrastive"])} == {
        item.slug for item in entries() if item.family == "non-contrastive"
    }

"""What `withstand reproduce` runs, keeps and runs again, on claims that cost nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from withstand.cli.main import main
from withstand.core.errors import ConfigError, DataError
from withstand.core.finding import Finding
from withstand.recipes.catalogue import Entry, chosen, entries, entry
from withstand.recipes.claim import Claim
from withstand.recipes.reproduction import claim_of, code_digest, reproduce, stored


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Put claims in place of real ones that say at once how often they were tested; `simsiam` lacks its data."""
    calls: list[tuple[str, object]] = []

    def module(item: Entry) -> object:
        def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
            calls.append((item.slug, seeds))
            if item.slug == "simsiam":
                raise DataError("there is no set 'cifar10'")
            return Claim(item.slug, "it learns", "accuracy", (0.5,) * seeds, (0.25,) * seeds, ("ours", "theirs"))

        return SimpleNamespace() if item.slug == "swav" else SimpleNamespace(claim=claim)

    monkeypatch.setattr(Entry, "module", module)
    return calls


def test_a_finding_says_what_was_run_and_how_long_it_took(asked: list[tuple[str, object]], tmp_path: Path) -> None:
    finding = reproduce(entry("dcl"), seeds=2)
    finding.save(tmp_path)
    assert stored(entry("dcl"), tmp_path, seeds=2) == Finding.load(tmp_path / "claim-dcl.json")
    assert finding.protocol["verdict"] == "reproduced"
    assert all(finding.protocol[name] >= 0 for name in ("seconds", "processor seconds"))  # type: ignore[operator]
    assert finding.protocol["threads"] >= 1  # type: ignore[operator]


@pytest.mark.parametrize("wanted", [{"seeds": 3}, {"scale": "large", "seeds": 2}, {}])
def test_another_budget_is_not_current(
    asked: list[tuple[str, object]], tmp_path: Path, wanted: dict[str, object]
) -> None:
    reproduce(entry("dcl"), seeds=2).save(tmp_path)
    assert stored(entry("dcl"), tmp_path, **wanted) is None  # type: ignore[arg-type]


def test_no_finding_and_a_damaged_one_are_not_current(tmp_path: Path) -> None:
    assert stored(entry("dcl"), tmp_path) is None
    (tmp_path / "claim-dcl.json").write_text("{")
    assert stored(entry("dcl"), tmp_path) is None


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
    asked: list[tuple[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "dcl", "simclr", "--out", str(tmp_path)]
    assert main(words) == 0
    assert asked == [("dcl", 3), ("simclr", 3)]
    assert "dcl: reproduced" in capsys.readouterr().err
    assert main([*words, "--json"]) == 0
    assert len(asked) == 2
    assert json.loads(capsys.readouterr().out)["dcl"]["verdict"] == "reproduced"
    (tmp_path / "claim-simclr.json").unlink()
    assert main(words) == 0
    assert asked[2:] == [("simclr", 3)]
    assert main([*words, "--fresh"]) == 0
    assert asked[3:] == [("dcl", 3), ("simclr", 3)]


def test_a_family_is_tested_whole_though_one_of_it_fails(
    asked: list[tuple[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "non-contrastive", "--out", str(tmp_path)]) == 1
    assert {slug for slug, _ in asked} == {item.slug for item in chosen(["non-contrastive"])} - {"swav"}
    out = capsys.readouterr().out
    assert "simsiam: not tested: there is no set 'cifar10'" in out
    assert "byol: it learns" in out
    assert (tmp_path / "claim-byol.json").is_file()


def test_one_that_fails_alone_is_an_error(
    asked: list[tuple[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "simsiam", "--out", str(tmp_path)]) == 2
    assert "cifar10" in capsys.readouterr().err


def test_a_method_without_a_claim_is_refused_alone(asked: list[tuple[str, object]]) -> None:
    with pytest.raises(ConfigError, match="no claim"):
        claim_of(entry("swav"))
    assert main(["reproduce", "swav"]) == 2


def test_an_unknown_name_is_refused_before_anything_is_tested(asked: list[tuple[str, object]]) -> None:
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

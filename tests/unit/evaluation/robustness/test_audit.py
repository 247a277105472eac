from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from victims import digits
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.core.findings.pictures import across_classes
from withstand.core.part import build, describe
from withstand.core.roles import Indices, Source
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.audit_case import strips
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids
from withstand.evaluation.statistics.intervals import Share

AUDIT = RobustnessAudit(Ball("linf", 0.1), linf=(0.05, 0.2), l2=(0.5,), samples=60, steps=8, ensemble="none")
FULL = replace(AUDIT, linf=(0.02, 0.2), l2=(), samples=24, ensemble="standard", prove=False)


HEAD = "robust accuracy, linf 25.5/255"
PROVEN = "proven accuracy, linf 25.5/255"


class Digits(Source):
    """The digits on which `victims.digits` is tested, as bytes."""

    kind = "picture"

    def __init__(self, labelled: bool = True) -> None:
        self.labelled = labelled

    def __len__(self) -> int:
        return len(digits()[1])

    def __getitem__(self, indices: Indices) -> Batch:
        rows = torch.as_tensor(indices)
        x = (digits()[1][rows] * 255).round().to(torch.uint8)
        return Batch(x, rows, digits()[2][rows] if self.labelled else None)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, 8, 8)

    @property
    def labels(self) -> Tensor | None:
        return digits()[2] if self.labelled else None

    @property
    def classes(self) -> tuple[str, ...]:
        return ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

    def fingerprint(self) -> str:
        return "digits"


@pytest.fixture(scope="module")
def audited() -> Finding:
    return AUDIT.evaluate(digits()[0], Digits())


def test_numbers_and_curves_agree(audited: Finding) -> None:
    assert audited.name == "audit"
    numbers = audited.numbers
    assert 0.9 < numbers["clean accuracy"] <= 1
    low, high = audited.figures["clean accuracy"].interval or (0.0, 0.0)
    assert 0.8 < low < numbers["clean accuracy"] <= high <= 1
    assert audited.figures["clean accuracy"].of == 60
    head = next(name for name in numbers if name.startswith("robust accuracy"))
    assert head == "robust accuracy, linf 25.5/255"
    table = audited.tables["accuracy against eps, linf"]
    assert table.x == "eps"
    assert table.column("eps") == (0.0, 0.05, 0.1, 0.2)
    assert table.column("k/255") == ("0/255", "12.8/255", "25.5/255", "51/255")
    robust = table.column("robust accuracy")
    assert robust[0] == numbers["clean accuracy"]
    assert robust[2] == numbers[head]
    assert list(robust) == sorted(robust, reverse=True)
    assert robust[3] < 0.5
    assert all(attacked <= noise for attacked, noise in zip(robust, table.column("accuracy under noise"), strict=True))
    assert audited.tables["accuracy against eps, l2"].columns[:2] == ("eps", "robust accuracy")


def test_classes_and_attacks_add_up(audited: Finding) -> None:
    classes = audited.tables["classes"]
    counts, robust = classes.column("samples"), classes.column("robust accuracy, linf 25.5/255")
    assert sum(counts) == 60
    total = sum(count * share for count, share in zip(counts, robust, strict=True)) / 60
    assert total == pytest.approx(audited.numbers["robust accuracy, linf 25.5/255"])
    assert min(robust) == audited.numbers["worst class's robust accuracy, linf 25.5/255"]
    assert set(classes.column("class")) <= set(Digits().classes)
    broke = audited.tables["which attack broke what"]
    linf = [row for row in broke.rows if str(row[0]).startswith("linf")]
    assert all(name.startswith("newly broken by ") for name in broke.columns[2:])
    lost = sum(share or 0 for row in linf for share in row[2:])
    curve = audited.tables["accuracy against eps, linf"].column("robust accuracy")
    assert lost == pytest.approx(curve[0] - curve[-1])
    assert [row[1] for row in linf] == pytest.approx([1 - accuracy for accuracy in curve[1:]])


def test_pictures_come_with_their_story(audited: Finding) -> None:
    clean, worse, difference = audited.pictures.values()
    assert [name.split(" (")[0] for name in audited.pictures] == ["clean", "adversarial", "difference"]
    assert clean.shape == worse.shape == difference.shape == (8, 8, 8, 1)
    assert clean.dtype == np.uint8
    assert (clean != worse).any(axis=(1, 2, 3)).all()
    notes = audited.tables["pictures"]
    assert notes.column("label") == notes.column("predicted")
    assert all(a != b for a, b in zip(notes.column("label"), notes.column("predicted under attack"), strict=True))


def test_protocol_stands_alone_and_survives_the_disk(audited: Finding, tmp_path: Path) -> None:
    assert not audited.believable  # AutoAttack was not run
    verdict = str(audited.protocol["verdict"])
    assert verdict.startswith("An upper bound by PGD-8, no more: 11 of 12 checks passed. At most ")
    assert "of 60 samples hold within Linf 25.5/255 (95 % interval " in verdict
    assert verdict.endswith("), under PGD-8 with gradients and outputs.")
    assert audited.protocol["ball"] == {"norm": "linf", "eps": 0.1, "input range": [0.0, 1.0]}
    assert build(audited.protocol["audit"]) == AUDIT
    assert audited.protocol["samples"] == 60
    again = Finding.load(audited.save(tmp_path))
    assert again.numbers == audited.numbers
    assert again.tables == audited.tables
    assert again.pictures.keys() == audited.pictures.keys()


def test_same_seed_same_finding(audited: Finding) -> None:
    again = AUDIT.evaluate(digits()[0], Digits())
    assert again.numbers == audited.numbers
    assert again.protocol == audited.protocol
    other = replace(AUDIT, linf=(), l2=(), steps=2, seed=1).evaluate(digits()[0], Digits())
    assert other.protocol["split"] != audited.protocol["split"]
    assert list(other.tables) == [
        "accuracy against eps, linf",
        "classes",
        "which attack broke what",
        "pictures",
    ]


def test_victim_without_gradients_gets_no_robust_accuracy() -> None:
    net = digits()[0].model
    found = AUDIT.evaluate(Victim(lambda x: net(x.detach())), Digits())
    assert not found.believable
    assert str(found.protocol["verdict"]).startswith("Not believable because the victim gives no gradient")
    assert not any(name.startswith("robust") for name in found.numbers)
    assert found.numbers["accuracy under noise, linf 25.5/255"] > 0.8
    assert found.protocol["headline"] is None


@pytest.fixture(scope="module")
def decided() -> Finding:
    return FULL.evaluate(digits()[0], Digits())


@pytest.fixture(scope="module")
def undecided() -> Finding:
    return replace(FULL, ensemble="none").evaluate(digits()[0], Digits())


def test_autoattack_decides_at_the_headline(decided: Finding, undecided: Finding) -> None:
    assert decided.numbers[HEAD] <= undecided.numbers[HEAD]
    smaller = "robust accuracy, linf 5.1/255"
    assert decided.numbers[smaller] == undecided.numbers[smaller]
    assert undecided.protocol["AutoAttack"] is None
    assert decided.protocol["search"] == "plain"
    assert "search" not in undecided.protocol
    assert decided.believable
    assert str(decided.protocol["verdict"]).startswith("Believable: all 16 checks passed. At most ")
    assert "under PGD-8 and AutoAttack (standard) with gradients and outputs." in str(decided.protocol["verdict"])
    table = decided.tables["AutoAttack, linf 25.5/255"]
    assert table.column("attack") == ("APGD-CE", "APGD-T", "FAB-T", "Square")
    tried, broke = table.column("tried on"), table.column("broke")
    assert tried[0] == round(24 * undecided.numbers[HEAD])
    assert [a - b for a, b in zip(tried[:-1], broke[:-1], strict=True)] == list(tried[1:])
    assert (tried[-1] - broke[-1]) / 24 == pytest.approx(decided.numbers[HEAD])


@pytest.mark.thorough
def test_what_autoattack_breaks_is_counted_at_its_radius() -> None:
    net = digits()[0].model
    scaled = Victim(lambda x: net(x) * 1e4)  # where the cross-entropy's gradient fades
    found = replace(FULL, steps=1).evaluate(scaled, Digits())
    broke = found.tables["which attack broke what"]
    assert broke.column("ball") == ("linf 5.1/255", "linf 25.5/255", "linf 51/255")
    names = [name for name in ("APGD-CE", "APGD-T", "FAB-T", "Square") if f"newly broken by {name}" in broke.columns]
    places = [broke.columns.index(f"newly broken by {name}") for name in names]
    assert sum(broke.rows[1][place] for place in places) > 0
    assert all(broke.rows[row][place] is None for row in (0, 2) for place in places)  # they did not run there
    assert not found.believable
    assert found.numbers["robust accuracy, linf 51/255"] <= found.numbers[HEAD]


@pytest.mark.thorough
def test_black_box_attacks_are_put_to_a_victim_without_gradients() -> None:
    net = digits()[0].model
    found = FULL.evaluate(Victim(lambda x: net(x.detach())), Digits())
    assert found.numbers["accuracy under black-box attacks alone, linf 25.5/255"] < 0.9
    table = found.tables["AutoAttack, linf 25.5/255"]
    assert [bool(cell) for cell in table.column("could not run")] == [True, True, True, False]


def test_attacks_of_a_surrogate_tell_on_a_masked_victim() -> None:
    net = digits()[0].model
    masked, quick = Victim(lambda x: net((x * 2).round() / 2 + 0 * x)), replace(AUDIT, l2=())
    for victim, passed in ((masked, False), (digits()[0], None)):  # one's own attacks, carried over, are as strong
        found = quick.evaluate(victim, Digits(), aids=Aids(surrogate=Victim(net)))
        check = next(check for check in found.checks if check.name == "attacks on another model are weaker")
        assert check.passed is passed, check


@pytest.mark.thorough
def test_what_is_proven_is_counted_and_left_alone(undecided: Finding) -> None:
    def prover(victim: Victim, x: Tensor, y: Tensor, ball: Ball) -> Tensor:
        return y < 7  # a prover is taken at its word

    found = FULL.evaluate(digits()[0], Digits(), aids=Aids(prover=prover))
    tried = found.tables["AutoAttack, linf 25.5/255"].column("tried on")[0]
    left, proven = (round(24 * value) for value in (undecided.numbers[HEAD], found.numbers[PROVEN]))
    assert tried == left - proven < left


@pytest.mark.thorough
@pytest.mark.parametrize("good", [0, 1])
def test_a_prover_that_fails_proves_nothing_more_and_ends_nothing(undecided: Finding, good: int) -> None:
    asked = 0

    def prover(victim: Victim, x: Tensor, y: Tensor, ball: Ball) -> Tensor:
        nonlocal asked
        asked += 1
        if asked > good:
            raise RuntimeError("size mismatch\n(1x3)")
        return y < 7

    batches = replace(FULL, batch=8)
    found = batches.evaluate(digits()[0], Digits(), aids=Aids(prover=prover))
    assert asked == good + 1, "a prover that failed is asked no more"
    assert (found.numbers.get(PROVEN, 0.0) > 0) == bool(good)
    said = str(found.protocol["prover"])
    assert "RuntimeError: size mismatch (1x3)" in said
    assert said.startswith("as given; of the first 8 samples alone" if good else "none: ")
    assert found.numbers[HEAD] <= undecided.numbers[HEAD]


@pytest.mark.thorough
def test_a_network_without_bounds_is_audited_and_the_protocol_says_why() -> None:
    net = digits()[0].model
    found = replace(FULL, prove=True).evaluate(Victim(lambda x: net(x + 1e-9 * x.cos())), Digits())
    assert "has no bounds" in str(found.protocol["prover"])


def test_an_audit_in_l1() -> None:
    found = RobustnessAudit(Ball("l1", 4.0), linf=(), l2=(), samples=24, steps=6, ensemble="none").evaluate(
        digits()[0], Digits()
    )
    assert str(found.protocol["verdict"]).startswith("Believable: all 12 checks passed. At most 0.0%")  # none is left
    table = found.tables["accuracy against eps, l1"]
    assert table.column("eps") == (0.0, 4.0)
    assert table.column("robust accuracy")[1] < table.column("accuracy under noise")[1]
    assert "newly broken by APGD, cross-entropy" in found.tables["which attack broke what"].columns


def test_masked_victim_is_not_believed() -> None:
    net = digits()[0].model
    found = AUDIT.evaluate(Victim(lambda x: net(x) * 1e4), Digits())
    assert not found.believable
    assert "the gradient is zero on" in str(found.protocol["verdict"])


def test_bare_encoder_without_labels() -> None:
    encoder = digits()[0].model[:5]
    found = AUDIT.evaluate(encoder, Digits(labelled=False))
    assert str(found.protocol["verdict"]).startswith("A lower bound by PGD-8, no more: 9 of 10 checks passed. At least")
    assert found.protocol["goal"] == "embedding"
    attack, noise = (found.numbers[f"mean cosine shift under {what}, linf 25.5/255"] for what in ("attack", "noise"))
    assert attack > 1.5 * noise > 0
    table = found.tables["shift against eps, linf"]
    shifts = table.column("mean cosine shift under attack")
    assert shifts[0] == 0
    assert list(shifts) == sorted(shifts)
    nearer = table.column("share nearer to another under attack")
    assert nearer[0] == 0 < nearer[-1] <= 1
    assert found.pictures["clean"].shape == (8, 8, 8, 1)
    assert AUDIT.evaluate(encoder, Digits(labelled=False)).numbers == found.numbers


def test_range_of_the_victim_is_kept_for_bytes() -> None:
    net = digits()[0].model
    shifted = Victim(lambda x: net((x + 1) / 2), low=-1.0, high=1.0)
    plain = AUDIT.evaluate(Victim(net), Digits()).numbers["clean accuracy"]
    assert AUDIT.evaluate(shifted, Digits()).numbers["clean accuracy"] == plain


def test_what_cannot_be_audited_is_refused() -> None:
    with pytest.raises(DataError, match="goal='embedding'"):
        RobustnessAudit(goal="labels").evaluate(digits()[0], Digits(labelled=False))
    with pytest.raises(ConfigError, match="eps above 0"):
        RobustnessAudit(Ball("linf", 0.0))
    with pytest.raises(ConfigError, match="samples"):
        RobustnessAudit(samples=0)
    with pytest.raises(DataError, match="classes 0 to 4"):
        AUDIT.evaluate(Victim(lambda x: x.flatten(1)[:, :5]), Digits())
    assert build(describe(AUDIT)) == AUDIT


def test_share_comes_with_its_interval() -> None:
    assert Share.of(torch.arange(100) < 50).cells == pytest.approx((0.5, 0.4038, 0.5962), abs=1e-4)
    assert str(Share(0, 40)) == "0.0% [0.0%, 8.8%]"


def test_strips_magnify_and_skip_what_is_no_picture() -> None:
    x = torch.full((2, 3, 4, 4), 0.5)
    shown = strips(Victim(lambda x: x), x, x + 0.02)
    assert list(shown) == ["clean", "adversarial", "difference (magnified x25)"]
    assert shown["difference (magnified x25)"].shape == (2, 4, 4, 3)
    assert (shown["difference (magnified x25)"] >= 254).all()
    assert strips(Victim(lambda x: x), torch.rand(2, 7), torch.rand(2, 7)) == {}
    own = strips(Victim(lambda x: x), x, x + torch.tensor([0.02, 0.04]).view(2, 1, 1, 1))
    assert (own["difference (magnified x12 to x25)"] >= 250).all()


def test_pictures_are_of_every_class_before_any_comes_twice() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 0])
    rows = torch.tensor([0, 2, 3, 4, 5, 6])
    assert across_classes(rows, labels, 4).tolist() == [0, 3, 5, 2]
    assert across_classes(rows, labels, 9).tolist() == [0, 3, 5, 2, 4, 6]
    assert across_classes(rows[:0], labels, 4).tolist() == []

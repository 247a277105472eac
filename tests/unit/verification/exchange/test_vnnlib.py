import gzip
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.verification.exchange.specification import Specification
from withstand.verification.exchange.vnnlib import parse_vnnlib, read_vnnlib
from withstand.verification.exchange.vnnlib_write import answer, margin_specification, write_vnnlib
from withstand.verification.specification.box import inward

HEAD = "(declare-const X_0 Real)(declare-const X_1 Real)\n(declare-const Y_0 Real)(declare-const Y_1 Real)\n"
BOX = "(assert (<= X_0 1.5))(assert (>= X_0 -1))(assert (<= X_1 2e-1))(assert (>= 0.25 (- X_1)))\n"


def same(first: Specification, second: Specification) -> bool:
    def plain(item: Specification) -> object:
        return (item.inputs, item.outputs, [
            (case.low.tolist(), case.high.tolist(), [(p.weight.tolist(), p.bound.tolist()) for p in case.unsafe])
            for case in item.cases
        ])  # fmt: skip

    return plain(first) == plain(second)


def test_a_box_and_a_union_of_outputs() -> None:
    found = parse_vnnlib(HEAD + BOX + "; outputs\n(assert (or (and (<= Y_0 Y_1)) (and (>= Y_0 3) (<= (+ Y_0 Y_1) 7))))")
    assert (found.inputs, found.outputs) == (2, 2)
    (case,) = found.cases
    assert (case.low.tolist(), case.high.tolist()) == ([-1.0, -0.25], [1.5, 0.2])
    first, second = case.unsafe
    assert (first.weight.tolist(), first.bound.tolist()) == ([[1, -1]], [0])
    assert (second.weight.tolist(), second.bound.tolist()) == ([[-1, 0], [1, 1]], [-3, 7])
    wanted = case.wanted()
    assert (wanted.offset.tolist(), wanted.group.tolist()) == ([0, 3, -7], [0, 1, 1])
    assert wanted.least(wanted.values(torch.tensor([[4.0, 2.0], [2.0, 1.0]]))).tolist() == [-1.0, 1.0]
    inside = torch.tensor([0.0, 0.0])
    assert found.broken(inside, torch.tensor([4.0, 2.0]))
    assert found.broken(inside, torch.tensor([1.0, 1.0]))  # a tie is a counterexample, as the file says
    assert not found.broken(inside, torch.tensor([2.0, 1.0]))
    assert not found.broken(torch.tensor([1.6, 0.0]), torch.tensor([4.0, 2.0]))
    assert found.broken(torch.tensor([1.50005, 0.0]), torch.tensor([4.0, 2.0]), slack=1e-4)


def test_boxes_may_be_several_and_equal_ones_come_together() -> None:
    text = (
        HEAD
        + "(assert (or (and (<= X_0 1) (>= X_0 0)) (and (<= X_0 3) (>= X_0 2)) (and (<= X_0 5) (>= X_0 6))))"
        + "(assert (<= X_1 1))(assert (>= X_1 1))(assert (or (<= Y_0 Y_1) (<= (- Y_0 (* 2 Y_1)) -0.5)))"
    )
    found = parse_vnnlib(text)
    assert [(case.low.tolist(), len(case.unsafe)) for case in found.cases] == [([0, 1], 2), ([2, 1], 2)]
    assert found.cases[0].unsafe[1].weight.tolist() == [[1, -2]]
    assert same(parse_vnnlib(write_vnnlib(found, "two boxes")), found)


def test_a_margin_specification_reads_back() -> None:
    x = torch.rand(1, 2, 3, generator=torch.Generator().manual_seed(0))
    for margin in (0.0, 0.125):
        wanted = margin_specification(x - 0.1, x + 0.1, 1, 4, margin=margin)
        assert same(parse_vnnlib(write_vnnlib(wanted)), wanted)
    assert wanted.broken(x, torch.tensor([1.0, 1.1, 0.0, 0.0]))
    assert not wanted.broken(x, torch.tensor([1.0, 1.2, 0.0, 0.0]))
    with pytest.raises(ConfigError, match="0 to 3, not 4"):
        margin_specification(x, x, 4, 4)
    with pytest.raises(DataError, match="low at most high"):
        margin_specification(x, x - 1, 1, 4)


def test_answers_in_the_competitions_form() -> None:
    assert answer("unsat") == "unsat\n"
    assert answer("sat", torch.tensor([0.5, -1.0]), torch.tensor([2.0])) == "sat\n((X_0 0.5)\n(X_1 -1.0)\n(Y_0 2.0))\n"
    with pytest.raises(ConfigError, match="counterexample"):
        answer("sat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + BOX + "(assert (<= Y_0 Y_1)", "bracket open"),
        (HEAD + BOX + ")", "did not open"),
        (HEAD + BOX, "nothing of the outputs"),
        (HEAD + "(assert (<= Y_0 0))", "X_0 is not bounded"),
        (HEAD + BOX + "(assert (<= Y_0 X_1))", "mixes inputs and outputs"),
        (HEAD + BOX + "(assert (<= X_0 X_1))", "several inputs"),
        (HEAD + BOX + "(assert (<= Y_7 0))", "Y_7 is used but not declared"),
        (HEAD + BOX + "(assert (<= Y_0 banana))", "'banana' is neither"),
        (HEAD + BOX + "(assert (<= Y_0 nan))", "'nan' is neither"),
        (HEAD + BOX + "(assert (<= Y_0 1_000))", "'1_000' is neither"),
        (HEAD + BOX + "(assert (<= Y_0 \u0661))", "is neither a variable nor a number"),
        (HEAD + BOX + "(assert (<= Y_0 1e999))", "not a finite number"),
        (HEAD + BOX + "(assert (<= Y_\u0660 1))", "is not a variable"),
        (HEAD + "(declare-const X_3 Real)", "declares X_3, but no X_2"),
        (HEAD + "(declare-const X_99999999 Real)", "declares X_99999999, but no X_2"),
        (HEAD + "(declare-const X_2 Int)", "neither a declaration of a Real"),
        ("(vnnlib-version <2.0>)", "VNN-LIB 2.0"),
        (HEAD + BOX + "(assert " + "(and " * 100_000, "brackets at a time"),
        (HEAD + BOX + f"(assert {'x' * 100_000})", "none of and, or"),
        (HEAD + BOX + "(assert (not (<= Y_0 0)))", "none of and, or"),
        (HEAD + BOX + "(assert (<= (* Y_0 Y_1) 0))", "product of variables"),
        (HEAD + BOX + "(assert (<= 0 1))", "names no variable"),
        ("hello", "outside of brackets"),
        ("(declare-const Z_0 Real)", "'Z_0' is not a variable"),
        ("", "declares no inputs"),
        ("(exit)", "neither a declaration"),
        (HEAD + BOX + "(assert (or (<= Y_0 0) (<= Y_1 0)))" * 14, "more than 10,000 cases"),
        (HEAD + BOX + "(assert (or" + "(<= Y_0 0)" * 10_001 + "))", "more than 10,000 cases"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_gets_one_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        parse_vnnlib(text)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_file_that_is_none(tmp_path: object) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_vnnlib(f"{tmp_path}/none.vnnlib")


def test_a_packed_file(tmp_path: Path) -> None:
    text = HEAD + BOX + "(assert (<= Y_0 Y_1))"
    for name in ("a.vnnlib.gz", "a.vnnlib"):  # what it is called does not matter
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        assert same(read_vnnlib(tmp_path / name), parse_vnnlib(text))
    for content, message in (
        (gzip.compress(text.encode())[:-9], "packed by gzip and damaged"),
        (gzip.compress(text.encode())[:12] + b"zzzz", "packed by gzip and damaged"),
        (gzip.compress(bytes(1 << 27)), "unpack it yourself"),
    ):
        (tmp_path / "b.vnnlib").write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_vnnlib(tmp_path / "b.vnnlib")


def truth(formula: object, values: dict[str, float]) -> bool | float:
    """Return what a formula, as nested lists, says of values; this knows nothing of cases or polytopes."""
    if isinstance(formula, str):
        return values[formula] if formula in values else float(formula)
    word, *parts = formula  # type: ignore[misc]
    found = [truth(part, values) for part in parts]
    if word in ("and", "or"):
        return all(found) if word == "and" else any(found)
    if word in ("<=", ">="):
        return found[0] <= found[1] if word == "<=" else found[0] >= found[1]
    if word == "*":
        return found[0] * found[1]
    return sum(found) if word == "+" else found[0] - sum(found[1:]) if len(found) > 1 else -found[0]


def text(formula: object) -> str:
    return formula if isinstance(formula, str) else f"({' '.join(map(text, formula))})"  # type: ignore[call-overload]


LIMITS = (-2.5, -2.0, -1.0, -0.5, -0.25, 0.0, 0.5, 1.0, 2.0, 3.5)
NUMBERS = st.sampled_from(["0", "1", "-1", "0.5", "-0.25", "2.", "1e0", "+3", ".5"])
INPUT_TERM = st.one_of(
    st.sampled_from(["X_0", "X_1"]),
    st.tuples(st.just("*"), NUMBERS.filter(lambda number: float(number) != 0), st.sampled_from(["X_0", "X_1"])),
    st.tuples(st.just("-"), st.sampled_from(["X_0", "X_1"])),
)
OUTPUT_TERM = st.recursive(
    st.one_of(st.sampled_from(["Y_0", "Y_1"]), NUMBERS),
    lambda term: st.one_of(
        st.tuples(st.sampled_from(["+", "-"]), term, term), st.tuples(st.just("*"), NUMBERS, term),
        st.tuples(st.just("-"), term),
    ),
    max_leaves=4,
)  # fmt: skip
RELATION = st.sampled_from(["<=", ">="])
ATOM = st.one_of(
    st.tuples(RELATION, INPUT_TERM, NUMBERS),
    st.tuples(RELATION, NUMBERS, INPUT_TERM),
    st.tuples(RELATION, st.sampled_from(["Y_0", "Y_1"]), NUMBERS),
    st.tuples(RELATION, OUTPUT_TERM, OUTPUT_TERM),
)
FORMULA = st.recursive(
    ATOM,
    lambda part: st.lists(part, min_size=1, max_size=3).flatmap(
        lambda parts: st.sampled_from([("and", *parts), ("or", *parts)])
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(formulas=st.lists(FORMULA, min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_a_file_says_what_its_formulas_say(formulas: list[object], seed: int) -> None:
    box = [("<=", f"X_{place}", "2") for place in (0, 1)] + [(">=", f"X_{place}", "-2") for place in (0, 1)]
    asserted = [*box, ("<=", "Y_0", "1000"), *formulas]
    try:
        found = parse_vnnlib(HEAD + "\n".join(f"(assert {text(one)})" for one in asserted))
    except DataError as error:
        if "names no variable" in str(error):
            reject()  # a relation of numbers alone
        raise
    draws = Random(seed)
    for _ in range(15):
        # Limits are among them, and sums of them.
        values = {name: draws.choice(LIMITS) for name in ("X_0", "X_1", "Y_0", "Y_1")}
        wanted = all(truth(one, values) for one in asserted)
        x, y = (torch.tensor([values[f"{kind}_{place}"] for place in (0, 1)]) for kind in "XY")
        assert found.broken(x, y) == wanted


def test_a_quotient_is_rounded_outward() -> None:
    found = parse_vnnlib(HEAD + BOX + "(assert (<= (* 3 X_0) 1))(assert (>= (* -49 X_1) -9))(assert (<= Y_0 0))")
    (case,) = found.cases
    assert Fraction(case.high[0].item()) >= Fraction(1, 3)
    assert Fraction(case.high[1].item()) >= Fraction(9, 49)


def test_points_are_rounded_into_the_box() -> None:
    # 0.679857769, a corner of ACAS-Xu's property 2, lies between two float32 numbers: the nearer one is outside.
    low, high = torch.tensor([0.6], dtype=torch.float64), torch.tensor([0.679857769], dtype=torch.float64)
    assert high.float().double() > high
    for point in (low, high, high + 1, low - 1, (low + high) / 2):
        shown = inward(point, low, high, torch.float32)
        assert shown.dtype == torch.float32
        assert low <= shown.double() <= high
        assert (shown.double() - point.clamp(low, high)).abs() < 1e-7

"""Linear operations against their own matrices: adjoints, absolute values, windows; with all kinds of broadcasting."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from withstand.verification.bounds.receptive_field import Shape, Window
from withstand.verification.bounds.rounding import backward_terms
from withstand.verification.network.operation import (
    Add,
    AvgPool2d,
    Concat,
    Conv2d,
    Linear,
    LinearOperation,
    Mean,
    Rearrange,
    Scale,
)

Case = tuple[LinearOperation, tuple[Shape, ...]]


class Choices:
    """Small random numbers by a seed."""

    def __init__(self, seed: int) -> None:
        self.draws = torch.Generator().manual_seed(seed)

    def whole(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.draws))

    def flag(self) -> bool:
        return bool(self.whole(0, 1))

    def shape(self, rank: int, low: int = 1, high: int = 4) -> Shape:
        return tuple(self.whole(low, high) for _ in range(rank))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.draws, dtype=torch.float64)

    def thinned(self, shape: Shape) -> Shape:
        """Return a shape that broadcasts to another one: some sides are 1."""
        return tuple(1 if self.flag() else side for side in shape)


def linear(pick: Choices) -> Case:
    shape, out = pick.shape(pick.whole(1, 3)), pick.whole(1, 5)
    return Linear(weight=pick.normal(out, shape[-1]), bias=pick.normal(out) if pick.flag() else None), (shape,)


def convolution(pick: Choices) -> Case:
    groups, kernel, dilation = pick.whole(1, 2), pick.shape(2, 1, 3), pick.shape(2, 1, 2)
    stride, padding = pick.shape(2, 1, 3), pick.shape(2, 0, 2)
    sides = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + pick.whole(0, 4) for d, k, p in zip(dilation, kernel, padding, strict=True)
    )
    narrow, wide = groups * pick.whole(1, 2), groups * pick.whole(1, 2)
    conv = Conv2d(
        weight=pick.normal(wide, narrow // groups, *kernel),
        bias=pick.normal(wide, 1, 1) if pick.flag() else None,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    return conv, ((narrow, *sides),)


def scale(pick: Choices) -> Case:
    out = pick.shape(pick.whole(1, 3))
    shape = pick.thinned(out)
    weight, bias = (pick.normal(*pick.thinned(out)) if pick.flag() else None for _ in range(2))
    return Scale(weight=weight, bias=bias), (shape,)


def pool(pick: Choices) -> Case:
    kernel = pick.shape(2, 1, 3)
    padding = tuple(pick.whole(0, k // 2) for k in kernel)
    shape = (pick.whole(1, 3), *(k + pick.whole(0, 4) for k in kernel))
    return AvgPool2d(kernel=kernel, stride=pick.shape(2, 1, 3), padding=padding), (shape,)


def mean(pick: Choices) -> Case:
    shape = pick.shape(pick.whole(1, 3))
    dims = tuple(d for d in range(len(shape)) if pick.flag()) or (0,)
    entries = math.prod(shape[d] for d in dims)
    return Mean(dims=dims, keep=pick.flag(), count=entries if pick.flag() else 1, entries=entries), (shape,)


def rearrangement(pick: Choices) -> Case:
    shape = pick.shape(pick.whole(1, 3))
    size = math.prod(shape)
    if pick.flag():
        return Rearrange(shape=(size, 1)), (shape,)
    out = pick.shape(pick.whole(1, 3))
    places = torch.randint(-1, size, out, generator=pick.draws)  # zeros, some inputs more than once, others never
    return Rearrange(shape=out, places=places), (shape,)


def addition(pick: Choices) -> Case:
    out = pick.shape(pick.whole(1, 3))
    return Add(signs=(1, -1 if pick.flag() else 1)), (pick.thinned(out), pick.thinned(out))


def concatenation(pick: Choices) -> Case:
    shape = pick.shape(pick.whole(1, 3))
    dim = pick.whole(0, len(shape) - 1)
    shapes = tuple((*shape[:dim], pick.whole(1, 3), *shape[dim + 1 :]) for _ in range(pick.whole(1, 3)))
    return Concat(dim=dim), shapes


KINDS: dict[str, Callable[[Choices], Case]] = {
    "linear": linear,
    "convolution": convolution,
    "scale": scale,
    "pool": pool,
    "mean": mean,
    "rearrangement": rearrangement,
    "addition": addition,
    "concatenation": concatenation,
}


def outputs_of(operation: LinearOperation, shapes: tuple[Shape, ...]) -> Shape:
    return tuple(operation.forward(*(torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes)).shape[1:])


def flat(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)


def matrices(operation: LinearOperation, shapes: tuple[Shape, ...]) -> list[Tensor]:
    """Return each input's matrix `(outputs, inputs)`, from what `forward` makes of unit vectors."""
    zeros = [torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes]
    origin, found = operation.forward(*zeros), []
    for which, shape in enumerate(shapes):
        size = math.prod(shape)
        unit = torch.eye(size, dtype=torch.float64).view(size, *shape)
        given = [unit if i == which else zero.expand(size, *zero.shape[1:]) for i, zero in enumerate(zeros)]
        found.append((operation.forward(*given) - origin).reshape(size, -1).T)
    return found


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_every_operation_is_its_matrix_forward_backward_and_in_size(kind: str, seed: int) -> None:
    pick = Choices(seed)
    operation, shapes = KINDS[kind](pick)
    out = outputs_of(operation, shapes)
    wanted = matrices(operation, shapes)
    inputs = [pick.normal(2, *shape) for shape in shapes]
    cotangent = pick.normal(2, *out)
    applied = operation.apply(*inputs)
    assert applied.shape == (2, *out)
    found = operation.transpose(cotangent, shapes)
    for part, matrix, shape in zip(found, wanted, shapes, strict=True):
        assert part.shape == (2, *shape)
        torch.testing.assert_close(flat(part), flat(cotangent) @ matrix, rtol=0, atol=1e-11)
    # <A x, c> = <x, A^T c>
    forward = flat(applied * cotangent).sum(1)
    backward = sum(flat(x * part).sum(1) for x, part in zip(inputs, found, strict=True))
    torch.testing.assert_close(forward, backward, rtol=0, atol=1e-10)
    for power in (1, 2):
        size = operation.absolute(*inputs, power=power)
        dense = sum(flat(x) @ matrix.abs().pow(power).T for x, matrix in zip(inputs, wanted, strict=True))
        assert size.shape == (2, *out)
        torch.testing.assert_close(flat(size), dense, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_sums_are_no_longer_than_counted(kind: str, seed: int) -> None:
    operation, shapes = KINDS[kind](Choices(seed))
    for matrix in matrices(operation, shapes):
        used = matrix != 0
        assert int(used.sum(1).max()) <= operation.terms
        assert int(used.sum(0).max()) <= backward_terms(operation, shapes, outputs_of(operation, shapes))


@pytest.mark.parametrize("kind", ["convolution", "scale", "pool", "addition"])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_window_is_its_part_of_the_whole(kind: str, seed: int) -> None:
    pick = Choices(seed)
    operation, shapes = KINDS[kind](pick)
    out = outputs_of(operation, shapes)
    if len(out) != 3:
        return
    top, left = pick.whole(0, out[1] - 1), pick.whole(0, out[2] - 1)
    window = Window(top, pick.whole(top + 1, out[1]), left, pick.whole(left + 1, out[2]))
    inside = pick.normal(3, out[0], *window.sides)
    found = operation.transpose_window(inside, window, shapes)
    if found is None:
        return
    whole = operation.transpose(window.fill(inside, out), shapes)
    for (part, seen), wanted, shape in zip(found, whole, shapes, strict=True):
        torch.testing.assert_close(seen.fill(part, shape), wanted, rtol=0, atol=1e-11)


def test_a_rearrangement_counts_its_copies() -> None:
    for places, copies in ([2, -1, 0, -1], 1), ([2, 0, 2, 2], 3), ([-1, -1], 1):
        assert Rearrange(shape=(len(places),), places=torch.tensor(places)).copies == copies
    assert Rearrange(shape=(4,)).copies == 1

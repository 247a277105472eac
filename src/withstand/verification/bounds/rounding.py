"""How far rounding can carry a computed bound, so that what is proven in float32 holds in exact arithmetic.

A sum of n products, in any order, is off by at most `n u / (1 - n u)` times the sum of their sizes, where u is
the unit roundoff (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from withstand.verification.bounds.receptive_field import Shape
from withstand.verification.network.operation import Add, Conv2d, Linear, LinearOperation, Mean, Rearrange, Scale


def gamma(terms: int, dtype: torch.dtype) -> float:
    """Return a bound of the relative error of a sum of `terms` products.

    Twice the textbook's, with some terms to spare: for weights rounded from float64, and for the few roundings
    that are made before and after the sum.
    """
    unit = torch.finfo(dtype).eps / 2
    return 2 * (terms + 8) * unit / max(1e-9, 1 - (terms + 8) * unit)


def forward_terms(operation: LinearOperation, dtype: torch.dtype) -> int:
    """Return of how many terms a sum counts as, in a precision: plain sums are added up in float64 whatever it is."""
    if isinstance(operation, Mean) and dtype == torch.float32 and operation.terms < 1 << 28:
        return 2
    return operation.terms


def backward_terms(operation: LinearOperation, shapes: Sequence[Shape], out: Shape) -> int:
    """Return the most outputs that one input goes into: the terms of a sum in `transpose`.

    Args:
        operation: which one.
        shapes: of its inputs' samples.
        out: of its output's.
    """
    if isinstance(operation, Linear):
        return operation.weight.shape[0]
    if isinstance(operation, Conv2d):
        # With a stride, an input meets only every so manieth place of the kernel.
        places = [
            math.ceil(size / (stride // math.gcd(stride, dilation)))
            for size, stride, dilation in zip(
                operation.weight.shape[2:], operation.stride, operation.dilation, strict=True
            )
        ]
        return operation.weight.shape[0] // operation.groups * math.prod(places)
    if isinstance(operation, Rearrange):
        return operation.copies
    if isinstance(operation, Mean):
        return 1
    if isinstance(operation, Scale | Add):
        return max(math.prod(out) // max(1, math.prod(shape)) for shape in shapes)
    return operation.terms


def proven(bound: torch.Tensor) -> torch.Tensor:
    """Return lower bounds with -inf for those that are no finite number: these prove nothing, and spoil nothing known.

    Where a precision ends, +inf comes out too, and no value of a network lies above that.
    """
    return bound.masked_fill(~(bound < torch.inf), -torch.inf)


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep accelerators from rounding float32 products to 10 bits while bounds are computed."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    kept = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = kept

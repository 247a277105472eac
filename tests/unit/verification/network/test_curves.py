"""Every smooth activation's lines and intervals against the function itself, sampled densely in float64."""

import math

import mpmath
import pytest
import torch
from torch import Tensor

from withstand.verification.bounds.curved import retouched
from withstand.verification.bounds.relaxation import relax, relu
from withstand.verification.network.activation import Curve, ReLU, Sigmoid, Tanh
from withstand.verification.network.curves import ELU, GELU, Erf, GELUTanh, HardSwish, Mish, SiLU, Softplus
from withstand.verification.network.powers import Exp, Log, Reciprocal, Rsqrt, Sqrt, Square
from withstand.verification.network.product import Product

CURVES: dict[str, Curve] = {
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "erf": Erf(),
    "softplus": Softplus(math.inf),
    "elu": ELU(),
    "elu, steep": ELU(2.5),
    "elu, flat": ELU(0.3),
    "mish": Mish(),
    "hard swish": HardSwish(),
    "sqrt": Sqrt(),
    "log": Log(),
    "silu": SiLU(),
    "gelu": GELU(),
    "gelu, tanh": GELUTanh(),
    "gelu, tanh, without a cube": GELUTanh(1.7, 0.0),
    "square": Square(),
    "exp": Exp(),
    "reciprocal": Reciprocal(),
    "rsqrt": Rsqrt(),
}
EXACT = {
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "elu": lambda x: x if x > 0 else mpmath.expm1(x),
    "elu, steep": lambda x: x if x > 0 else 2.5 * mpmath.expm1(x),
    "elu, flat": lambda x: x if x > 0 else mpmath.mpf(0.3) * mpmath.expm1(x),
    "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
    "hard swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "sqrt": mpmath.sqrt,
    "log": mpmath.log,
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.ncdf(x),
    "gelu, tanh": lambda x: (
        x / (1 + mpmath.exp(-2 * mpmath.mpf((2 / math.pi) ** 0.5) * (x + mpmath.mpf(0.044715) * x**3)))
    ),
    "gelu, tanh, without a cube": lambda x: x / (1 + mpmath.exp(-2 * mpmath.mpf(1.7) * x)),
    "square": lambda x: x * x,
    "exp": mpmath.exp,
    "reciprocal": lambda x: 1 / x,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
}


def intervals(curve: Curve, seed: int, count: int = 3000) -> tuple[Tensor, Tensor]:
    """Return intervals of all sizes: points, tiny, round the inflections, over both, and huge."""
    draws = torch.Generator().manual_seed(seed)

    def draw(*scale: float) -> Tensor:
        return (
            torch.randn(count, generator=draws, dtype=torch.float64)
            * torch.tensor(scale, dtype=torch.float64)[torch.randint(len(scale), (count,), generator=draws)]
        )

    middle = draw(0.0, 1e-6, 0.3, 1.0, 3.0, 10.0, 100.0)
    edges = [edge for edge in (*curve.convex, curve.lowest) if abs(edge) < torch.inf]
    for edge in edges:
        middle[torch.rand(count, generator=draws) < 0.2] += edge
    half = draw(0.0, 1e-300, 1e-15, 1e-9, 1e-7, 1e-4, 1e-2, 0.3, 1.0, 3.0, 10.0, 100.0).abs()
    low, high = middle - half, middle + half * torch.rand(count, generator=draws, dtype=torch.float64) * 2
    if curve.start > -torch.inf:
        low, high = low.abs().clamp_min(1e-3), None
        high = low + half
    if isinstance(curve, Exp):
        low, high = low.clamp(-80, 80), high.clamp(-80, 80)
    return low, torch.maximum(low, high)


def inside(low: Tensor, high: Tensor, count: int, seed: int) -> Tensor:
    """Return points of each interval, `(count, N)`: its ends, numbers next to them, an even grid, and draws."""
    draws = torch.Generator().manual_seed(seed)
    shares = torch.cat([torch.linspace(0, 1, count // 2), torch.rand(count // 2, generator=draws)]).double()
    points = low + shares[:, None] * (high - low)
    ends = [low, high, low.nextafter(high), high.nextafter(low), (low + high) / 2]
    return torch.maximum(torch.minimum(torch.cat([points, torch.stack(ends)]), high), low)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_curve_lies_between_its_lines(name: str, dtype: torch.dtype) -> None:
    curve = CURVES[name]
    low, high = intervals(curve, 0)
    low, high = low.to(dtype), high.to(dtype)
    high = torch.maximum(low, high)
    x = inside(low.double(), high.double(), 200, 1)
    y = curve.forward(x)
    draws = torch.Generator().manual_seed(2)
    first = relax(curve, [(low, high)])
    touch = tuple(low + torch.rand(len(low), generator=draws, dtype=dtype) * (high - low) for _ in range(2))
    for lines in (first, retouched(curve, low, high, first, touch)):
        # What the check itself rounds.
        slack = 4e-16 * (y.abs() + (lines.low_slope.double() * x).abs() + (lines.high_slope.double() * x).abs())
        slack = slack + curve.doubt(x, y)
        assert (lines.low_slope.double() * x + lines.low_shift.double() <= y + slack).all()
        assert (lines.high_slope.double() * x + lines.high_shift.double() >= y - slack).all()
        steep = lines.steep * (1 + 1e-6)
        assert (lines.low_slope.abs() <= steep).all()
        assert (lines.high_slope.abs() <= steep).all()
    least, most = curve.span((low, high))
    assert (least.double() <= y).all()
    assert (most.double() >= y).all()


@pytest.mark.parametrize("name", CURVES)
def test_lines_hold_in_many_digits(name: str) -> None:
    # Float64 is no judge of itself: the function, the line and the point with 60 digits.
    curve, exact = CURVES[name], EXACT[name]
    low, high = intervals(curve, 3, count=60)
    lines = relax(curve, [(low, high)])
    least, most = curve.span((low, high))
    with mpmath.workdps(60):
        for x, slope, shift, steep, top, bottom, peak in zip(
            inside(low, high, 16, 4).T.tolist(),
            *(part.tolist() for part in (lines.low_slope, lines.low_shift, lines.high_slope, lines.high_shift)),
            least.tolist(),
            most.tolist(),
            strict=True,
        ):
            for point in map(mpmath.mpf, x):
                value = exact(point)
                assert (
                    mpmath.mpf(slope) * point + mpmath.mpf(shift)
                    <= value
                    <= mpmath.mpf(steep) * point + mpmath.mpf(top)
                )
                assert bottom <= value <= peak


@pytest.mark.parametrize("threshold", [-2.0, 0.0, 1.0, 5.0, 15.0, 20.0])
def test_a_softplus_that_jumps_lies_between_its_lines_on_both_sides(threshold: float) -> None:
    curve, draws = Softplus(threshold), torch.Generator().manual_seed(0)
    ends = threshold + torch.tensor([1e-9, 1e-3, 0.3, 10.0])[:, None] * torch.randn(2, 4, 400, generator=draws)
    low, high = (part.flatten().double() for part in (ends.amin(0), ends.amax(0)))
    x = torch.cat([inside(low, high, 200, 1), torch.tensor(threshold).nextafter(high[:1]).expand(1, len(low))])
    x = torch.maximum(torch.minimum(x, high), low)
    y = torch.nn.functional.softplus(x, threshold=threshold)
    lines = relax(curve, [(low, high)])
    assert lines.low_shift is not None
    room = 1e-14 * max(1.0, threshold)
    assert (lines.low_slope * x + lines.low_shift <= y + room).all()
    assert (lines.high_slope * x + lines.high_shift >= y - room).all()
    least, most = curve.span((low, high))
    assert (least <= y).all()
    assert (most >= y).all()


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_is_what_it_says(name: str) -> None:
    curve = CURVES[name]
    start = max(curve.start, -30.0) + 1e-3
    x = torch.linspace(start, 30 if name != "exp" else 5, 200_001, dtype=torch.float64)
    y = curve.forward(x)
    with torch.enable_grad():
        free = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(curve.forward(free).sum(), free)
    torch.testing.assert_close(curve.rate(x), slope, rtol=1e-9, atol=1e-9)
    assert curve.steepest is None or slope.abs().max() <= curve.steepest
    bend = curve.rate(x).diff()
    middle = (x[1:] + x[:-1]) / 2
    begin, end = curve.convex
    room = 1e-15 if curve.steepest is not None else 1e-12 * curve.rate(x).abs().max()
    assert (bend[(middle > begin + 1e-3) & (middle < end - 1e-3)] >= -room).all()
    assert (bend[(middle < begin - 1e-3) | (middle > end + 1e-3)] <= room).all()
    rises = y.diff()
    assert (rises[middle > curve.lowest + 1e-3] >= -1e-14).all()
    assert (rises[middle < curve.lowest - 1e-3] <= 1e-14).all()


@pytest.mark.parametrize("name", CURVES)
def test_lines_are_as_tight_as_they_can_be(name: str) -> None:
    # No line below a function is higher in the middle than its convex hull, here that of a thousand points.
    from scipy.spatial import ConvexHull

    curve = CURVES[name]
    low, high = intervals(curve, 5, count=400)
    wide = (high - low > 1e-2) & (high - low < 40) & (low.abs() < 40)
    low, high = low[wide][:60], high[wide][:60]
    lines = relax(curve, [(low, high)])
    for place, (left, right) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        x = torch.linspace(left, right, 1001, dtype=torch.float64)
        y = curve.forward(x)
        height = max(1e-9, float(y.max() - y.min()))
        corners = ConvexHull(
            torch.stack([(x - left) / (right - left), (y - y.min()) / height], 1).numpy(), qhull_options="QJ"
        )
        # The hull's facets a u + b v + c <= 0 at u = 1 / 2.
        across, up, beside = corners.equations.T
        ends = -(across / 2 + beside)
        bottom = max(e / u for e, u in zip(ends, up, strict=True) if u < -1e-9)
        top = min(e / u for e, u in zip(ends, up, strict=True) if u > 1e-9)
        middle = (left + right) / 2
        below = (lines.low_slope[place] * middle + lines.low_shift[place] - y.min()) / height
        above = (lines.high_slope[place] * middle + lines.high_shift[place] - y.min()) / height
        assert below >= bottom - 2e-3
        assert above <= top + 2e-3


@pytest.mark.parametrize("slope", [-1.0, -0.3, 0.0, 0.2, 1.0])
def test_a_bent_line_lies_between_its_lines(slope: float) -> None:
    low, high = intervals(Square(), 6)
    x = inside(low, high, 100, 7)
    bend = ReLU(slope)
    y = bend.forward(x)
    lines = relu(low, high, slope)
    assert (lines.low_slope * x <= y + 1e-15 * x.abs()).all()
    assert (lines.high_slope * x + lines.high_shift >= y - 1e-15 * x.abs()).all()
    least, most = bend.span((low, high))
    assert (least <= y).all()
    assert (most >= y).all()


def test_what_is_no_number_is_no_dead_unit() -> None:
    nan, inf = float("nan"), float("inf")
    low, high = torch.tensor([nan, -inf, 1.0, nan]), torch.tensor([1.0, inf, nan, nan])
    lines = relu(low, high)
    assert not torch.isfinite(lines.high_shift[[0, 1, 3]]).any()
    for curve in (Reciprocal(), Rsqrt()):
        lines = relax(curve, [(torch.tensor([0.0, -1.0]), torch.tensor([1.0, 1.0]))])
        assert lines.low_shift.isnan().all()
        assert lines.high_shift.isnan().all()
        assert all(side.isnan().all() for side in curve.span((torch.tensor([-1.0]), torch.tensor([1.0]))))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_product_lies_between_its_planes(dtype: torch.dtype) -> None:
    first, second = ([value.to(dtype) for value in intervals(Square(), seed)] for seed in (8, 9))
    first, second = ((low, torch.maximum(low, high)) for low, high in (first, second))
    planes = relax(Product(), [first, second])
    least, most = Product().span(first, second)
    one, other = (inside(low.double(), high.double(), 60, seed) for seed, (low, high) in ((10, first), (11, second)))
    for a, b in ((one, other), (one, other.flip(0)), (one.flip(0), other.roll(7, 0))):
        product = a * b
        below = above = torch.zeros_like(product)
        size = product.abs()
        for value, lines in zip((a, b), planes.lines, strict=True):
            shift = 0 if lines.low_shift is None else lines.low_shift.double()
            below = below + lines.low_slope.double() * value + shift
            above = above + lines.high_slope.double() * value + lines.high_shift.double()
            size = size + (lines.low_slope.double() * value).abs()
        assert (below <= product + 1e-15 * size).all()
        assert (above >= product - 1e-15 * size).all()
        assert (least.double() <= product).all()
        assert (most.double() >= product).all()

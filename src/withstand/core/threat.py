"""The threat model: how far, in which norm, an input may be moved, and whether to a chosen class.

Shapes: `x`, `delta`, `gradient` are `(N, ...)` of any shape; norms are per sample, `(N,)`, or per token of samples of L
tokens, `(N, L, ...)`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.findings.norms import norms
from withstand.core.options import Norm as Norm
from withstand.core.part import Part
from withstand.core.random import Draws

Per = Literal["sample", "token"]


def parse_eps(text: str | float) -> float:
    """Return a radius from a number, a fraction like `"8/255"`, or `"5%"`.

    For inputs in [0, 1] this is in input units; `Victim.radius` reads it for any range.

    >>> parse_eps("8/255") == 8 / 255
    True
    """
    try:
        if isinstance(text, str) and "/" in text:
            over, under = text.split("/")
            value = float(over) / float(under)
        elif isinstance(text, str) and text.rstrip().endswith("%"):
            value = float(text.rstrip()[:-1]) / 100
        else:
            value = float(text)
    except (ValueError, TypeError, ZeroDivisionError):
        raise ConfigError(f"eps must be a number, a fraction like 8/255 or 5%, not {text!r}") from None
    if not 0 <= value < float("inf"):
        raise ConfigError(f"eps must be finite and at least 0, not {text!r}")
    return value


def show_eps(eps: float) -> str:
    """Return a radius for people: in input units, and as k/255 too where inputs may be pictures in [0, 1].

    >>> show_eps(8 / 255), show_eps(8)
    ('0.03137 (8/255)', '8')
    """
    return f"{eps:.4g} ({eps * 255:.3g}/255)" if eps < 1 else f"{eps:.4g}"


def as_rows(x: Tensor) -> Tensor:
    """Return samples `(N, ...)` as rows of entries `(N, D)`; samples of one number each have one."""
    return x.flatten(1) if x.dim() > 1 else x[:, None]


def _norm(flat: Tensor, order: int = 2) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(flat, ord=order, dim=1)
    return norm


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Return one number a sample, `(N,)`, in the shape and precision to be multiplied with `like`, `(N, ...)`."""
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class Ball(Part):
    """All inputs within `eps` of a clean one.

    Args:
        norm: "linf", "l2" or "l1"; or "l0", which counts the entries that differ, however far: each channel of a pixel
            is an entry. An l0 ball has sizes and nearest points, but no directions, and most attacks and all proofs
            refuse it.
        eps: radius in the victim's input units; of l0 a whole number.
        targeted: the attacker wants a chosen class, not just any wrong one.
        per: what the radius bounds: each "sample" as a whole, or each "token" of a sample on its own, which are the
            entries of its first axis, as a text's embeddings `(N, L, D)`. In Linf both are the same.
    """

    norm: Norm = "linf"
    eps: float = 8 / 255
    targeted: bool = False
    per: Per = "sample"

    def __post_init__(self) -> None:
        for name, allowed in (("norm", get_args(Norm)), ("per", get_args(Per))):
            if getattr(self, name) not in allowed:
                value = str(getattr(self, name))
                raise ConfigError(f"{name} {value!r} is unknown: {nearest(value, allowed)}")
        parse_eps(self.eps)
        if self.norm == "l0":
            if self.eps != int(self.eps):
                raise ConfigError(f"l0 counts entries, so eps must be a whole number, not {self.eps}")
            self.refuse_tokens("l0, which counts the entries of a whole sample,")

    def __str__(self) -> str:
        size = show_eps(self.eps) if self.norm == "linf" else f"{self.eps:.4g}"  # k/255 is how far one value may go
        return f"{norms(self.norm)} {size}{' a token' if self.per == 'token' else ''}"

    def refuse_tokens(self, who: str) -> None:
        """Refuse a ball round each token, for what has to do with whole samples alone.

        Args:
            who: an attack, say, as the message's subject.

        Raises:
            ConfigError: a ball with per="token".
        """
        if self.per == "token":
            raise ConfigError(f"{who} takes a ball round each sample as a whole: give it per='sample', not 'token'")

    def refuse_l0(self, who: str) -> None:
        """Refuse a count of entries, for what needs a norm proper.

        Args:
            who: an attack, say, as the message's subject.

        Raises:
            ConfigError: a ball in l0.
        """
        if self.norm == "l0":
            raise ConfigError(f"{who} takes norm 'linf', 'l2' or 'l1', not 'l0'")

    def apart(self, x: Tensor) -> Tensor:
        """Return what the radius bounds, one after the other: samples as they are, or all their tokens, `(N * L, ...)`.

        Raises:
            DataError: a ball round each token, and samples without an axis of them.
        """
        if self.per == "sample":
            return x
        if x.dim() < 2:
            raise DataError(f"a ball round each token needs samples of tokens, (N, L, ...), not {tuple(x.shape)}")
        return x.flatten(0, 1)

    def size(self, delta: Tensor) -> Tensor:
        """Return each perturbation's norm, `(N,)`: of a ball round each token, the largest of a sample's tokens."""
        sizes = self._sizes(self.apart(delta))
        return sizes if self.per == "sample" else sizes.view(delta.shape[:2]).amax(1)

    def _sizes(self, delta: Tensor) -> Tensor:
        if self.norm == "linf":  # axes together, not flattened: pictures in channels-last would be copied
            return delta.abs().amax(tuple(range(1, delta.dim()))) if delta.dim() > 1 else delta.abs()
        if self.norm == "l0":  # half precision cannot count far
            return (as_rows(delta) != 0).sum(1).to(torch.promote_types(delta.dtype, torch.float32))
        return _norm(as_rows(delta), 2 if self.norm == "l2" else 1)

    def project(self, delta: Tensor, radius: Tensor | None = None) -> Tensor:
        """Return the nearest perturbation (in Euclidean distance) inside the ball.

        Args:
            delta: perturbations, `(N, ...)`.
            radius: a radius for each sample, `(N,)`, in place of eps, where the ball is round samples as wholes.
        """
        eps: float | Tensor = self.eps if radius is None else per_sample(radius, delta)
        if self.norm == "linf":
            return torch.minimum(torch.maximum(delta, -eps), eps) if isinstance(eps, Tensor) else delta.clamp(-eps, eps)
        each = self.apart(delta)
        if self.norm == "l2":
            size = self._sizes(each).clamp_min(torch.finfo(delta.dtype).tiny)
            share = (self.eps if radius is None else radius.to(size)) / size
            return (each * per_sample(share.clamp_max(1), each)).view_as(delta)
        flat = as_rows(each)
        if self.norm == "l0":
            return keep_largest(flat, flat.abs(), self.eps if radius is None else radius).view_as(delta)
        return _project_l1(flat, eps if isinstance(eps, float | int) else eps.reshape(-1, 1)).view_as(delta)

    def to_surface(self, delta: Tensor) -> Tensor:
        """Return perturbations of full size in the same direction; zero where the perturbation is zero."""
        self.refuse_l0("a surface")
        tiny, each = torch.finfo(delta.dtype).tiny, self.apart(delta)
        # Scaled by the largest entry first: squares of tiny and huge ones, and eps over a tiny size, do not fit.
        unit = each / per_sample(as_rows(each).abs().amax(1).clamp_min(tiny), each)
        return (unit / per_sample(self._sizes(unit).clamp_min(tiny), each) * self.eps).view_as(delta)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the unit-norm step that raises a linear function most; zero where the gradient is zero."""
        self.refuse_l0("a direction")
        if self.norm == "linf":
            return gradient.sign()
        flat = as_rows(self.apart(gradient))
        if self.norm == "l2":
            # Scaled by the largest entry first: a float32 norm of entries near 1e-25 would be 0.
            flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
            return (flat / _norm(flat)[:, None].clamp_min(1e-12)).view_as(gradient)
        place = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter_(1, place, flat.gather(1, place).sign()).view_as(gradient)

    def sample(self, x: Tensor, draws: Draws, free: Tensor | None = None) -> Tensor:
        """Return a perturbation drawn uniformly from the ball for each of N samples, shaped like `x`.

        Linf: a uniform cube. L2 and L1: a uniform direction times U^(1/d), the exact radial law. Of a ball round each
        token, one such perturbation for each.

        Args:
            x: the samples.
            draws: each sample's own stream.
            free: which entries may change, bool shaped like `x`: the ball is theirs, and others have 0. None for all.
        """
        self.refuse_l0("a draw from a ball")
        shape = x.shape[1:]
        if self.norm == "linf":
            cube = draws.uniform(*shape, low=-self.eps, high=self.eps).to(x.dtype)
            return cube if free is None else cube * free
        open_ = None if free is None else as_rows(self.apart(free))
        if self.norm == "l2":
            flat = as_rows(self.apart(draws.normal(*shape)))
            flat = flat if open_ is None else flat * open_
            unit = flat / _norm(flat)[:, None].clamp_min(1e-12)
        else:
            # Laplace entries, normalised in L1, are uniform on the sphere of the cross-polytope.
            flat = as_rows(self.apart(draws.uniform(*shape, low=-1, high=1)))
            flat = flat.clamp_min(-1 + 2.0**-24)  # the law has no end
            laplace = flat.sign() * -torch.log1p(-flat.abs())
            laplace = laplace if open_ is None else laplace * open_
            unit = laplace / laplace.abs().sum(1, keepdim=True).clamp_min(1e-12)
        share = draws.uniform(1 if self.per == "sample" else shape[0]).view(-1, 1)
        power = 1 / unit.shape[1] if open_ is None else 1 / open_.sum(1, keepdim=True).clamp_min(1)
        radius = share.pow(power) * self.eps
        return (unit * radius).view(x.shape).to(x.dtype)


def keep_largest(flat: Tensor, weight: Tensor, count: float | Tensor) -> Tensor:
    """Return rows `(N, D)` with zeros but at the `count` places of most weight; of equal ones the first are kept.

    Args:
        flat: the rows.
        weight: how much each entry counts, `(N, D)`.
        count: how many are kept, or how many of each row, `(N,)`; fractions are rounded down.
    """
    rank = torch.empty_like(weight, dtype=torch.int64)
    order = weight.argsort(dim=1, descending=True, stable=True)
    rank.scatter_(1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order))
    kept = rank < (count.floor().view(-1, 1) if isinstance(count, Tensor) else min(count, flat.shape[1]))
    return torch.where(kept, flat, 0)


def _project_l1(flat: Tensor, eps: float | Tensor) -> Tensor:
    """Project rows onto the L1 ball by the sorting method of Duchi et al. (2008)."""
    size = flat.abs().sum(1, keepdim=True)
    ordered = flat.abs().sort(dim=1, descending=True).values
    excess = ordered.cumsum(1) - eps
    count = torch.arange(1, flat.shape[1] + 1, device=flat.device, dtype=flat.dtype)
    kept = (ordered * count > excess).sum(1, keepdim=True).clamp_min(1)
    threshold = excess.gather(1, kept - 1) / kept
    point = flat.sign() * (flat.abs() - threshold).clamp_min(0)
    # The threshold carries the rounding of a long sum: without this a picture lands up to 1e-5 eps outside.
    point *= (eps / point.abs().sum(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)).clamp_max(1)
    return torch.where(size <= eps, flat, point)

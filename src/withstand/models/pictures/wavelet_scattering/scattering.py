"""Two-dimensional wavelet scattering: fixed features that barely move when a picture is shifted or bent.

Invariant Scattering Convolution Networks (2013), with the Morlet wavelets, borders and resolutions of kymatio 0.3.
sizes: M maps of one channel, J scales, L orientations, P = 1 + L J + L^2 J (J - 1) / 2 paths, n pixels a side
differences: kymatio divides by 3.1415 where pi stands: its coefficients of order m are (pi / 3.1415)^(m + 1) larger.

Every linear step (border, Fourier transform, wavelets, subsampling, smoothing) is a product with small real matrices,
made once in float64, with the maps along the last axis. For pictures of a few dozen pixels that is several times
faster than a Fourier transform for each path, and as exact.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.models.pictures.wavelet_scattering.wavelets import cropped, low_pass, morlet_bank, smoothing

TOGETHER, COLUMNS = 16, 32
"""Maps that take a step together on a CPU, and columns of the second transforms, so that what lies between steps stays
in a core's cache."""


def path_count(scales: int, orientations: int, order: int = 2) -> int:
    """Return the number of paths, P.

    >>> path_count(2, 8), path_count(2, 16), path_count(1, 4)
    (81, 289, 5)
    """
    second = orientations**2 * scales * (scales - 1) // 2
    return 1 + scales * orientations + (second if order == 2 else 0)


class Scattering(nn.Module):
    """Scattering coefficients of order 0, 1 and 2; nothing to train, differentiable.

    Args:
        shape: (H, W) of the pictures.
        scales: J; coefficients are averages over about 2^J pixels, given every 2^J pixels.
        orientations: L.
        order: the highest, 1 or 2.

    Raises:
        ConfigError: a scale larger than the picture, or a setting out of range.
    """

    def __init__(self, shape: Sequence[int], scales: int = 2, orientations: int = 8, *, order: int = 2) -> None:
        super().__init__()
        if scales < 1 or orientations < 1 or order not in (1, 2):
            raise ConfigError(
                f"scales and orientations must be at least 1, order 1 or 2, not {scales!r}, {orientations!r}, {order!r}"
            )
        if 2**scales > min(shape):
            most = int(math.log2(min(shape))) if min(shape) > 1 else 0
            raise ConfigError(
                f"scales {scales} would average over {2**scales} pixels, more than pictures of {shape[0]} x {shape[1]} "
                f"have: use {most} or less"
            )
        self.shape, self.scales, self.orientations, self.order = tuple(shape), scales, orientations, order
        self.paths = path_count(scales, orientations, order)
        self.out = tuple(side // 2**scales for side in shape)
        self.mean, self.averages, self.first, self.second = _steps(self.shape, scales, orientations, order)

    def forward(self, x: Tensor) -> Tensor:
        """Return coefficients `(..., P, H / 2^J, W / 2^J)` of floating pictures `(..., H, W)`.

        Paths stand by order, then by scale and orientation of the first wavelet, then of the second, as kymatio's do.
        """
        if x.shape[-2:] != self.shape or not x.is_floating_point():
            raise DataError(f"scattering takes floating pictures of {self.shape}, not {x.dtype} {tuple(x.shape)}")
        # A wavelet's mean is zero by cancellation, which half precision would lose.
        with torch.autocast(x.device.type, enabled=False):
            maps = x if x.dtype == torch.float64 else x.float()
            maps = maps.reshape(-1, *self.shape).permute(1, 2, 0)
            # A graph that is exported is one of plain steps on all maps.
            here = x.device.type == "cpu" and not torch.compiler.is_compiling()
            space = _Space(here and not (x.requires_grad and torch.is_grad_enabled()))
            parts = torch.split(maps, TOGETHER, 2) if here else (maps,)
            found = [self._paths(part.contiguous(), space) for part in parts]
            return torch.cat(found).view(*x.shape[:-2], self.paths, *self.out)

    def _paths(self, maps: Tensor, space: "_Space") -> Tensor:
        """Return coefficients `(M, P, h, w)` of maps `(H, W, M)`."""
        count = maps.shape[2]
        found, later = [self.mean(maps)[:, :, None]], []
        for low in range(self.scales):
            once = self.first[low](maps, space, stays=True)  # (n, n, L, M)
            found.append(self.averages[low](once.flatten(2), space).view(*self.out, -1, count))
            some = max(1, COLUMNS // count) if space.kept else self.orientations
            for part in torch.split(once, some, 2) if self.second and self.second[low] else ():
                twice = []
                for high, bank in enumerate(self.second[low], low + 1):
                    again = self.averages[high](bank(part.flatten(2), space).flatten(2), space)
                    twice.append(again.view(*self.out, self.orientations, -1, count))
                # The first wavelet's orientation comes before the second's scale and orientation.
                later.append(torch.stack(twice, 2).permute(0, 1, 4, 2, 3, 5).flatten(2, 4))
        return torch.cat([*found, *later], 2).permute(3, 2, 0, 1)


class _Space:
    """Memory that steps write into by turns, for none to be asked of the system in each.

    Args:
        kept: whether there is any; gradients need what each step made, so they get new tensors.
    """

    def __init__(self, kept: bool) -> None:
        self.kept, self._places, self._stays = kept, [torch.empty(0), torch.empty(0)], torch.empty(0)

    def next(self, like: Tensor, *shape: int) -> Tensor | None:
        """Return where the next step's result goes: not where the last one's lies."""
        if not self.kept:
            return None
        self._places.reverse()
        self._places[0] = _enough(self._places[0], like, shape)
        return self._places[0][: math.prod(shape)].view(shape)

    def stay(self, like: Tensor, *shape: int) -> Tensor | None:
        """Return where a result goes that later steps do not write over, but the next one that stays does."""
        if not self.kept:
            return None
        self._stays = _enough(self._stays, like, shape)
        return self._stays[: math.prod(shape)].view(shape)

    def copy(self, x: Tensor) -> Tensor:
        """Return `x` contiguous."""
        place = self.next(x, *x.shape)
        return x.contiguous() if place is None else place.copy_(x)


@lru_cache(maxsize=4)
def _steps(
    shape: tuple[int, ...], scales: int, orientations: int, order: int
) -> tuple["_Average", list["_Average"], list["_Bank"], list[list["_Bank"]]]:
    """Return the averages of pictures and of maps of each scale, and the first and the second banks; networks share."""
    sides = [(side // 2**scales + 2) * 2**scales for side in shape]
    borders = [_mirror(side, wide) for side, wide in zip(shape, sides, strict=True)]
    smooth = low_pass(sides, scales)
    banks = [morlet_bank(sides, scale, orientations) for scale in range(scales)]
    return (
        _Average(smooth, 2**scales, borders),
        [_Average(cropped(smooth, 2**low), 2 ** (scales - low)) for low in range(scales)],
        [_Bank(bank, 2**scale, borders) for scale, bank in enumerate(banks)],
        [
            [_Bank(cropped(banks[high], 2**low), 2 ** (high - low)) for high in range(low + 1, scales)]
            for low in range(scales if order == 2 else 0)
        ],
    )


def _enough(place: Tensor, like: Tensor, shape: Sequence[int]) -> Tensor:
    count = math.prod(shape)
    return place if len(place) >= count and place.dtype == like.dtype else like.new_empty(count)


class _Bank:
    """Moduli of wavelet transforms: maps `(n, n, M)` to `(n / factor, n / factor, L, M)`.

    A Fourier coefficient and its mirror images stand together as real cosine and sine parts, with all frequencies that
    subsampling makes one: each such group is filtered by one small matrix.
    """

    def __init__(self, filters: Tensor, factor: int, borders: Sequence[Tensor] | None = None) -> None:
        sides = filters.shape[1:]
        axes = [_Axis(side, factor) for side in sides]
        self.filters = len(filters)
        # Each frequency's own contribution: its filter value, from its parts in the source to its parts in the target.
        moves = [axis.moves for axis in axes]
        mixed = torch.einsum("lkq,kgua,qhwb->ghuwlab", filters.to(torch.complex128), *moves)
        mixed /= sides[0] * sides[1]
        both = torch.stack([mixed.real, mixed.imag], 4)  # (g, h, u, w, real or imaginary, l, a, b)
        self.mix = _Fixed(both.flatten(6).flatten(2, 5).flatten(0, 1))
        into = [axis.into for axis in axes]
        if borders is not None:
            into = [matrix @ border for matrix, border in zip(into, borders, strict=True)]
        self.into, self.back = [_Fixed(matrix) for matrix in into], [_Fixed(axis.back) for axis in axes]
        self.groups = [axis.groups for axis in axes]

    def __call__(self, maps: Tensor, space: _Space, *, stays: bool = False) -> Tensor:
        rows, columns = self.groups
        count = maps.shape[2]
        parts = self.into[0](self.into[1](maps, space).flatten(1), space)
        parts = space.copy(parts.view(rows, len(parts) // rows, columns, -1, count).transpose(1, 2))
        parts, mix = parts.view(rows * columns, -1, count), self.mix.like(maps)
        mixed = torch.bmm(mix, parts, out=space.next(maps, *mix.shape[:2], count))
        mixed = space.copy(mixed.view(rows, columns, 2, -1).transpose(1, 2)).view(2 * rows, -1)
        waves = self.back[0](mixed, space)
        waves = self.back[1](waves.view(len(waves), 2 * columns, -1), space)
        waves = waves.view(*waves.shape[:2], 2, self.filters, -1)
        shape = (*waves.shape[:2], *waves.shape[3:])
        return _modulus(waves, space.stay(waves, *shape) if stays else space.next(waves, *shape))


class _Average:
    """Smoothing and subsampling: maps `(n, n, M)` to `(h, w, M)`, the border's own values left out."""

    def __init__(self, smooth: Tensor, factor: int, borders: Sequence[Tensor] | None = None) -> None:
        peak = smooth[0, 0].sqrt()  # a Gaussian is the product of one along each axis
        matrices = [smoothing(line / peak, factor) for line in (smooth[:, 0], smooth[0])]
        if borders is not None:
            matrices = [matrix @ border for matrix, border in zip(matrices, borders, strict=True)]
        self.rows, self.columns = map(_Fixed, matrices)

    def __call__(self, maps: Tensor, space: _Space | None = None) -> Tensor:
        return self.columns(self.rows(maps.flatten(1), space).view(-1, *maps.shape[1:]))


class _Axis:
    """Real Fourier parts along an axis of n places, grouped by the frequency that they have after subsampling.

    Frequencies are taken without their sign, and each has a cosine and a sine part, but for 0 and the highest, which
    have no sine and share a group. So both transforms are square matrices.

    Attributes:
        groups: G, half as many as the subsampled axis has places.
        into: values to parts, `(n, n)`, by group.
        back: parts of the subsampled axis to its values, `(2 G, 2 G)`.
        moves: what frequency k takes from its group's parts, and gives to its target's, complex `(n, G, 2, n / G)`.
    """

    def __init__(self, side: int, factor: int) -> None:
        short = side // factor
        half = self.groups = short // 2
        members: list[list[tuple[int, bool]]] = [[] for _ in range(half)]
        self.moves = torch.zeros(side, half, 2, side // half, dtype=torch.complex128)
        for k in range(side):
            target, source = min(k % short, -k % short), min(k, side - k)
            ends = {0: [1, 0], half: [0, 1]}
            given = torch.tensor(ends.get(target, [1, 1j if k % short < half else -1j]), dtype=torch.complex128)
            parts = {(source, False): 1, (source, True): -1j if k < side - k else 1j}
            if source in (0, side / 2):
                del parts[source, True]
            known = members[target % half]
            for part, value in parts.items():
                if part not in known:
                    known.append(part)
                self.moves[k, target % half, :, known.index(part)] = value * given
        self.into = torch.stack([_part(*part, side) for some in members for part in some])
        firsts = [(0, False), (half, False)]
        rest = [(frequency, sine) for frequency in range(1, half) for sine in (False, True)]
        self.back = torch.stack([_part(*part, short) for part in firsts + rest], 1)


class _Fixed:
    """A matrix that is kept in float64, and handed out in the type and on the device that are asked for."""

    def __init__(self, matrix: Tensor) -> None:
        self._exact, self._cast = matrix.contiguous(), matrix.contiguous()

    def __deepcopy__(self, memo: object) -> Self:
        return self  # nothing in it changes but the type that was last asked for

    def like(self, x: Tensor) -> Tensor:
        if self._cast.dtype == x.dtype and self._cast.device == x.device:
            return self._cast
        cast = self._exact.to(x.device, x.dtype)
        if not torch.compiler.is_compiling():
            self._cast = cast
        return cast

    def __call__(self, x: Tensor, space: _Space | None = None) -> Tensor:
        """Return the product with `x`, `(n, ...)` or a batch `(B, n, M)`."""
        matrix = self.like(x)
        if x.dim() == 2:
            place = None if space is None else space.next(x, len(matrix), x.shape[1])
            return torch.mm(matrix, x, out=place)
        place = None if space is None else space.next(x, len(x), len(matrix), x.shape[2])
        return torch.bmm(matrix.expand(len(x), -1, -1), x, out=place)


def _part(frequency: int, sine: bool, side: int) -> Tensor:
    """Return a cosine, or a sine, along an axis of `side` places."""
    angle = 2 * math.pi / side * (frequency * torch.arange(side) % side).double()
    return angle.sin() if sine else angle.cos()


def _mirror(side: int, wide: int) -> Tensor:
    """Return the matrix that puts a mirrored border round `side` values, `(wide, side)`."""
    place = (torch.arange(wide) - (wide - side) // 2) % (2 * (side - 1))
    return torch.eye(side, dtype=torch.float64)[torch.minimum(place, 2 * (side - 1) - place)]


def _modulus(waves: Tensor, place: Tensor | None) -> Tensor:
    """Return the modulus over axis 2, which holds real and imaginary parts; its gradient at 0 is 0."""
    if place is None:
        length: Tensor = torch.linalg.vector_norm(waves, dim=2)
        return length
    real, imaginary = waves.unbind(2)
    return torch.square(real, out=place).addcmul_(imaginary, imaginary).sqrt_()

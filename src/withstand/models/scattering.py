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

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.models.wavelets import cropped, low_pass, morlet_bank

TOGETHER, COLUMNS = 8, 32
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
        sides = [(side // 2**scales + 2) * 2**scales for side in shape]
        borders = [_mirror(side, wide) for side, wide in zip(shape, sides, strict=True)]
        smooth = low_pass(sides, scales)
        banks = [morlet_bank(sides, scale, orientations) for scale in range(scales)]
        self.mean = _Average(smooth, 2**scales, borders)
        self.averages = [_Average(cropped(smooth, 2**low), 2 ** (scales - low)) for low in range(scales)]
        self.first = [_Bank(bank, 2**scale, borders) for scale, bank in enumerate(banks)]
        self.second = [
            [_Bank(cropped(banks[high], 2**low), 2 ** (high - low)) for high in range(low + 1, scales)]
            for low in range(scales if order == 2 else 0)
        ]

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
            once = self.first[low](maps, space)  # (n, n, L, M)
            if space.kept:
                once = once.clone()  # what comes next writes where it lies
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
        self.kept, self._places = kept, [torch.empty(0), torch.empty(0)]

    def next(self, like: Tensor, *shape: int) -> Tensor | None:
        """Return where the next step's result goes: not where the last one's lies."""
        if not self.kept:
            return None
        self._places.reverse()
        count = math.prod(shape)
        if len(self._places[0]) < count or self._places[0].dtype != like.dtype:
            self._places[0] = like.new_empty(count)
        return self._places[0][:count].view(shape)

    def copy(self, x: Tensor) -> Tensor:
        """Return `x` contiguous."""
        place = self.next(x, *x.shape)
        return x.contiguous() if place is None else place.copy_(x)


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
        mixed = torch.einsum("lkq,kguav,qhwbz->ghuwlavbz", filters.to(torch.complex128), *moves)
        mixed /= sides[0] * sides[1]
        both = torch.stack([mixed.real, mixed.imag], 4)  # (g, h, u, w, part, l, a, v, b, z)
        self.mix = _Fixed(both.flatten(6).flatten(2, 5).flatten(0, 1))
        into = [axis.into for axis in axes]
        if borders is not None:
            into = [matrix @ border for matrix, border in zip(into, borders, strict=True)]
        self.into, self.back = [_Fixed(matrix) for matrix in into], [_Fixed(axis.back) for axis in axes]
        self.groups = [axis.groups for axis in axes]

    def __call__(self, maps: Tensor, space: _Space) -> Tensor:
        rows, columns = self.groups
        count = maps.shape[2]
        parts = self.into[0](self.into[1](maps, space).flatten(1), space)
        parts = space.copy(parts.view(rows, len(parts) // rows, columns, -1, count).transpose(1, 2))
        parts, mix = parts.view(rows * columns, -1, count), self.mix.like(maps)
        mixed = torch.bmm(mix, parts, out=space.next(maps, *mix.shape[:2], count))
        mixed = space.copy(mixed.view(rows, columns, 2, -1).transpose(1, 2)).view(2 * rows, -1)
        waves = self.back[0](mixed, space)
        waves = self.back[1](waves.view(len(waves), 2 * columns, -1), space)
        return _modulus(waves.view(*waves.shape[:2], 2, self.filters, -1), space)


class _Average:
    """Smoothing and subsampling: maps `(n, n, M)` to `(h, w, M)`, the border's own values left out."""

    def __init__(self, smooth: Tensor, factor: int, borders: Sequence[Tensor] | None = None) -> None:
        peak = smooth[0, 0].sqrt()  # a Gaussian is the product of one along each axis
        matrices = [_smoothing(line / peak, factor) for line in (smooth[:, 0], smooth[0])]
        if borders is not None:
            matrices = [matrix @ border for matrix, border in zip(matrices, borders, strict=True)]
        self.rows, self.columns = map(_Fixed, matrices)

    def __call__(self, maps: Tensor, space: _Space | None = None) -> Tensor:
        return self.columns(self.rows(maps.flatten(1), space).view(-1, *maps.shape[1:]))


class _Axis:
    """Real Fourier parts along an axis of n places, grouped by the frequency that they have after subsampling.

    Attributes:
        groups: G, how many frequencies the subsampled axis tells apart, sign aside.
        into: values to parts, `(G * factor * 2, n)`: by group, by frequency in it, cosine and sine.
        back: parts of the subsampled axis to its values, `(n / factor, 2 G)`.
        moves: what frequency k takes from its parts, and gives to its target's, complex `(n, G, 2, factor, 2)`.
    """

    def __init__(self, side: int, factor: int) -> None:
        short = side // factor
        self.groups = short // 2 + 1
        members: list[list[int]] = [[] for _ in range(self.groups)]
        self.moves = torch.zeros(side, self.groups, 2, factor, 2, dtype=torch.complex128)
        for k in range(side):
            target, source = k % short, min(k, side - k)
            group, sign = (target, 1) if target <= short // 2 else (short - target, -1)
            if source not in members[group]:
                members[group].append(source)
            turn = torch.tensor([1, -1j * (1 if k <= side // 2 else -1)], dtype=torch.complex128)
            given = torch.tensor([1, 1j * sign], dtype=torch.complex128)
            self.moves[k, group, :, members[group].index(source)] = given[:, None] * turn
        listed = torch.tensor([(some + [0] * factor)[:factor] for some in members])  # what fills up is moved nowhere
        self.into = _parts(listed.flatten(), side)
        self.back = _parts(torch.arange(self.groups), short).T.contiguous()


class _Fixed:
    """A matrix that is kept in float64, and handed out in the type and on the device that are asked for."""

    def __init__(self, matrix: Tensor) -> None:
        self._exact, self._cast = matrix.contiguous(), matrix.contiguous()

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


def _parts(frequencies: Tensor, side: int) -> Tensor:
    """Return cosine and sine by turns for each frequency, `(2 * frequencies, side)`."""
    angle = 2 * math.pi / side * (frequencies[:, None] * torch.arange(side) % side).double()
    return torch.stack([angle.cos(), angle.sin()], 1).flatten(0, 1)


def _smoothing(line: Tensor, factor: int) -> Tensor:
    """Return the matrix that filters by `line` (in the Fourier domain), subsamples, and leaves both ends out."""
    side = len(line)
    spread: Tensor = torch.fft.ifft(line)
    kernel = spread.real
    places = torch.arange(1, side // factor - 1) * factor
    return kernel[(places[:, None] - torch.arange(side)) % side]


def _mirror(side: int, wide: int) -> Tensor:
    """Return the matrix that puts a mirrored border round `side` values, `(wide, side)`."""
    place = (torch.arange(wide) - (wide - side) // 2) % (2 * (side - 1))
    return torch.eye(side, dtype=torch.float64)[torch.minimum(place, 2 * (side - 1) - place)]


def _modulus(waves: Tensor, space: _Space) -> Tensor:
    """Return the modulus over axis 2, which holds real and imaginary parts; its gradient at 0 is 0."""
    if not space.kept:
        length: Tensor = torch.linalg.vector_norm(waves, dim=2)
        return length
    real, imaginary = waves.unbind(2)
    place = space.next(waves, *real.shape)
    return torch.square(real, out=place).addcmul_(imaginary, imaginary).sqrt_()

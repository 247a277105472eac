"""What the common corruptions are made of: linear filters along an axis, resampling, and fractal textures.

Shapes: pictures `(N, C, H, W)`, layers `(N, 1, H, W)`, values per sample `(N,)`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.random import Draws


def along_axes(x: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
    """Apply a matrix to the columns `(H', H)` and one to the rows `(W', W)` of each picture."""
    return tall @ x @ wide.mT


def gaussian_matrix(side: int, sigma: float, truncate: float, *, mirrored: bool) -> Tensor:
    """Return the matrix `(side, side)` of a Gaussian cut off at `truncate` sigmas.

    Args:
        side: pixels.
        sigma: standard deviation in pixels.
        truncate: sigmas.
        mirrored: beyond the border the line is mirrored, its last pixel doubled; otherwise that pixel goes on.
    """
    reach = int(truncate * sigma + 0.5)
    taps = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (taps / max(sigma, 1e-6)) ** 2)
    places = torch.arange(side)[:, None] + taps
    places = mirror(places, side) if mirrored else places.clamp(0, side - 1)
    return torch.zeros(side, side).scatter_add_(1, places, (weights / weights.sum()).expand(side, -1))


def box_matrix(side: int, out: int) -> Tensor:
    """Return the matrix `(out, side)` that averages the pixels whose middles lie in each new pixel."""
    scale = side / out
    middle = (torch.arange(out)[:, None] + 0.5) * scale
    offset = (torch.arange(side) - middle + 0.5) / max(scale, 1.0)
    weights = ((offset > -0.5) & (offset <= 0.5)).float()
    return weights / weights.sum(1, keepdim=True)


def mirror(places: Tensor, side: int) -> Tensor:
    """Return whole places folded into a line: ... 1 0 | 0 1 2 | 2 1 ..."""
    places = places.remainder(2 * side)
    return torch.minimum(places, 2 * side - 1 - places)


def reflect(places: Tensor, side: int) -> Tensor:
    """Return whole places folded into a line about its end pixels: ... 2 1 | 0 1 2 | 1 0 ..."""
    places = places.remainder(max(2 * side - 2, 1))
    return torch.minimum(places, 2 * side - 2 - places).clamp_min(0)


def pick_pixels(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return each picture's pixels at whole places `(N, H', W')` inside it."""
    place = (row * x.shape[3] + column).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, place).view(*x.shape[:2], *row.shape[1:])


def sample(x: Tensor, row: Tensor, column: Tensor, *, mirrored: bool) -> Tensor:
    """Return each picture bilinearly at places `(N, H', W')`; `mirrored` as in `mirror`, otherwise as in `reflect`."""
    fold = mirror if mirrored else reflect
    top, left = row.floor(), column.floor()
    down, right = (row - top)[:, None], (column - left)[:, None]
    rows = [fold(top.long() + step, x.shape[2]) for step in (0, 1)]
    columns = [fold(left.long() + step, x.shape[3]) for step in (0, 1)]
    upper, lower = (torch.lerp(pick_pixels(x, r, columns[0]), pick_pixels(x, r, columns[1]), right) for r in rows)
    return torch.lerp(upper, lower, down)


def disk_blur(x: Tensor, radius: float, soft: float) -> Tensor:
    """Blur by a disk, whose edge is softened by a 3 x 3 Gaussian; borders are reflected."""
    reach = math.ceil(radius) + 1
    line = torch.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).float()
    edge = torch.exp(-0.5 * (torch.arange(-1, 2) / soft) ** 2)
    edge = edge / edge.sum()
    kernel = F.conv2d(disk[None, None] / disk.sum(), (edge[:, None] * edge)[None, None], padding=1)
    row, column = (reflect(torch.arange(-reach, side + reach), side).to(x.device) for side in x.shape[2:])
    padded = x[:, :, row][:, :, :, column].flatten(0, 1)[:, None]
    return F.conv2d(padded, kernel.to(x)).view(x.shape)


def motion_blur(x: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    """Blur along a direction of each sample's own, to one side, as ImageMagick does.

    Args:
        x: pictures.
        radius: the filter has 2 * radius + 1 taps.
        sigma: standard deviation of the half Gaussian in pixels.
        degrees: direction, `(N,)`.
    """
    taps = 2 * radius + 1
    weights = torch.exp(-0.5 * (torch.arange(taps) / sigma) ** 2)
    weights = weights / weights.sum()
    angle = degrees * (math.pi / 180)
    height, width = x.shape[2:]
    row, column = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
    out = torch.zeros_like(x)
    for tap, weight in enumerate(weights.tolist()):
        if weight < 1e-6:  # a two-hundredth of a level
            break
        down = (tap * angle.sin() - 0.5).ceil().long()[:, None, None]
        right = (tap * angle.cos() - 0.5).ceil().long()[:, None, None]
        rows = (row + down).clamp(0, height - 1).expand(-1, -1, width)
        columns = (column + right).clamp(0, width - 1).expand(-1, height, -1)
        out.add_(pick_pixels(x, rows, columns), alpha=weight)
    return out


def zoom(x: Tensor, factor: float) -> Tensor:
    """Return the middle of each picture, enlarged bilinearly to the picture's size."""
    height, width = x.shape[2:]
    cut = [math.ceil(side / factor) for side in (height, width)]
    large = [max(round(side * factor), whole) for side, whole in zip(cut, (height, width), strict=True)]
    top, left = (height - cut[0]) // 2, (width - cut[1]) // 2
    middle = x[:, :, top : top + cut[0], left : left + cut[1]]
    middle = F.interpolate(middle, size=large, mode="bilinear", align_corners=True)
    top, left = (large[0] - height) // 2, (large[1] - width) // 2
    return middle[:, :, top : top + height, left : left + width]


def plasma(height: int, width: int, decay: float, draws: Draws) -> Tensor:
    """Return clouds in [0, 1], `(N, 1, H, W)`, by the diamond-square rule; a larger decay is smoother."""
    side = 1 << max(math.ceil(math.log2(max(height, width))), 1)
    field = torch.zeros(len(draws), side, side, device=draws.device)
    step, wobble = side, 100.0
    while step >= 2:
        half, count = step // 2, side // step

        def noise(count: int = count, wobble: float = wobble) -> Tensor:
            return draws.uniform(count, count, low=-1.0, high=1.0) * wobble**2

        corners = field[:, ::step, ::step]
        across = corners + corners.roll(-1, 1)
        field[:, half::step, half::step] = (across + across.roll(-1, 2)) / 4 + noise()
        middles = field[:, half::step, half::step]
        above = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        field[:, ::step, half::step] = above / 4 + noise()
        beside = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        field[:, half::step, ::step] = beside / 4 + noise()
        step, wobble = half, wobble / decay
    low, high = field.flatten(1).aminmax(dim=1)
    span = (high - low).clamp_min(1e-12)[:, None, None]
    return ((field - low[:, None, None]) / span)[:, None, :height, :width]

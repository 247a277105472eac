"""RAW frames as a source: tiles of the pictures that they render to, with packed RAW beside."""

from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.files import printable
from withstand.core.roles import Indices, Source
from withstand.data.pictures.raw.raw_files import Recorded, read_frames
from withstand.data.shared.digest import as_indices
from withstand.models.restoration.bayer import COLORS, Interpolation, Pattern, demosaic, known_pattern, packed
from withstand.models.restoration.camera import Camera, Matrix, process

RAW = "raw"
"""The extra that holds packed RAW `(B, 4, S/2, S/2)` in [0, 1] of the pictures."""
_BRIGHTEST = 0.99


class RawFrames(Source):
    """Squares of frames that a Bayer sensor recorded, beside each other, none of them twice.

    `x` holds the pictures `(3, S, S)` in bytes that one camera's pipeline makes of them, `extras["raw"]` the recorded
    values between black and white, packed. A frame's last row or column is left out where there is an odd number.

    Args:
        data: an `.npz` or `.npy` file of frames `(H, W)`, a DNG or another camera's file (rawpy), or one frame.
        pattern: of the upper left 2 x 2 pixels; None for what the file says.
        black: what is recorded without light; None for what the file says.
        white: what is recorded at most; None for what the file says.
        frame: the name of one frame in an `.npz` file; None for all, which are taken for one camera's.
        tile: S, even.
        way: of demosaicing.

    Attributes:
        camera: the pipeline: the file's white balance and color matrix where it has them; else means of all colors are
            made equal, and colors stay as they are. The brightest hundredth becomes white, and what is saturated.

    Raises:
        ConfigError: a tile that is odd or too small, or an unknown pattern.
        DataError: a pattern or levels that nobody says, levels that do not fit, or no frame as large as a tile.
        MissingExtra: a camera's file, without rawpy.
    """

    kind = "picture"

    def __init__(
        self,
        data: str | Path | npt.NDArray[Any],
        *,
        pattern: Pattern | None = None,
        black: float | None = None,
        white: float | None = None,
        frame: str | None = None,
        tile: int = 64,
        way: Interpolation = "malvar",
    ) -> None:
        if tile < 4 or tile % 2:
            raise ConfigError(f"tile must be even and at least 4, not {tile!r}: a Bayer pattern has 2 x 2 pixels")
        if isinstance(data, str | Path):
            path = Path(data).expanduser()
            self.name, self.origin = printable(path.stem), f"RAW frames of {printable(str(data))}"
            told = read_frames(path, frame)
        elif frame is not None:
            raise ConfigError(f"frame {frame!r} names one of a file's: an array is a frame")
        else:
            told = Recorded({"frame": _plane(data)})
        self.pattern = known_pattern(_said("pattern", pattern, told.pattern, told))
        low = _said("black", None if black is None else (float(black),) * 4, told.black, told)
        high = _said("white", None if white is None else float(white), told.white, told)
        raws = {name: _between(values, name, low, high) for name, values in told.frames.items()}
        self.camera = _camera(raws, self.pattern, told)
        tiles: list[Tensor] = []
        pictures: list[Tensor] = []
        left = []
        for name, raw in raws.items():
            if min(raw.shape[2:]) < tile:
                left.append((name, f"smaller than a tile of {tile} x {tile}"))
                continue
            made = process(demosaic(raw, self.pattern, way), self.camera.colors())
            pictures.append(_squares(made.mul(255).round_().to(torch.uint8), tile))
            tiles.append(_squares(raw, tile))
        if not tiles:
            sizes = ", ".join(f"{raw.shape[2]} x {raw.shape[3]}" for raw in raws.values())
            raise DataError(f"no RAW frame of {self.name} is as large as a tile of {tile} x {tile}: {sizes}")
        self.skipped = tuple(left)
        self._x, self._raw = torch.cat(pictures), packed(torch.cat(tiles))

    @classmethod
    def example(cls) -> Self:
        frame = np.random.default_rng(0).integers(64, 1024, (17, 24)).astype(np.uint16)
        return cls(frame, pattern="GRBG", black=64, white=1023, tile=8)

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return Batch(self._x[chosen], chosen, extras={RAW: self._raw[chosen]})

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._x.shape[1:])

    def fingerprint(self) -> str:
        state = blake2b(repr((self.pattern, tuple(self._raw.shape))).encode(), digest_size=16)
        for part in (self._x, self._raw):
            state.update(part.contiguous().numpy().data.cast("B"))
        return state.hexdigest()


def _said(name: str, given: Any, told: Any, recorded: Recorded) -> Any:
    if given is not None:
        return given
    if told is not None:
        return told
    least = min(float(values.min()) for values in recorded.frames.values())
    most = max(float(values.max()) for values in recorded.frames.values())
    advice = {
        "pattern": "say which, RGGB, BGGR, GRBG or GBRG: a wrong one gives wrong colors",
        "black": f"say what the sensor records without light; the least value here is {least:g}",
        "white": f"say what it records at most, as 1023 or 16383; the largest value here is {most:g}",
    }
    raise DataError(f"{name} is not known of these RAW frames: {advice[name]}")


def _plane(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise DataError(f"a RAW frame is one plane (H, W) of numbers, not {values.dtype} of shape {values.shape}")
    return values


def _between(values: npt.NDArray[Any], name: str, low: tuple[float, ...], high: float) -> Tensor:
    """Return a frame `(1, 1, H, W)` as shares of the way from black to white, with even sides."""
    if not all(np.isfinite(low)) or not max(low) < high < float("inf"):
        raise DataError(f"black must lie below white, not {max(low):g} and {high:g}")
    x = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    x = x[: len(x) // 2 * 2, : x.shape[1] // 2 * 2]
    if not bool(x.isfinite().all()) or min(x.shape) < 2:
        raise DataError(f"RAW frame {name!r} of shape {values.shape} holds NaN, infinity or too little")
    dark = torch.tensor(low).view(2, 2).repeat(x.shape[0] // 2, x.shape[1] // 2)
    share = (x - dark) / (high - dark)
    for end, outside in (("black", share < 0), ("white", share > 1)):
        if float(outside.float().mean()) > 0.5:
            raise DataError(
                f"most values of RAW frame {name!r} lie beyond {end}: they run from {x.min():g} to {x.max():g}, and "
                f"black is {max(low):g}, white {high:g}"
            )
    return share.clamp_(0, 1)[None, None]


def _camera(raws: dict[str, Tensor], pattern: Pattern, told: Recorded) -> Camera:
    """Return the pipeline of these frames."""
    places = [packed(raw)[0].flatten(1).double() for raw in raws.values()]
    values = torch.cat(places, 1)
    means = torch.stack(
        [values[[at for at, one in enumerate(pattern) if one == color]].mean() for color in COLORS]
    ).clamp_min(1e-6)
    red, blue = told.balance or (float(means[1] / means[0]), float(means[1] / means[2]))
    gains = torch.tensor([{"R": red, "G": 1.0, "B": blue}[color] for color in pattern], dtype=torch.float64)
    balanced = (values * gains[:, None]).flatten()
    bright = float(balanced.kthvalue(max(1, round(_BRIGHTEST * len(balanced)))).values)
    matrix: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    if told.srgb_to_camera is not None:
        first, second, third = ((float(a), float(b), float(c)) for a, b, c in told.srgb_to_camera)
        matrix = (first, second, third)
    # Not so dark that a color which the sensor could not tell from brighter ones stays below white.
    return Camera(red, blue, max(1 / max(bright, 1e-3), 1 / min(red, 1.0, blue)), matrix)


def _squares(x: Tensor, side: int) -> Tensor:
    """Return the squares `(N, C, side, side)` of a picture `(1, C, H, W)`, row by row."""
    rows, columns = x.shape[2] // side, x.shape[3] // side
    cut = x[0, :, : rows * side, : columns * side].reshape(-1, rows, side, columns, side)
    return cut.permute(1, 3, 0, 2, 4).flatten(0, 1).contiguous()

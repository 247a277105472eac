"""What methods share that hide patches of pictures."""

from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Source
from withstand.models.pictures.patches import TokenEncoder, with_patches


def values_of_a_patch(encoder: TokenEncoder, ratio: float, normalise: bool) -> int:
    """Return how many numbers a patch holds, P*P*C.

    Raises:
        ConfigError: the encoder reads no patches, `ratio` is no share, or a patch's one number cannot be normalised.
    """
    values = with_patches(encoder).patch ** 2 * encoder.channels
    if not 0 < ratio < 1:
        raise ConfigError(f"ratio, the share of the patches that is hidden, must lie inside (0, 1), not {ratio!r}")
    if normalise and values < 2:
        raise ConfigError("normalise needs patches of two values or more, not of one: hand over normalise=False")
    return values


def one_view(batch: Batch) -> Tensor:
    """Return view 0 of a batch, its samples where there are no views."""
    return batch.views[0] if batch.views else batch.x


def accept_pictures(name: str, source: Source) -> None:
    """Refuse what holds no pictures.

    Raises:
        DataError: samples are not (C, H, W).
    """
    if len(source.shape) != 3:
        raise DataError(f"{name} learns from pictures (C, H, W), not from samples of shape {source.shape}")

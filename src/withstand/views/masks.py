"""Which patches of a picture are hidden: drawn for each picture on its own, as many in one as in another.

What is hidden may hang on what a network says of the picture, so that it is the methods that draw masks, by
`Batch.draws`, and hand them on as indices: the patches that are seen and those that are hidden, in any order. A view
that spoils pixels by itself says where in `Batch.extras`.

Sizes: `B` pictures, `L` patches, of which `M` = L - int(L (1 - ratio)) are hidden and `K` are seen.
"""

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import Draws


def hidden_count(patches: int, ratio: float) -> int:
    """Return M, as MAE's code counts: L - int(L (1 - ratio)), in the arithmetic of floats.

    Raises:
        ConfigError: `ratio` is no share, or leaves nothing to see or nothing to hide.
    """
    if not 0 < ratio < 1:
        raise ConfigError(f"ratio, the share of the patches that is hidden, must lie inside (0, 1), not {ratio!r}")
    seen = int(patches * (1 - ratio))
    if not 0 < seen < patches:
        raise ConfigError(
            f"ratio {ratio!r} would leave {seen} of {patches} patches to see, and at least one must be seen and one "
            "hidden"
        )
    return patches - seen


def random_masks(draws: Draws, patches: int, ratio: float) -> tuple[Tensor, Tensor]:
    """Return what is seen, int64 `(B, K)`, and what is hidden, `(B, M)`: every choice of M of L is as likely.

    Raises:
        ConfigError: a ratio that does not fit; see `hidden_count`.
    """
    count = hidden_count(patches, ratio)
    order = draws.permutations(patches)
    return order[:, count:], order[:, :count]


def guided_masks(draws: Draws, scores: Tensor, ratio: float, hard: int) -> tuple[Tensor, Tensor]:
    """Return what is seen, int64 `(B, K)`, and what is hidden, `(B, M)`: the highest scores, the rest by chance.

    Args:
        draws: each picture's own stream.
        scores: of the patches, `(B, L)`.
        ratio: share that is hidden.
        hard: how many of the hidden patches are those with the highest scores, at most M; 0 for `random_masks`.

    Raises:
        ConfigError: a ratio or a number that does not fit.
    """
    patches = scores.shape[1]
    count = hidden_count(patches, ratio)
    if not 0 <= hard <= count:
        raise ConfigError(f"hard must lie in [0, {count}], the number of hidden patches, not {hard!r}")
    if not hard:
        return random_masks(draws, patches, ratio)
    ranked = scores.argsort(dim=1, descending=True, stable=True)
    rest = ranked[:, hard:].gather(1, draws.permutations(patches - hard))
    return rest[:, count - hard :], torch.cat([ranked[:, :hard], rest[:, : count - hard]], 1)

"""The choice of some of a sample's tokens."""

from torch import Tensor


def pick(tokens: Tensor, places: Tensor) -> Tensor:
    """Return the tokens at the places: `(B, n, W)` of tokens `(B, S, W)` and places `(B, n)`, int64."""
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))

"""A stack of post-norm Transformer layers, for few tokens a sample.

Sizes: `B` samples, `T` tokens, `H` width, `A` attention heads.
"""

from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from withstand.core.errors import ConfigError
from withstand.models.tables.attention import attend


class TransformerLayer(nn.Module):
    """Attention, residual, LayerNorm, perceptron with ReLU, residual, LayerNorm (Vaswani et al., 2017).

    Args:
        hidden: H.
        heads: A, a divisor of H.
        feedforward: the perceptron's width.
        dropout: after attention and perceptron, inside the perceptron, and on attention's weights.
    """

    def __init__(self, hidden: int, heads: int, feedforward: int, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or hidden % heads:
            raise ConfigError(f"heads must divide the width {hidden}, not {heads}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), not {dropout!r}")
        self.heads, self.dropout = heads, dropout
        self.into, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, feedforward), nn.Linear(feedforward, hidden)
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(self, x: Tensor, keep: int | None = None) -> Tensor:
        """Return tokens `(B, T, H)` of tokens `(B, T, H)`; with `keep`, only the last `keep` of them."""
        asked = x if keep is None else x[:, -keep:]
        # Tokens lie one under another: what a linear map gives is then its own tensor, and can be changed in place.
        flat = asked.reshape(-1, x.shape[2])
        flat = self.norm1(self._drop(self._attend(asked, x)).add_(flat))
        out: Tensor = self.norm2(self._drop(self.down(self._drop(self.up(flat).relu_()))).add_(flat))
        return out.view_as(asked)

    def _attend(self, asked: Tensor, whole: Tensor) -> Tensor:
        """Return `(B T, H)`."""
        width = whole.shape[2]
        weight, bias = self.into.weight, self.into.bias
        query, pairs = linear(asked, weight[:width], bias[:width]), linear(whole, weight[width:], bias[width:])
        seen = attend(query, pairs, self.heads, self.dropout if self.training else 0.0)
        out: Tensor = self.out(seen.flatten(0, 1))
        return out

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training) if self.dropout else x


def stack(layers: int, hidden: int, heads: int, feedforward: int, dropout: float = 0.0) -> nn.Sequential:
    """Return `layers` Transformer layers; weights by a normal law of standard deviation 0.02, biases 0."""
    if layers < 1:
        raise ConfigError(f"layers must be at least 1, not {layers}")
    return nn.Sequential(*(begun(TransformerLayer(hidden, heads, feedforward, dropout)) for _ in range(layers)))


def closing(hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """Return what T-JEPA's stacks end with: LayerNorm, a linear map, LayerNorm, dropout before both norms."""
    drop = nn.Dropout(dropout)
    return nn.Sequential(drop, nn.LayerNorm(hidden), begun(nn.Linear(hidden, hidden)), drop, nn.LayerNorm(hidden))


def begun(module: nn.Module) -> nn.Module:
    """Draw the weights of every linear layer from a truncated normal law (0.02), set biases to 0; in place."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.trunc_normal_(child.weight, std=0.02)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
    return module

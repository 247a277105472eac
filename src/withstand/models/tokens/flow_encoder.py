"""netFound's network: tokens look at one another inside each burst, and bursts inside each flow.

Sizes: `B` flows, `N` bursts, `L` tokens of a burst, `R` bursts of all flows together, `H` width, `V` ids.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from withstand.core.errors import ConfigError
from withstand.core.roles import Model
from withstand.data.flows.container import CLS, MASK, METADATA, PAD, VALUES, VOCABULARY, FlowBatch
from withstand.data.flows.table import PROTOCOLS
from withstand.models.tokens.rotary import RotaryLayer

INNER = 1024
"""Inner width of the network that reads a burst's metadata."""


class AttentivePooling(nn.Module):
    """A weighted mean of bursts, the weights a softmax of tanh(v · (W x + c)); bursts that are not there have none.

    Args:
        hidden: H.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.map, self.score = nn.Linear(hidden, hidden), nn.Linear(hidden, 1, bias=False)

    def forward(self, bursts: Tensor, real: Tensor) -> Tensor:
        """Return `(B, H)` of bursts `(B, N, H)`, of which `real`, bool `(B, N)`, are there."""
        scores = torch.tanh(self.score(self.map(bursts))).squeeze(-1).masked_fill(~real, -torch.inf)
        weights = scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(1).to(bursts.dtype)
        return (weights[..., None] * bursts).sum(1)


class FlowLayer(nn.Module):
    """A layer inside bursts, and one over the bursts' first tokens, whose output takes their place."""

    def __init__(self, hidden: int, heads: int, feedforward: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.inside = RotaryLayer(hidden, heads, feedforward, dropout)
        self.over = RotaryLayer(hidden, heads, feedforward, dropout)

    def forward(self, x: Tensor, own: Tensor | None, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens `(R, L, H)` and bursts `(B, N, H)`, of tokens `(R, L, H)`."""
        x = self.inside(x, own)
        bursts = x.new_zeros(*real.shape, x.shape[2]).masked_scatter(real[..., None], x[:, 0])
        bursts = self.over(bursts, real)
        return torch.cat([bursts[real][:, None], x[:, 1:]], 1), bursts


class FlowEncoder(Model):
    """The hierarchical transformer of netFound (Guthula et al., 2023).

    A burst's metadata and the flow's protocol are added to every token of the burst, in one linear map of the three.
    Bursts that pad a batch are not computed.

    Args:
        hidden: H, the width of tokens and features.
        layers: each one inside bursts and one over them.
        heads: attention heads.
        feedforward: inner width of the perceptrons; one and a half times `hidden` if None.
        dropout: in every layer and on the embedded tokens.
        vocabulary: token ids that have a row of their own, from 1 to 65,536; all others share one. None for the
            published table, in which every id has one.
        metadata: read the bursts' metadata; else the bursts' tokens alone.
        log_gaps: read log(1 + ms) in place of the milliseconds between bursts, which may be millions.
    """

    def __init__(
        self,
        hidden: int = 768,
        layers: int = 12,
        heads: int = 12,
        *,
        feedforward: int | None = None,
        dropout: float = 0.1,
        vocabulary: Sequence[int] | None = None,
        metadata: bool = True,
        log_gaps: bool = False,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"layers must be at least 1, not {layers}")
        self.width, self.metadata, self.log_gaps = hidden, metadata, log_gaps
        self._number(vocabulary)
        self.word = nn.Embedding(self.size, hidden, padding_idx=PAD)
        self.protocols = nn.Embedding(len(PROTOCOLS), hidden)
        if metadata:
            self.meta1, self.meta2 = nn.Linear(len(METADATA), INNER), nn.Linear(INNER, hidden)
        self.fuse = nn.Linear(3 * hidden, hidden)
        self.norm, self.drop = nn.LayerNorm(hidden, eps=1e-12), nn.Dropout(dropout)
        wide = hidden * 3 // 2 if feedforward is None else feedforward
        self.layers = nn.ModuleList(FlowLayer(hidden, heads, wide, dropout) for _ in range(layers))
        self.pooling = AttentivePooling(hidden)
        self.apply(begun)

    @classmethod
    def example(cls) -> Self:
        return cls(12, 2, 2, dropout=0.0, vocabulary=(1, 2, 3, 17, 21, 41, 53, 65, 129))

    def _number(self, vocabulary: Sequence[int] | None) -> None:
        """Settle which row each token id has: `size` rows, the mask's, and those that stand for a value."""
        rows, known = torch.arange(VOCABULARY), sorted(set(vocabulary or ()))
        if vocabulary is None:
            self.size, self.mask_row, self.values = VOCABULARY, MASK, (1, VALUES)
        else:
            if not known or not 1 <= known[0] <= known[-1] <= VALUES:
                raise ConfigError(f"a vocabulary holds token ids from 1 to {VALUES}, at least one")
            count = len(known)
            rows = torch.full((VOCABULARY,), count + 1)
            rows[PAD], rows[CLS], rows[MASK] = PAD, count + 2, count + 3
            rows[torch.tensor(known)] = torch.arange(1, count + 1)
            self.size, self.mask_row, self.values = count + 4, count + 3, (1, count)
        self.rows: Tensor
        self.register_buffer("rows", rows, persistent=False)
        ids = torch.full((self.size + 1,), -1)
        low, high = self.values
        ids[low : high + 1] = torch.tensor(known) if vocabulary is not None else torch.arange(low, high + 1)
        self.ids: Tensor
        self.register_buffer("ids", ids[: self.size], persistent=False)
        numbers = torch.full((max(PROTOCOLS) + 1,), -1)
        numbers[torch.tensor(list(PROTOCOLS))] = torch.arange(len(PROTOCOLS))
        self.numbers: Tensor
        self.register_buffer("numbers", numbers, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, H)` of flows."""
        flows = FlowBatch.of(x)
        _, bursts = self.encode(self.codes(flows.tokens), flows.metadata, flows.protocol)
        return self.pool(bursts, flows.real)

    def codes(self, tokens: Tensor) -> Tensor:
        """Return the row of each token id, as `tokens`."""
        return self.rows[tokens]

    def pool(self, bursts: Tensor, real: Tensor) -> Tensor:
        """Return features `(B, H)` of bursts `(B, N, H)`, of which `real`, bool `(B, N)`, are there."""
        found: Tensor = self.pooling(bursts, real)
        return found

    def encode(self, codes: Tensor, metadata: Tensor, protocol: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of all bursts, `(R, L, H)`, flow after flow, and the bursts, `(B, N, H)`.

        Args:
            codes: rows of tokens, `(B, N, L)`, 0 for padding.
            metadata: `(B, N, 4)`.
            protocol: `(B,)`.
        """
        real = codes[:, :, 0] != PAD
        x = self.embedded(codes[real], metadata[real], self.numbers[protocol][:, None].expand_as(real)[real])
        own = codes[real] != PAD
        mask = None if bool(own.all()) else own
        bursts = x
        for layer in self.layers:
            x, bursts = layer(x, mask, real)
        return x, bursts

    def embedded(self, codes: Tensor, metadata: Tensor, protocol: Tensor) -> Tensor:
        """Return tokens `(R, L, H)` of codes `(R, L)`, metadata `(R, 4)` and numbers of protocols `(R,)`."""
        words, whole, kind = self.fuse.weight.chunk(3, 1)
        # What is the same for all tokens of a burst is mapped once: sums of three maps are the map of all three.
        around = linear(self.protocols(protocol), kind, self.fuse.bias)
        if self.metadata:
            around = around + linear(self.meta2(gelu(self.meta1(self.scaled(metadata)))), whole)
        found: Tensor = self.drop(self.norm(linear(self.word(codes), words) + around[:, None]))
        return found

    def scaled(self, metadata: Tensor) -> Tensor:
        """Return metadata as the network reads them: direction, kilobytes, packets, milliseconds."""
        direction, size, count, gap = metadata.to(self.fuse.weight.dtype).unbind(-1)
        return torch.stack([direction, size / 1000, count, gap.log1p() if self.log_gaps else gap], -1)


def begun(module: nn.Module) -> None:
    """Draw weights from a normal law of standard deviation 0.02, and set biases to 0, in place, as published."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx] = 0

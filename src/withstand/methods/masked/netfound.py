"""netFound: flows of packets learnt by telling hidden header fields, swapped bursts, hidden metadata and directions.

paper: netFound: Foundation Model for Network Security (Guthula et al., 2023)
needs: flows of a packet capture            modalities: flows
sizes: B flows, N bursts, L tokens of a burst, R bursts of all flows together, M chosen tokens, H width, V ids
differences: what pads a batch takes no part in pooling, and a swapped burst brings its own length along, where the code
    pools over padding and keeps the attention mask of the burst that was there. Tokens that are drawn stand for values,
    and are no special ids. The flow that gives a burst is uniform over the others, and gives it as it was captured. The
    code's table of burst positions has no effect, and is left out. Only chosen tokens go through the head.
caution: metadata's targets are seconds and kilobytes as they are, with heavy tails; the authors advise a small weight
    at first (their tracker, issue 9), which is the default here.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu

from withstand.core.batch import Batch, as_structured
from withstand.core.devices.distributed import gather, mean_of_all, world_size
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.core.random import isolated
from withstand.core.roles import Method, Source, Terms
from withstand.data.flows.container import PAD, STRIDE, FlowBatch
from withstand.data.flows.example import example_table
from withstand.data.flows.source import Flows
from withstand.models.tokens.flow_encoder import FlowEncoder, begun
from withstand.views.masks import corrupted_tokens


@dataclass(frozen=True)
class Weight(Part):
    """How much an objective counts, from the first step to the last in a line.

    Args:
        first: at the first step.
        last: at the last one; as at the first if None. An objective that counts 0 throughout is left out.

    Raises:
        ConfigError: a weight below 0.
    """

    first: float = 1.0
    last: float | None = None

    def __post_init__(self) -> None:
        if not (self.first >= 0 and self.final >= 0):
            raise ConfigError(f"a weight must be at least 0, not {self.first!r} to {self.last!r}")

    @property
    def final(self) -> float:
        """The weight at the last step."""
        return self.first if self.last is None else self.last

    @property
    def off(self) -> bool:
        """Whether the objective never counts."""
        return self.first == self.final == 0

    def at(self, step: int, steps: int | None) -> float:
        """Return the weight after `step` of `steps` steps; the first where the length of the run is not known.

        >>> Weight(0.0, 1.0).at(5, 10), Weight(0.5).at(5, 10), Weight(0.0, 1.0).at(5, None)
        (0.5, 0.5, 0.0)
        """
        return self.first + (self.final - self.first) * (min(1.0, step / steps) if steps else 0.0)


class TokenHead(nn.Module):
    """From tokens `(M, H)` to scores of all ids `(M, V)`: linear, GELU, LayerNorm, linear."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.map, self.norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden, eps=1e-12)
        self.scores = nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores."""
        found: Tensor = self.scores(self.norm(gelu(self.map(x), approximate="tanh")))
        return found


class NetFound(Method):
    """netFound's pretraining. What is hidden or swapped hangs on seed, step and index, and on nothing else.

    Args:
        encoder: the network to train.
        rate: share of the tokens that are chosen to be told; of these 80 % are masked and 10 % replaced.
        swap_rate: share of the flows in which one burst's tokens are another flow's.
        metadata_rate: share of the bursts whose metadata are hidden, in flows of more than `more_than` bursts.
        more_than: bursts that such a flow has more than.
        tokens: weight of telling the chosen tokens.
        swaps: weight of telling whether a burst was swapped.
        metadata: weight of telling hidden gaps, bytes and packet counts; published runs end at 0.4.
        direction: weight of telling hidden directions.

    Raises:
        ConfigError: rates outside [0, 1], or no objective.
    """

    encoder: FlowEncoder

    def __init__(
        self,
        encoder: FlowEncoder,
        *,
        rate: float = 0.3,
        swap_rate: float = 0.5,
        metadata_rate: float = 0.3,
        more_than: int = 3,
        tokens: Weight = Weight(),
        swaps: Weight = Weight(),
        metadata: Weight = Weight(0.1, 0.4),
        direction: Weight = Weight(),
    ) -> None:
        super().__init__()
        for name, share in (("rate", rate), ("swap_rate", swap_rate), ("metadata_rate", metadata_rate)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], not {share!r}")
        self.encoder, self.rate, self.swap_rate = encoder, rate, swap_rate
        self.metadata_rate, self.more_than = metadata_rate, more_than
        self.weights = {"tokens": tokens, "swaps": swaps, "metadata": metadata, "direction": direction}
        if all(weight.off for weight in self.weights.values()):
            raise ConfigError("there is no objective: give tokens, swaps, metadata or direction a weight above 0")
        if not encoder.metadata and not (metadata.off and direction.off):
            raise ConfigError("an encoder that reads no metadata cannot hide them: metadata and direction must be 0")
        width = encoder.width
        self.head = None if tokens.off else TokenHead(width, encoder.size)
        self.swapped = None if swaps.off else nn.Linear(width, 2)
        self.facts = None if metadata.off else nn.Linear(width, 3)
        self.directions = None if direction.off else nn.Linear(width, 2)
        for module in (self.head, self.swapped, self.facts, self.directions):
            if module is not None:
                module.apply(begun)
        self.steps: int | None = None

    @classmethod
    def example(cls) -> Self:
        return cls(FlowEncoder.example())

    def example_batch(self, rows: range = range(8)) -> Batch:
        chosen = torch.tensor(list(rows))
        flows = Flows.batch_of(example_table().take(chosen.numpy()), payload=False)
        return Batch(flows.as_samples(), chosen)

    def accept(self, source: Source, batch: int) -> None:
        if not isinstance(as_structured(source[[0]].x), FlowBatch):
            raise DataError(f"NetFound learns from flows of a packet capture, and {source.name} holds {source.kind}s")

    def before_run(self, steps: int) -> None:
        self.steps = steps

    def projector(self) -> nn.Module | None:
        """Return None: the head reads tokens, and no features."""
        return None

    def step(self, batch: Batch) -> Terms:
        """Return the loss, each objective's own, and the features of the flows as the loss saw them."""
        flows = FlowBatch.of(batch.views[0] if batch.views else batch.x)
        clean = self.encoder.codes(flows.tokens)
        codes, swapped = self.swap(batch, clean)
        codes, chosen = self.corrupt(batch, codes, swapped)
        hidden = self.hide(batch, flows, swapped)
        weights = {name: weight.at(batch.step, self.steps) for name, weight in self.weights.items()}
        return self.terms(flows, clean, codes, chosen, swapped, hidden, weights)

    def tell(self, flows: FlowBatch, hidden: Tensor) -> Tensor:
        """Return the ids that hidden tokens are told to be, int64 `(M,)`, flow after flow; -1 for one without a row.

        Args:
            flows: with the clean tokens, which are not looked at where they are hidden.
            hidden: which tokens are, bool `(B, N, L)`; no burst's first.

        Raises:
            ConfigError: telling tokens was none of the objectives.
        """
        if self.head is None:
            raise ConfigError("this NetFound tells no tokens: their weight was 0")
        codes = self.encoder.codes(flows.tokens).masked_fill(hidden, self.encoder.mask_row)
        tokens, _ = self.encoder.encode(codes, flows.metadata, flows.protocol)
        return self.encoder.ids[self.head(tokens[hidden[flows.real]]).argmax(1)]

    def swap(self, batch: Batch, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes `(B, N, L')` in which some flows have a burst of another, and which burst, bool `(B, N)`."""
        lengths, index = (codes != PAD).sum(2), batch.index
        longest = codes.new_tensor([[codes.shape[1], codes.shape[2]]])
        if world_size() > 1:  # flows of all processes can give a burst, padded alike
            most, long = gather(longest).amax(0).tolist()
            whole = codes.new_full((len(codes), most, long), PAD)
            whole[:, : codes.shape[1], : codes.shape[2]] = codes
            codes = torch.cat([codes, codes.new_zeros(*codes.shape[:2], long - codes.shape[2])], 2)
            given, index = gather(whole), gather(index)
        else:
            given = codes
        count = len(given)
        draws = batch.draws("swap")
        wanted, own_place, donor, donor_place = (draws.uniform() for _ in range(4))
        own = torch.zeros_like(lengths, dtype=torch.bool)
        if count < 2 or self.swapped is None:
            return codes, own
        # The others stand in the order of their places in the data, whichever process holds them.
        ranked = index.argsort()
        rank = torch.searchsorted(index[ranked].contiguous(), batch.index)
        other = ranked[(rank + 1 + (donor * (count - 1)).long().clamp_max(count - 2)) % count]
        bursts, theirs = (lengths > 0).sum(1), (given[:, :, 0] != PAD).sum(1)[other]
        mine = torch.minimum((own_place * bursts).long(), bursts - 1)
        there = torch.minimum((donor_place * theirs).long(), theirs - 1)
        rows = (wanted < self.swap_rate).nonzero()[:, 0]
        codes = codes.clone()
        codes[rows, mine[rows]] = given[other[rows], there[rows]]
        own[rows, mine[rows]] = True
        return codes, own

    def corrupt(self, batch: Batch, codes: Tensor, swapped: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes with chosen tokens spoilt, and which: never a burst's first, nor of swapped bursts."""
        bursts, length = codes.shape[1:]
        places = torch.arange(bursts, device=codes.device)[:, None] * STRIDE + torch.arange(length, device=codes.device)
        values = (codes != PAD) & ~swapped[..., None]
        values[:, :, 0] = False
        return corrupted_tokens(
            batch.draws("tokens"),
            codes,
            values,
            places,
            rate=0.0 if self.head is None else self.rate,
            mask=self.encoder.mask_row,
            values=self.encoder.values,
        )

    def hide(self, batch: Batch, flows: FlowBatch, swapped: Tensor) -> Tensor:
        """Return the bursts whose metadata are hidden, bool `(B, N)`: of long flows, and never a swapped one."""
        real = flows.real
        if self.facts is None and self.directions is None:
            return torch.zeros_like(real)
        drawn = batch.draws("metadata").uniform_at(torch.arange(real.shape[1], device=real.device).expand_as(real))
        return real & (real.sum(1, keepdim=True) > self.more_than) & ~swapped & (drawn < self.metadata_rate)

    def terms(
        self,
        flows: FlowBatch,
        clean: Tensor,
        codes: Tensor,
        chosen: Tensor,
        swapped: Tensor,
        hidden: Tensor,
        weights: dict[str, float],
    ) -> Terms:
        """Return what `step` returns, for what was drawn.

        Args:
            flows: as captured.
            clean: their codes, `(B, N, L)`.
            codes: with swapped bursts and spoilt tokens, `(B, N, L')`, L' at least L.
            chosen: tokens that are to be told, bool `(B, N, L')`.
            swapped: bursts that are another flow's, bool `(B, N)`.
            hidden: bursts whose metadata the network does not see, bool `(B, N)`.
            weights: of the objectives, by name.
        """
        real = flows.real
        metadata = flows.metadata.masked_fill(hidden[..., None], 0)
        with isolated():  # dropout draws from the global generator, which the engine sets for each step
            tokens, bursts = self.encoder.encode(codes, metadata, flows.protocol)
            pooled = self.encoder.pool(bursts, real)
        found: dict[str, Tensor] = {}
        facts: Terms = {}
        if self.head is not None:
            told = chosen[real]
            scores = wide(self.head(tokens[told]))
            target = clean[chosen[:, :, : clean.shape[2]]]
            found["tokens"] = mean_of_all(cross_entropy(scores, target, reduction="none"))
            facts["token accuracy"] = mean_of_all((scores.detach().argmax(1) == target).to(scores.dtype))
        if self.swapped is not None:
            found["swaps"] = mean_of_all(
                cross_entropy(wide(self.swapped(pooled)), swapped.any(1).long(), reduction="none")
            )
        direction, size, count, gap = flows.metadata[hidden].unbind(-1)
        if self.facts is not None:
            target = torch.stack([gap / 1000, size / 1000, count], -1)
            found["metadata"] = mean_of_all((wide(self.facts(bursts[hidden])) - target).abs().mean(1))
        if self.directions is not None:
            logits = wide(self.directions(bursts[hidden]))
            found["direction"] = mean_of_all(cross_entropy(logits, (direction > 0).long(), reduction="none"))
        loss = torch.stack([weights[name] * value for name, value in found.items()]).sum()
        logged = {name: value.detach() for name, value in found.items()}
        return {"loss": loss, **logged, **facts, "embeddings": pooled.detach()[None]}


def wide(x: Tensor) -> Tensor:
    """Return numbers in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

"""Slots: a picture as a few vectors, each of which draws its own picture and its own mask (Slot-TTA, 2023).

Slot attention is that of Locatello et al. (2020), from a learnt table in place of a random start.
Sizes: B pictures of C channels, H x W pixels, K slots of width D, N = H W.
"""

from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError, require_at_least
from withstand.core.part import Part
from withstand.core.roles import Model

LOGITS, RESTORED = "logits", "restored"
_EPS = 1e-8


class SlotAttention(nn.Module):
    """Slots that compete for inputs: a few rounds of attention whose softmax is over the slots.

    Args:
        slots: K.
        width: D.
        rounds: of attention.
    """

    def __init__(self, slots: int, width: int, rounds: int = 3) -> None:
        super().__init__()
        self.rounds, self.scale = rounds, width**-0.5
        self.table = nn.Parameter(torch.randn(slots, width))
        self.norm_inputs, self.norm_slots, self.norm_out = (nn.LayerNorm(width) for _ in range(3))
        # A bias here would move all slots' logits of an input alike, which the softmax over slots does not see.
        self.query = nn.Linear(width, width, bias=False)
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.cell = nn.GRUCell(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def weights(self, slots: Tensor, keys: Tensor) -> Tensor:
        """Return each slot's weights of the inputs, which sum to 1 over the inputs, `(B, K, N)`."""
        logits: Tensor = self.query(self.norm_slots(slots)) @ keys.transpose(1, 2) * self.scale
        shares = logits.float().softmax(1) if logits.dtype != torch.float64 else logits.softmax(1)
        shares = shares + _EPS
        return shares / shares.sum(2, keepdim=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return slots `(B, K, D)` of inputs `(B, N, D)`."""
        inputs = self.norm_inputs(inputs)
        keys, values = self.key(inputs), self.value(inputs)
        slots = self.table.expand(len(inputs), -1, -1)
        for _ in range(self.rounds):
            found = self.weights(slots, keys).to(values.dtype) @ values
            slots = self.cell(found.flatten(0, 1), slots.flatten(0, 1).to(found.dtype)).view_as(found)
            slots = slots + self.mlp(self.norm_out(slots))
        return slots


class SlotEncoder(Model):
    """Convolutions that keep the side, the place of each pixel, and slot attention; features are the slots' mean.

    Args:
        channels_in: C.
        slots: K.
        width: D.
        layers: convolutions.
        kernel: their side, an odd number.
        rounds: of attention.
    """

    def __init__(
        self,
        channels_in: int = 3,
        *,
        slots: int = 5,
        width: int = 64,
        layers: int = 4,
        kernel: int = 5,
        rounds: int = 3,
    ) -> None:
        super().__init__()
        require_at_least(1, channels_in=channels_in, slots=slots, width=width, rounds=rounds)
        if layers < 1 or kernel < 1 or kernel % 2 == 0:
            raise ConfigError(f"layers must be at least 1 and kernel an odd number, not {layers!r} and {kernel!r}")
        self.slots, self.width, self.channels_in = slots, width, channels_in
        convolutions: list[nn.Module] = []
        for before in (channels_in, *(width,) * (layers - 1)):
            convolutions += [nn.Conv2d(before, width, kernel, padding=kernel // 2), nn.ReLU()]
        self.convolutions = nn.Sequential(*convolutions)
        self.place = nn.Linear(4, width)
        self.attention = SlotAttention(slots, width, rounds)

    @classmethod
    def example(cls) -> Self:
        return cls(slots=4, width=6, layers=1, kernel=3, rounds=2)

    def found(self, x: Tensor) -> Tensor:
        """Return the slots `(B, K, D)` of pictures `(B, C, H, W)` in bytes or in [0, 1]."""
        if x.dim() != 4 or x.shape[1] != self.channels_in:
            raise DataError(f"pictures must be (B, {self.channels_in}, H, W), not {tuple(x.shape)}")
        weight = self.place.weight
        y, across = (torch.linspace(0, 1, side, dtype=weight.dtype, device=weight.device) for side in x.shape[2:])
        grid = torch.stack(torch.meshgrid(y, across, indexing="ij"), 2)
        maps = self.convolutions(unit_range(x, weight.dtype).to(weight.dtype)).movedim(1, 3)
        maps = maps + self.place(torch.cat([grid, 1 - grid], 2))
        slots: Tensor = self.attention(maps.flatten(1, 2))
        return slots

    def forward(self, x: Tensor) -> Tensor:
        return self.found(x).mean(1)


class SlotDecoder(Part, nn.Module):
    """Tells each pixel's color and mask logit from its place and a slot: residual blocks, the same for all slots.

    Args:
        channels: C of the pictures.
        width: D.
        blocks: residual blocks, before each of which the slot is added.
        identity: begin with blocks that change nothing, as published.
    """

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 4, *, identity: bool = True) -> None:
        super().__init__()
        require_at_least(1, channels=channels, width=width, blocks=blocks)
        self.channels, self.width = channels, width
        self.place = nn.Linear(2, width)
        self.slot = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        second = [nn.Linear(width, width) for _ in range(blocks)]
        self.second = nn.ModuleList(second)
        self.last = nn.Linear(width, channels + 1)
        if identity:
            for layer in second:
                nn.init.zeros_(layer.weight)

    @classmethod
    def example(cls) -> Self:
        return cls(3, 6, 1, identity=False)

    def forward(self, slots: Tensor, sides: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the slots' pictures `(B, K, C, H, W)` and mask logits `(B, K, H, W)`.

        Args:
            slots: `(B, K, D)`.
            sides: H and W.
        """
        weight = self.place.weight
        y, across = (torch.arange(side, dtype=weight.dtype, device=weight.device) / side - 0.5 for side in sides)
        grid = torch.stack(torch.meshgrid(y, across, indexing="ij"), 2)
        # The places are the same for all slots: they go through their layer once.
        net = self.place(grid).flatten(0, 1)[None, None]
        for slot, first, second in zip(self.slot, self.first, self.second, strict=True):
            net = net + slot(slots)[:, :, None]
            net = net + second(torch.relu(first(torch.relu(net))))
        told = self.last(torch.relu(net)).movedim(3, 2).unflatten(3, sides)
        return told[:, :, :-1], told[:, :, -1]


class SlotNetwork(Part, nn.Module):
    """Encoder and decoder as one network of pictures.

    Args:
        encoder: finds the slots.
        decoder: of the same width and channels.
    """

    def __init__(self, encoder: SlotEncoder, decoder: SlotDecoder) -> None:
        super().__init__()
        if (encoder.width, encoder.channels_in) != (decoder.width, decoder.channels):
            raise ConfigError(
                f"encoder and decoder differ in width or channels: {encoder.width}, {encoder.channels_in} and "
                f"{decoder.width}, {decoder.channels}"
            )
        self.encoder, self.decoder = encoder, decoder

    @classmethod
    def example(cls) -> Self:
        return cls(SlotEncoder.example(), SlotDecoder.example())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the masks' "logits" `(B, K, H, W)`, and the "restored" pictures `(B, C, H, W)` that they compose."""
        pictures, logits = self.decoder(self.encoder.found(x), (x.shape[2], x.shape[3]))
        masks = logits.softmax(1) if logits.dtype == torch.float64 else logits.float().softmax(1)
        return {LOGITS: logits, RESTORED: (masks[:, :, None] * pictures).sum(1)}


class SlotSegmenter(Part, nn.Module):
    """The mask logits of a slot network alone.

    Args:
        network: of pictures.
    """

    def __init__(self, network: SlotNetwork) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def example(cls) -> Self:
        return cls(SlotNetwork.example())

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(B, K, H, W)` of pictures in [0, 1]."""
        found: Tensor = self.network(x)[LOGITS]
        return found

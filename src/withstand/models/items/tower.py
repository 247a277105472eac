"""A tower: fields of categories become embeddings, side by side, and a perceptron makes one vector of them.

Self-supervised Learning for Large-scale Item Recommendations (Yao et al., CIKM 2021).

Sizes: B samples, k fields, S slots of all fields, E width of an embedding, F features.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Model


class FieldTower(Model):
    """Embeddings of every field's values, the mean where there are several, then a perceptron with ReLU.

    A hidden field gives its own learnt vector, which no value shares and which begins at 0; a field without a value
    gives 0. There is no normalisation over the batch: whole and hidden samples would mix in its statistics.

    Args:
        sizes: values of each field.
        slots: how many of them a sample may have.
        dim: E.
        hidden: widths between.
        width: F.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        slots: Sequence[int],
        *,
        dim: int = 16,
        hidden: Sequence[int] = (64,),
        width: int = 32,
    ) -> None:
        super().__init__()
        if not sizes or len(sizes) != len(slots) or min(*sizes, *slots, dim, width) < 1:
            raise ConfigError(f"sizes and slots are a number above 0 for each field, not {sizes!r} and {slots!r}")
        self.slots, self.dim, self.width = tuple(slots), dim, width
        tables = [nn.Embedding(size, dim) for size in sizes]
        for table in tables:
            nn.init.normal_(table.weight, std=dim**-0.5)
        self.tables = nn.ModuleList(tables)
        self.hidden_field = nn.Parameter(torch.zeros(len(sizes), dim))
        widths = (len(sizes) * dim, *hidden, width)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    @classmethod
    def example(cls) -> Self:
        return cls((10, 4, 3), (1, 2, 1), dim=4, hidden=(8,), width=6)

    def forward(self, x: Tensor, hidden: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """Return features `(B, F)`.

        Args:
            x: the values' places, int64 `(B, S)`, -1 where there is none.
            hidden: which fields are not seen, bool `(k,)`, or `(B, k)` of each sample; None for all seen.
            kept: which values of several are seen, bool `(B, S)`; None for all.

        Raises:
            DataError: another number of slots.
        """
        if x.dim() != 2 or x.shape[1] != sum(self.slots) or x.is_floating_point():
            raise DataError(f"whole numbers (B, {sum(self.slots)}) of fields are needed, not {x.dtype} {(*x.shape,)}")
        pieces = []
        for place, (table, part) in enumerate(zip(self.tables, torch.split(x, list(self.slots), 1), strict=True)):
            known = part >= 0
            if kept is not None:
                known = known & torch.split(kept, list(self.slots), 1)[place]
            values = table(part.clamp_min(0))
            if part.shape[1] == 1:
                found = values[:, 0] * known.to(values)
            else:
                share = known.to(values) / known.sum(1, keepdim=True).clamp_min(1)
                found = (values * share[:, :, None]).sum(1)
            if hidden is not None:
                unseen = hidden[..., place].reshape(-1, 1)
                found = torch.where(unseen, self.hidden_field[place], found)
            pieces.append(found)
        result: Tensor = self.layers(torch.cat(pieces, 1))
        return result

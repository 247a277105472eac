"""Samples with what is known of them that is no class: masks, keypoints, the ids of captions, a second picture."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource, as_tensor
from withstand.data.derived.wrapped import Wrapped
from withstand.data.shared.digest import as_indices


class PairedSource(Wrapped):
    """A source whose batches bring along, in `extras`, what belongs to each sample.

    Args:
        source: the samples; labels and names are theirs.
        beside: by name, as many rows as there are samples: a tensor or an array, `(N, ...)`, as masks `(N, H, W)` or
            keypoints `(N, J, 2)`; or a source, whose samples are taken as it gives them and whose labels are not.

    Raises:
        DataError: nothing beside, other counts, numbers that are not finite, or a name that the samples' extras have.
    """

    def __init__(self, source: Source, beside: Mapping[str, object]) -> None:
        self._wrap(source)
        if not beside:
            raise DataError("a paired source needs something beside its samples")
        taken = source[[0]].extras
        self._beside: dict[str, Tensor | Source] = {}
        for name, value in beside.items():
            rows = value if isinstance(value, Source) else as_tensor(value, f"beside[{name!r}]")
            if len(rows) != len(source):
                raise DataError(f"beside[{name!r}] has {len(rows)} rows for {len(source)} samples")
            if name in taken:
                raise DataError(f"the samples bring {name!r} along already: give beside[{name!r}] another name")
            if isinstance(rows, Source) and (more := rows[[0]].extras):
                raise DataError(f"beside[{name!r}] brings {', '.join(map(repr, more))} along itself: name each beside")
            if isinstance(rows, Tensor) and not bool(torch.isfinite(rows).all()):
                raise DataError(f"beside[{name!r}] holds NaN or infinite values")
            self._beside[name] = rows
        self.origin = f"{source.origin}, with {', '.join(self._beside)}"

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=generator)
        masks = torch.randint(0, 3, (8, 8, 8), generator=generator)
        keypoints = torch.rand(8, 5, 2, generator=generator)
        second = ArraySource(pictures.flip(3))
        return cls(ArraySource(pictures, torch.arange(8) % 2), {"mask": masks, "keypoints": keypoints, "other": second})

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        batch = self.source[chosen]
        beside = {
            name: rows[chosen].x if isinstance(rows, Source) else rows[chosen] for name, rows in self._beside.items()
        }
        return replace(batch, extras={**batch.extras, **beside})

    def fingerprint(self) -> str:
        state = blake2b(self.source.fingerprint().encode(), digest_size=16)
        for name, rows in self._beside.items():
            state.update(name.encode())
            if isinstance(rows, Source):
                state.update(rows.fingerprint().encode())
            else:
                state.update(repr((tuple(rows.shape), str(rows.dtype))).encode())
                state.update(rows.contiguous().numpy().data.cast("B") if rows.numel() else b"")
        return state.hexdigest()

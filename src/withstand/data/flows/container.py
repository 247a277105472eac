"""`FlowBatch`: flows side by side, each a row of bursts, each burst a row of tokens.

Sizes: `B` flows, `N` bursts of the longest, `L` tokens of the longest burst, its first one included.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Self

import torch
from torch import Tensor

from withstand.core.batch import Structured
from withstand.core.errors import DataError

PAD: Final = 0
VALUES: Final = 65536
"""Different values of a token: value v has id v + 1."""
CLS: Final = 65537
MASK: Final = 65538
EOS: Final = 65540
VOCABULARY: Final = 65600
"""Size of the published table of ids."""
STRIDE: Final = 4096
"""Places between the first tokens of two bursts where tokens are numbered through a flow: more than a burst has, so
that what is drawn by them hangs on no padding."""
METADATA: Final = ("direction", "bytes", "packets", "gap")
"""What is known of a burst: 1 forward or -1 back, bytes, packets, ms since the one before in its direction."""


@dataclass(frozen=True, slots=True, eq=False)
class FlowBatch(Structured):
    """A batch of flows, padded to the longest burst and to the largest number of bursts.

    How far a batch is padded depends on its company, so what is computed of a flow must not: read `real` and `own`.

    Attributes:
        tokens: ids, int64 `(B, N, L)`: `CLS` first in every burst, `PAD` behind a burst and in bursts that a flow has
            not.
        metadata: of each burst, as `METADATA` names it, float32 `(B, N, 4)`; 0 in bursts that a flow has not.
        protocol: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6; int64 `(B,)`.
    """

    tokens: Tensor
    metadata: Tensor
    protocol: Tensor

    @staticmethod
    def of(samples: object) -> "FlowBatch":
        """Return samples as flows.

        Raises:
            DataError: they are something else.
        """
        if isinstance(samples, FlowBatch):
            return samples
        shape = f" of shape {tuple(samples.shape)}" if isinstance(samples, Tensor) else ""
        raise DataError(f"this network reads flows of a packet capture, not a {type(samples).__name__}{shape}")

    def __len__(self) -> int:
        return len(self.protocol)

    @property
    def own(self) -> Tensor:
        """Which tokens are a burst's own, `CLS` included, bool `(B, N, L)`."""
        return self.tokens != PAD

    @property
    def real(self) -> Tensor:
        """Which bursts a flow has, bool `(B, N)`."""
        return self.tokens[:, :, 0] != PAD

    def tensors(self) -> dict[str, Tensor]:
        return {"tokens": self.tokens, "metadata": self.metadata, "protocol": self.protocol}

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, metadata=function(self.metadata))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        moved = {name: value.to(device, non_blocking=non_blocking) for name, value in self.tensors().items()}
        return self if all(moved[name] is value for name, value in self.tensors().items()) else replace(self, **moved)

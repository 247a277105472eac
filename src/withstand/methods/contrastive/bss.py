"""BSS: all pictures of a view get one style, another one for each view, so that style tells no picture from another.

paper: Towards domain-invariant Self-Supervised Learning with Batch Styles Standardization (Scalbert, Vakalopoulou,
    Couzinié-Devy; 2023)
needs: what the wrapped method needs, views of one size       modalities: pictures
sizes: B samples on this process, N over all, V views
differences: the official code could not be read. The window of low frequencies is a centred rectangle with both ends
    (see `views.styles`), styles of different views come from different pictures, and values that leave [0, 1] are not
    clamped. The paper wraps SimCLR, SwAV and MSN; with SwAV its codes are made view by view, here the wrapped method's
    own way is kept.
"""

from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.distributed import first_row, total, world_size
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, derive
from withstand.core.roles import Method, Source, Terms
from withstand.methods.shared.pairs import example_of_pairs
from withstand.methods.shared.wrappers.wrapper import Wrapper
from withstand.views.pictures.colors.color_views import ColorJitter
from withstand.views.styles import amplitudes, with_style


class BSS(Wrapper):
    """Batch styles standardization round any method on several views.

    Each view draws one picture of the batch and one share of low frequencies, and all pictures of the view get its
    low-frequency amplitudes. What is drawn hangs on seed and step, and is the same on all processes.

    Args:
        method: what learns from the views.
        smallest: least share of the spectrum's area that is replaced, in [0, 1].
        largest: largest share.
        jitter: strength of a color jitter before, of one draw for all pictures of a view; 0 for none.
    """

    def __init__(self, method: Method, *, smallest: float = 0.02, largest: float = 1.0, jitter: float = 0.0) -> None:
        super().__init__(method)
        if not 0 <= smallest <= largest <= 1:
            raise ConfigError(f"0 <= smallest <= largest <= 1 must hold, not {smallest!r} and {largest!r}")
        if not jitter >= 0:
            raise ConfigError(f"jitter must be at least 0, not {jitter!r}")
        self.smallest, self.largest = smallest, largest
        self.jitter = ColorJitter(*(jitter * most for most in (0.8, 0.8, 0.8, 0.2))) if jitter else None

    @classmethod
    def example(cls) -> Self:
        return cls(example_of_pairs())

    def accept(self, source: Source, batch: int) -> None:
        if len(source.shape) != 3:
            raise DataError(f"BSS styles pictures (C, H, W), not samples of shape {source.shape}")
        super().accept(source, batch)

    def step(self, batch: Batch) -> Terms:
        """Return the wrapped method's terms on the restyled views."""
        return self.inside(self.restyled(batch))

    def restyled(self, batch: Batch) -> Batch:
        """Return the batch with all pictures of a view in one style."""
        views = [self._jittered(unit_range(view), batch, place) for place, view in enumerate(batch.views)]
        count = len(batch) * world_size()
        styles = batch.draws_for_all("styles").permutations(count)[0].tolist() if count else []
        shares = batch.draws_for_all("shares").uniform(max(1, len(views)))[0].tolist()
        restyled = []
        for place, view in enumerate(views):
            share = self.smallest + (self.largest - self.smallest) * shares[place]
            restyled.append(with_style(view, self._amplitude(view, styles[place % count]), share))
        return batch.with_views(*restyled)

    def _jittered(self, view: Tensor, batch: Batch, place: int) -> Tensor:
        if self.jitter is None:
            return view
        alike = Draws(derive(batch.seed, "jitter", place), torch.zeros_like(batch.index), epoch=batch.step)
        return self.jitter(batch.with_x(view), alike).x

    def _amplitude(self, view: Tensor, row: int) -> Tensor:
        """Return the amplitudes of a picture of the global batch, `(C, H, W // 2 + 1)`."""
        own = row - first_row(len(view))
        if world_size() == 1:
            return amplitudes(view[own])
        like = view[own] if 0 <= own < len(view) else torch.zeros_like(view[0])
        return total(amplitudes(like))

"""ScatSimCLR: SimCLR that also solves a pretext task, made for encoders that begin with wavelet scattering.

paper: ScatSimCLR: Self-supervised Contrastive Learning with Pretext Task Regularization for Small-scale Datasets (2021)
needs: two views of pictures
sizes: B pictures, W encoder width, D projection width
differences: the official code turns a picture first and augments it then. A flip makes a picture that was turned
    clockwise look like one turned the other way, so that no network can tell more than 3 in 4: here views are turned.
    Its tiles' orders come with a file; here they are chosen as the jigsaw paper does.
"""

from typing import Literal, Self, get_args

import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Method, Model, Terms
from withstand.losses.contrast.contrastive import nt_xent
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.pretexts import JigsawPretext, RotationPretext

Task = Literal["none", "rotation", "jigsaw"]


class ScatSimCLR(Method):
    """NT-Xent, plus the cross-entropy of a pretext task on the encoder's own features.

    Args:
        encoder: the network to train; its `width` sizes the heads.
        hidden: width of the projection head's hidden layer; None for the encoder's width, as in the paper.
        dim: width of the projection.
        temperature: tau.
        pretext: "rotation" turns the first view in all four ways, "jigsaw" shuffles the sample's own tiles, "none" is
            SimCLR.
        pretext_weight: lambda, of the task's loss.
        dropout: in the task's head.
        grid: tiles a side, of jigsaw.
        orders: in which tiles are laid, of jigsaw.
    """

    steps: Tensor

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 128,
        temperature: float = 0.5,
        pretext: Task = "rotation",
        pretext_weight: float = 0.3,
        dropout: float = 0.5,
        grid: int = 3,
        orders: int = 35,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature)
        if pretext not in get_args(Task):
            raise ConfigError(f"pretext {pretext!r} is unknown: {nearest(str(pretext), get_args(Task))}")
        if pretext_weight < 0 or not 0 <= dropout < 1:
            raise ConfigError(
                f"pretext_weight must be at least 0 and dropout lie in [0, 1), not {pretext_weight!r} and {dropout!r}"
            )
        self.encoder, self.temperature = encoder, temperature
        self.pretext_weight, self.tiled = pretext_weight, pretext == "jigsaw"
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, batch_norm=False, bias=True)
        self.pretext: RotationPretext | JigsawPretext | None = None
        if pretext_weight and pretext == "rotation":
            self.pretext = RotationPretext(encoder.width, dropout=dropout)
        elif pretext_weight and pretext == "jigsaw":
            self.pretext = JigsawPretext(encoder.width, grid=grid, count=orders, dropout=dropout)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10, dropout=0.0)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `contrast` and `pretext`, the task's right answers `solved`, and `positive`."""
        one, two = view_pair(batch)
        z1, z2 = self.head(self.encoder(torch.cat([one, two]))).chunk(2)
        contrast = nt_xent(z1, z2, self.temperature)
        if self.pretext is None:
            return pair_terms(contrast, z1, z2)
        dtype = torch.float64 if z1.dtype == torch.float64 else torch.float32
        x = unit_range(batch.x if self.tiled else one, dtype).to(dtype)
        task, solved = self.pretext(self.encoder, x, batch.draws("pretext"))
        terms = pair_terms(contrast + self.pretext_weight * task, z1, z2)
        return terms | {"contrast": contrast.detach(), "pretext": task.detach(), "solved": solved}

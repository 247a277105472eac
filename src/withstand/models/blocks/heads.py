"""Projection and prediction heads: small perceptrons on top of an encoder, thrown away after pretraining."""

from torch import Tensor, nn

from withstand.core.errors import require_at_least
from withstand.core.roles import Model


class ProjectionHead(Model):
    """A perceptron with ReLU between layers; its arguments cover the heads of the joint-embedding papers.

    | head | layers | batch_norm | last_batch_norm | bias | last_bias |
    |---|---|---|---|---|---|
    | SimCLR, MoCo v2 (solo-learn) | 2 | no | no | yes | yes |
    | SimCLR (official) | 2 | yes | yes | no | no |
    | DCL | 2 | yes | no | no | yes |
    | BYOL, projector and predictor (official) | 2 | yes | no | idle | no |
    | BYOL (solo-learn) | 2 | yes | no | yes | yes |
    | MoCo v3, projector | 2 | yes | yes | no | no |
    | MoCo v3, predictor | 2 | yes | no | no | no |
    | SimSiam, projector | 3 | yes | yes | no | no |
    | SimSiam, predictor | 2 | yes | no | no | yes |
    | Barlow Twins, VICReg | 3 | yes | no | no | no |

    Args:
        width_in: features that come in.
        hidden: width of the layers between.
        out: width of the projection.
        layers: number of linear layers, at least 1; with 1, `hidden` is not used.
        batch_norm: normalise after each layer but the last.
        last_batch_norm: normalise the output too, without learnt scale and shift.
        bias: whether all layers but the last have a bias (idle before a normalisation).
        last_bias: whether the last layer has one.
    """

    def __init__(
        self,
        width_in: int,
        hidden: int,
        out: int,
        layers: int = 2,
        *,
        batch_norm: bool = True,
        last_batch_norm: bool = False,
        bias: bool = False,
        last_bias: bool = True,
    ) -> None:
        super().__init__()
        require_at_least(1, width_in=width_in, hidden=hidden, out=out, layers=layers)
        self.width = out
        steps: list[nn.Module] = []
        for _ in range(layers - 1):
            steps.append(nn.Linear(width_in, hidden, bias=bias))
            if batch_norm:
                steps.append(nn.BatchNorm1d(hidden))
            steps.append(nn.ReLU(inplace=True))
            width_in = hidden
        steps.append(nn.Linear(width_in, out, bias=last_bias))
        if last_batch_norm:
            steps.append(nn.BatchNorm1d(out, affine=False))
        self.steps = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        """Return projections `(B, out)` of features `(B, width_in)`, unnormalised."""
        projections: Tensor = self.steps(x)
        return projections

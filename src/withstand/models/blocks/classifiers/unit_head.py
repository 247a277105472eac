"""A classifier of two layers on features of unit length."""

from torch import Tensor, nn
from torch.nn.functional import relu

from withstand.losses.precision import full_precision, unit_rows

_unit = full_precision(unit_rows)


class UnitHead(nn.Linear):
    """Features brought to length 1, a hidden layer with ReLU, and class scores: itself is the last layer.

    Args:
        width: of the features.
        hidden: of the hidden layer.
        classes: how many scores.
    """

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__(hidden, classes)
        self.hidden = nn.Linear(width, hidden)

    def forward(self, input: Tensor) -> Tensor:
        """Return scores `(B, classes)` of features `(B, width)`."""
        return super().forward(relu(self.hidden(_unit(input))))

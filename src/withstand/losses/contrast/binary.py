"""Binary noise contrast: pairs that belong together against pairs that do not, each judged on its own."""

from torch import Tensor
from torch.nn.functional import softplus

from withstand.core.errors import DataError


def binary_nce(positive: Tensor, negative: Tensor) -> Tensor:
    """Return -(sum of log p over positives + sum of log(1 - p) over negatives) / (P + N), where p = sigmoid(logit).

    Perfect logits give 0, logits of 0 give log 2.

    Args:
        positive: logits of pairs that belong together, `(P,)`.
        negative: logits of pairs that do not, `(N,)`.

    Raises:
        DataError: there is no pair at all.
    """
    count = len(positive) + len(negative)
    if not count:
        raise DataError("there is no pair to contrast")
    return (softplus(-positive).sum() + softplus(negative).sum()) / count

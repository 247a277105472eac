"""What methods that learn from labels share: an encoder with a linear classifier."""

from torch import Tensor, nn

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Model, Product
from withstand.models.blocks.classifiers.classifier import Classifier

ATTACKED = "attacked"
"""The name in `Batch.extras` of inputs that were attacked already."""


class LabelledMethod(Method):
    """Base of methods that train a classifier: a subclass gives `step`.

    Reads view 0 of a batch (its samples where there are no views), in [0, 1], and its labels.

    Args:
        encoder: the network to train.
        classes: how many labels there are.
    """

    taught_by = "labels"

    def __init__(self, encoder: Model, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ConfigError(f"a classifier needs at least 2 classes, not {classes!r}")
        self.encoder, self.classes = encoder, classes
        self.classifier = nn.Linear(encoder.width, classes)

    def logits(self, x: Tensor) -> Tensor:
        """Return class scores `(B, classes)`."""
        scores: Tensor = self.classifier(self.encoder(x))
        return scores

    def network(self) -> nn.Module:
        """Return encoder and classifier as one network, inputs in [0, 1] to logits; the weights are shared."""
        return Classifier.joining(self.encoder, self.classifier)

    def products(self) -> dict[str, Product]:
        return {"encoder": self.encoder, "classifier": self.network()}

    def samples(self, batch: Batch) -> Tensor:
        """Return the inputs to learn from, floating, `(B, ...)`."""
        x = batch.views[0] if batch.views else batch.x
        return unit_range(x, self.classifier.weight.dtype)

    def labels(self, batch: Batch) -> Tensor:
        """Return the labels `(B,)`.

        Raises:
            DataError: there are none, or they do not fit.
        """
        if batch.y is None:
            raise DataError(
                f"{type(self).__name__} learns from labels, and the data have none: "
                "ACL (withstand train acl) needs no labels"
            )
        if len(batch.y) and not 0 <= int(batch.y.min()) <= int(batch.y.max()) < self.classes:
            low, high = int(batch.y.min()), int(batch.y.max())
            raise DataError(f"labels lie in [{low}, {high}], but the classifier knows 0 to {self.classes - 1}")
        return batch.y


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the share of right predictions, 0-d."""
    return (logits.detach().argmax(1) == y).float().mean()

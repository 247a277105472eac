"""A detector of synthetic pictures: a small classifier on an encoder, calibrated while the encoder stays as it is.

paper: ImagiNet (Boychev and Cholakov, 2024), its second stage
needs: labels, one view     modalities: any with an encoder
differences: the head is the one of the official test script, on features of unit length, for both tracks; the
    calibration script has a batch normalisation in its place, and judges features of unit length by it all the same.
    Two logits and the cross-entropy stand for one logit and the binary one: the same function of their difference.
    Batch normalisations of the frozen encoder keep their statistics; in the official code they go on with those of the
    calibration pictures.
"""

from typing import Self

import torch
from torch.nn.functional import cross_entropy

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Terms
from withstand.methods.shared.labelled import LabelledMethod, accuracy
from withstand.models.blocks.classifiers.unit_head import UnitHead
from withstand.models.pictures.normalized import Normalized


class OriginDetector(LabelledMethod):
    """A classifier by cross-entropy on an encoder that an earlier stage trained, or on one that learns with it.

    Args:
        encoder: takes the weights of the run's earlier stage, where there is one.
        classes: how many labels there are.
        hidden: width of the head's hidden layer, on features of unit length; 0 for a linear layer on plain features.
        frozen: leave the encoder as it is, in eval mode; else this is plain training by cross-entropy.
    """

    def __init__(self, encoder: Model, *, classes: int = 2, hidden: int = 1024, frozen: bool = True) -> None:
        super().__init__(encoder, classes)
        if hidden < 0:
            raise ConfigError(f"hidden must be at least 0, not {hidden!r}")
        self.frozen = frozen
        if hidden:
            self.classifier = UnitHead(encoder.width, hidden, classes)
        self.encoder.requires_grad_(not frozen).train(not frozen)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), classes=4, hidden=6)

    def inherit(self, earlier: Method) -> None:
        self.encoder.load_state_dict(earlier.encoder.state_dict())

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but a frozen encoder, which stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the share of right answers, `accuracy`."""
        x, y = self.samples(batch), self.labels(batch)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.encoder(x)
        logits = self.classifier(features)
        return {"loss": cross_entropy(logits.float(), y), "accuracy": accuracy(logits, y)}

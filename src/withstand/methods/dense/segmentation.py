"""Segmentation by labels: a U-Net learns masks, from new weights or from what earlier stages learnt without any.

paper: Contrastive learning of global and local features for medical image segmentation with limited annotations
    (2020), its third stage; the Dice loss of V-Net (Milletari et al., 2016)
needs: one view whose pixels lie where the slice's do, and masks       modalities: volumes, pictures
sizes: B slices, K structures with the background, H x W pixels
differences: none known; the paper also moves slices and their masks, and chooses by validation volumes.
"""

from typing import Self

from withstand.core.batch import MASK, Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Product, Source, Terms
from withstand.losses.agreement.dice import dice_loss
from withstand.methods.shared.by_volume import example_slices
from withstand.models.dense.unet import Dense, Segmenter, UNet


class Segmentation(Method):
    """The Dice loss of every structure with the background, on slices whose masks are known.

    Args:
        segmenter: the network; it takes the U-Net's weights from the run's earlier stage, where there is one.
    """

    taught_by = "masks"

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.encoder = segmenter.network.encoder

    @classmethod
    def example(cls) -> Self:
        return cls(Segmenter.example())

    def example_batch(self, rows: range = range(8)) -> Batch:
        return example_slices(rows)

    def products(self) -> dict[str, Product]:
        """Return the encoder and the segmenter, whose outputs are logits `(B, K, H, W)`."""
        return {"encoder": self.encoder, "segmenter": self.segmenter}

    def accept(self, source: Source, batch: int) -> None:
        if not source.structures:
            raise DataError(f"segmentation learns from masks, and {source.name} has none")
        if len(source.structures) != self.segmenter.classes:
            raise ConfigError(
                f"the segmenter tells {self.segmenter.classes} structures, and the masks of {source.name} hold "
                f"{len(source.structures)}: {', '.join(source.structures)}"
            )

    def inherit(self, earlier: Method) -> None:
        if not isinstance(earlier, Dense):
            raise ConfigError(f"segmentation builds on a U-Net, and {type(earlier).__name__} trains none")
        before = earlier.dense()
        if before.encoder.channels != self.encoder.channels:
            raise ConfigError(
                f"the earlier U-Net has channels {before.encoder.channels}, this one {self.encoder.channels}: give the "
                "same width and levels"
            )
        self.segmenter.network.load_state_dict(before.state_dict())

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and the share of known pixels that are named rightly, `accuracy`.

        Raises:
            DataError: no masks.
        """
        if MASK not in batch.extras:
            raise DataError("segmentation learns from masks, and the batch has none")
        masks = batch.extras[MASK]
        logits = self.segmenter(batch.views[0] if batch.views else batch.x)
        known = masks >= 0
        right = (logits.detach().argmax(1) == masks) & known
        share = right.sum() / known.sum().clamp_min(1)
        return {"loss": dice_loss(logits, masks), "accuracy": share.to(logits.dtype)}

    def dense(self) -> UNet:
        """Return the U-Net."""
        return self.segmenter.network

"""Slot-TTA: an autoencoder of slots that learns masks where there are some, and adapts to each scene by restoring it.

paper: Test-time Adaptation with Slot-Centric Models (Prabhudesai et al., 2023)
needs: the pictures themselves; masks in the extra "mask" where there are some      modalities: pictures
sizes: B pictures, K slots, H x W pixels
differences: of a picture with labels 0 to L all L + 1 masks count, where the official code leaves the last one out.
  Bytes are divided by 255, there by 256. The queries have no bias, which no output hangs on. At test time the optimizer
  starts anew; the official code loads its moments.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.batch import MASK, Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.outputs import Maker, Output
from withstand.core.roles import Defense, Method, Product, Source, Terms
from withstand.losses.agreement.slot_masks import matched_mask_loss
from withstand.losses.restoration.reconstruction import squared_error
from withstand.models.dense.slots import LOGITS, RESTORED, SlotDecoder, SlotEncoder, SlotNetwork, SlotSegmenter

STEPS, RATE = 20, 2e-4
"""Of adaptation, where nothing else is said."""
OBJECTS = "objects"
"""The attribute that says how many objects a picture has."""


class SlotTTA(Method):
    """Restores pictures from slots, and matches the slots' masks with true ones.

    Args:
        encoder: finds the slots.
        decoder: draws each slot's picture and mask.
        masks: what the masks' loss weighs beside the squared error; pictures without masks have none.
        adapted: makes the guard that adapts a network to each scene, of the network, steps and rate; a function of a
            module. None where nothing is adapted.
    """

    encoder: SlotEncoder

    def __init__(
        self,
        encoder: SlotEncoder,
        decoder: SlotDecoder,
        *,
        masks: float = 0.01,
        adapted: Callable[[nn.Module, int, float], Defense] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= masks < float("inf"):
            raise ConfigError(f"masks, a weight, must be at least 0 and finite, not {masks!r}")
        self.encoder, self.decoder, self.masks, self.adapted = encoder, decoder, masks, adapted

    @classmethod
    def example(cls) -> Self:
        return cls(SlotEncoder.example(), SlotDecoder.example(), masks=0.1)

    def example_batch(self, rows: range = range(8)) -> Batch:
        plain = super().example_batch(rows)
        places = torch.arange(64).view(1, 8, 8) // 20
        masks = (places + plain.index[:, None, None]) % 4
        return Batch(plain.x, plain.index, plain.y, views=plain.views, extras={MASK: masks})

    def scenes(self) -> SlotNetwork:
        """Return the network of pictures that gives mask logits and what they compose."""
        return SlotNetwork(self.encoder, self.decoder)

    def products(self) -> dict[str, Product]:
        return {"encoder": self.encoder, "segmenter": SlotSegmenter(self.scenes())}

    def maker(self) -> Maker:
        return self.masks_of

    def accept(self, source: Source, batch: int) -> None:
        self.taught_by = "masks" if self.masks and MASK in source[[0]].extras else ""
        if len(source.shape) != 3 or source.shape[0] != self.encoder.channels_in:
            raise DataError(
                f"slots are of pictures of {self.encoder.channels_in} channels, not of samples of shape {source.shape}"
            )
        objects = source.attributes.get(OBJECTS)
        if objects is not None and len(objects) and int(objects.max()) + 1 > self.encoder.slots:
            most = int(objects.max())
            raise DataError(
                f"pictures have up to {most} objects and a background, and there are {self.encoder.slots} slots: take "
                f"{most + 1} or more"
            )

    def step(self, batch: Batch) -> Terms:
        """Return the loss and its parts `restoration` and, with masks, `masks`."""
        told = self.scenes()(batch.x)
        clean = unit_range(batch.x, told[RESTORED].dtype).to(told[RESTORED].dtype)
        restoration = squared_error(told[RESTORED].flatten(1), clean.flatten(1)).mean()
        terms, loss = {"restoration": restoration.detach()}, restoration
        if self.masks and MASK in batch.extras:
            masks = matched_mask_loss(told[LOGITS], batch.extras[MASK])
            loss, terms["masks"] = loss + self.masks * masks, masks.detach()
        return {"loss": loss, **terms}

    def masks_of(self, batch: Batch, *, steps: int | None = None, rate: float = RATE) -> dict[str, Output]:
        """Return the masks and the pictures that they compose, after adaptation to each scene alone.

        Args:
            batch: scenes.
            steps: of adaptation; 0 for none. 20 if not said, where the run tells how to adapt.
            rate: their learning rate.

        Raises:
            ConfigError: steps below 0, or of a run that does not tell how to adapt.
        """
        told = self._told(batch.x, steps, rate)
        return {
            "masks": Output(told[LOGITS].argmax(1), "masks"),
            "restored": Output(told[RESTORED].clamp(0, 1), "pictures"),
        }

    def _told(self, x: Tensor, steps: int | None, rate: float) -> dict[str, Tensor]:
        wanted = (STEPS if self.adapted else 0) if steps is None else steps
        if wanted < 0:
            raise ConfigError(f"steps must be at least 0, not {wanted!r}")
        if not wanted:
            plain: dict[str, Tensor] = self.scenes()(x)
            return plain
        if self.adapted is None:
            raise ConfigError(f"this run does not tell how to adapt: leave out steps={wanted}, or train it anew")
        outputs = self.adapted(self.scenes(), wanted, rate)(unit_range(x)).outputs
        if isinstance(outputs, Tensor):
            raise ConfigError("the guard that adapts must give what the network gives, and gives a tensor alone")
        return {name: outputs[name] for name in (LOGITS, RESTORED)}

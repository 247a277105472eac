"""Any encoder of timm (PyTorch image models), by its name there."""

from typing import Any

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, MissingExtra, nearest
from withstand.models.blocks.pick import pick
from withstand.models.pictures.transformers.patches import TokenEncoder, pick_blocks


class Timm(TokenEncoder):
    """A timm model without its classifier. Those of timm's class `VisionTransformer` read patches, and can hide some.

    Args:
        name: timm's name, such as "resnet50" or "vit_small_patch16_224".
        pretrained: start from timm's published weights, downloaded on first use.
        channels: channels of the pictures.
        size: side of the pictures, for models that are built for one size; None for the model's own.

    Raises:
        MissingExtra: timm is not installed.
        ConfigError: timm knows no such name, the model does not take `size`, or its weights cannot be had.
    """

    def __init__(self, name: str, pretrained: bool = False, *, channels: int = 3, size: int | None = None) -> None:
        super().__init__()
        self.name, self.begins_with = name, "published weights" if pretrained else ""
        try:
            import timm
        except ImportError:
            raise MissingExtra(f"the encoder {name!r}", "timm", "timm") from None
        known = [*timm.list_models(), *timm.list_models(pretrained=True)]  # the latter are name.tag
        if name not in known:
            raise ConfigError(f"timm has no model {name!r}: {nearest(name, known)}")
        sized: dict[str, Any] = {} if size is None else {"img_size": size}
        try:
            self.model = timm.create_model(name, pretrained=pretrained, in_chans=channels, num_classes=0, **sized)
        except TypeError as error:
            if size is None or "img_size" not in str(error):
                raise
            raise ConfigError(f"{name!r} takes pictures of any size: leave out size={size}") from None
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            why = str(error).partition("\n")[0]
            raise ConfigError(f"no published weights for {name!r} ({why}): leave out pretrained") from error
        # Some models end in a wider layer before the classifier; that layer is part of the features.
        width: Any = getattr(self.model, "head_hidden_size", None) or self.model.num_features
        self.width, self.channels = int(width), channels
        residual = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4")
        if {*residual} <= {name for name, _ in self.model.named_children()}:
            self.stages = tuple(f"model.{name}" for name in residual)
        self.patch, self.prefix = 0, 0
        if isinstance(self.model, timm.models.vision_transformer.VisionTransformer):
            side, other = self.model.patch_embed.patch_size
            self.patch, self.prefix = (side if side == other else 0), self.model.num_prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)` of normalised pictures `(B, channels, H, W)`.

        Raises:
            DataError: pictures of another size than the model is built for.
        """
        self._check_size(x)
        features: Tensor = self.model(x)
        return features

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        placed = self._placed(x)
        if keep is not None:
            # Timm projects by a module of its own, with all patches: little beside the blocks.
            before = self.prefix
            placed = torch.cat([placed[:, :before], pick(placed[:, before:], keep)], 1)
        return self._seen(placed)

    def filled(self, x: Tensor, hidden: Tensor, filler: Tensor) -> Tensor:
        return self._seen(self._placed(x, hidden, filler))

    def last_blocks(self, x: Tensor, count: int) -> list[Tensor]:
        network: Any = self.model
        return pick_blocks(network.blocks, network.norm_pre(network.patch_drop(self._placed(x))), count)

    def _placed(self, x: Tensor, hidden: Tensor | None = None, filler: Tensor | None = None) -> Tensor:
        """Return tokens with their positions."""
        if not self.patch:
            raise ConfigError(f"{self.name} has no patches to hide: use model vit or timm:vit_*")
        self._check_size(x)
        network: Any = self.model
        embedded: Tensor = network.patch_embed(x)
        if hidden is not None and filler is not None:  # embeddings come as (B, L, W), or as (B, rows, columns, W)
            embedded = torch.where(hidden.view(*embedded.shape[:-1], 1), filler.to(embedded.dtype), embedded)
        placed: Tensor = network._pos_embed(embedded)
        return placed

    def _seen(self, placed: Tensor) -> Tensor:
        network: Any = self.model
        seen: Tensor = network.norm(network.blocks(network.norm_pre(network.patch_drop(placed))))
        return seen

    def _check_size(self, x: Tensor) -> None:
        embedding: Any = getattr(self.model, "patch_embed", None)
        built = getattr(embedding, "img_size", None)
        if built is None or not getattr(embedding, "strict_img_size", False):
            return
        given, (height, width) = tuple(x.shape[-2:]), built
        if given != (height, width):
            raise DataError(
                f"{self.name} is built for pictures of {height} x {width} pixels, not {given[0]} x {given[1]}: bring "
                "them to its size, or build it with theirs, Timm(..., size=SIDE)"
            )

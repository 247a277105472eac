"""Any network of timm (PyTorch image models), by its name there: as an encoder, or as the classifier that it is."""

from typing import Any

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, MissingExtra, nearest
from withstand.core.part import Part
from withstand.models.blocks.pick import pick
from withstand.models.pictures.transformers.patches import TokenEncoder, pick_blocks

HUB = "hf-hub:"
"""What names of models on the Hugging Face Hub begin with."""


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
        sized: dict[str, Any] = {} if size is None else {"img_size": size}
        try:
            self.model = _made(
                name, "leave out pretrained", pretrained=pretrained, in_chans=channels, num_classes=0, **sized
            )
        except TypeError as error:
            if size is None or "img_size" not in str(error):
                raise
            raise ConfigError(f"{name!r} takes pictures of any size: leave out size={size}") from None
        # Some models end in a wider layer before the classifier; that layer is part of the features.
        width: Any = getattr(self.model, "head_hidden_size", None) or self.model.num_features
        self.width, self.channels = int(width), channels
        residual = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4")
        if {*residual} <= {name for name, _ in self.model.named_children()}:
            self.stages = tuple(f"model.{name}" for name in residual)
        self.patch, self.prefix = 0, 0
        import timm

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
        _refuse_other_size(
            self.model, self.name, x, "bring them to its size, or build it with theirs, Timm(..., size=SIDE)"
        )


class TimmClassifier(Part, nn.Module):
    """A timm model with its classifier and its published weights, which takes pictures as they are.

    Args:
        name: timm's name, with or without a tag, or "hf-hub:ORG/NAME" of a model on the Hugging Face Hub.
        pretrained: load the published weights, downloaded on first use.

    Attributes:
        classes: what its answers are called, in order: WordNet ids of networks that learnt from ImageNet; () where that
            is not known.

    Raises:
        MissingExtra: timm is not installed.
        ConfigError: timm knows no such name, its weights cannot be had, or it has no classifier.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, pretrained: bool = True) -> None:
        super().__init__()
        self.name = name
        self.model = _made(name, "a connection to the Hugging Face Hub is needed once", pretrained=pretrained)
        settings: Any = self.model.pretrained_cfg
        if not int(self.model.num_classes):
            raise ConfigError(f"{name!r} has no classifier: it is an encoder, which train --model takes")
        self.classes = _classes(self.model, settings)
        # Part of the published model, so not of the state.
        self.register_buffer("mean", torch.tensor(settings["mean"]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings["std"]).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(B, C)` of pictures `(B, 3, H, W)` in [0, 1].

        Raises:
            DataError: pictures of another size than the model is built for, or with other channels.
        """
        if x.dim() != 4 or x.shape[1] != len(self.mean):
            raise DataError(f"{self.name} takes pictures ({len(self.mean)}, H, W), not {tuple(x.shape[1:])}")
        _refuse_other_size(self.model, self.name, x, "bring them to its size, with --size or size=")
        logits: Tensor = self.model((x - self.mean) / self.std)
        return logits


def _made(name: str, remedy: str, *, pretrained: bool, **settings: Any) -> Any:
    """Return a model of timm.

    Args:
        name: timm's.
        remedy: what to do where weights cannot be had.
        pretrained: with its published weights.
        **settings: of timm's function.
    """
    try:
        import timm
    except ImportError:
        raise MissingExtra(f"the network {name!r}", "timm", "timm") from None
    known = [*timm.list_models(), *timm.list_models(pretrained=True)]  # the latter are name.tag
    if name not in known and not name.startswith(HUB):
        raise ConfigError(f"timm has no model {name!r}: {nearest(name, known)}")
    try:
        return timm.create_model(name, pretrained=pretrained, **settings)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        why = str(error).partition("\n")[0]
        raise ConfigError(f"no published weights for {name!r} ({why}): {remedy}") from error


def _classes(model: Any, settings: Any) -> tuple[str, ...]:
    """Return the names of a model's answers, which it says itself, or which the number of ImageNet's subset tells."""
    import timm.data

    if settings.get("label_names"):
        return tuple(map(str, settings["label_names"]))
    known: Any = timm.data
    subset = known.infer_imagenet_subset(model)
    return () if subset is None else tuple(known.ImageNetInfo(subset).label_names())


def _refuse_other_size(model: Any, name: str, x: Tensor, remedy: str) -> None:
    """Refuse pictures of another size than a model with one size is built for.

    Raises:
        DataError: names both sizes.
    """
    embedding: Any = getattr(model, "patch_embed", None)
    built = getattr(embedding, "img_size", None)
    if built is None or not getattr(embedding, "strict_img_size", False):
        return
    given, (height, width) = tuple(x.shape[-2:]), built
    if given != (height, width):
        raise DataError(
            f"{name} is built for pictures of {height} x {width} pixels, not {given[0]} x {given[1]}: {remedy}"
        )

"""Any encoder of timm (PyTorch image models), by its name there."""

from typing import Any

from torch import Tensor

from withstand.core.errors import ConfigError, MissingExtra, nearest
from withstand.core.roles import Model


class Timm(Model):
    """A timm model without its classifier.

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
        self.width = int(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, width)` of normalised pictures `(B, channels, H, W)`."""
        features: Tensor = self.model(x)
        return features

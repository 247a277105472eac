"""Maps of a named layer of a frozen network, through which gradients reach its input: what content losses compare.

The weights lie in a file that is named: they are read from it again, and are not part of a run's state.
"""

from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files import by_utf_8
from withstand.core.part import Part
from withstand.models.blocks.exported import exported

VGGLayer: TypeAlias = Literal["vgg22", "vgg34", "vgg44", "vgg54"]
VGG_LAYERS: dict[VGGLayer, int] = {"vgg22": 9, "vgg34": 18, "vgg44": 27, "vgg54": 36}
"""How many of VGG19's layers are run: vggIJ ends with the ReLU of convolution J before pooling I."""
VGG_SCALE = 1 / 12.75
"""What the paper multiplies VGG19's features by, so that their error is about as large as that of pixels."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LayerMaps(Part, nn.Module):
    """Base: a frozen network, in eval mode, of which one layer is read.

    Attributes:
        factor: what the features are multiplied by in a content loss.
        network: the frozen network.
    """

    factor: float

    network: nn.Module

    def _hold(self, network: nn.Module, factor: float) -> None:
        """Take the network; its weights follow devices and types, and are not part of the state."""
        if not factor > 0:
            raise ConfigError(f"factor must be above 0, not {factor!r}")
        self.factor = factor
        for module in network.modules():
            weights = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for name, value in weights:
                delattr(module, name)
                module.register_buffer(name, value.detach(), persistent=False)
        self.network = network.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps `(B, C, H, W)` of pictures in [0, 1]."""
        raise NotImplementedError

    def several(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of all layers that are compared, one layer's as a rule."""
        return (self(x),)


class ExportedMaps(LayerMaps):
    """A layer of an encoder that `withstand export` wrote.

    Args:
        path: `FILE.safetensors`.
        layer: name of a submodule whose output is maps; the last of the encoder's stages if None.
        factor: what the features are multiplied by in a content loss.

    Raises:
        DataError: there is no such file, or it holds no network.
        ConfigError: no such layer, or one that gives no maps.
    """

    def __init__(self, path: str, layer: str | None = None, *, factor: float = 1.0) -> None:
        super().__init__()
        network = exported(Path(path))
        if not isinstance(network, nn.Module):
            raise DataError(f"{path} holds a {type(network).__name__}, no network with layers")
        stages: tuple[str, ...] = getattr(network, "stages", ())
        modules = dict(network.named_modules())
        if layer is None and not stages:
            known = ", ".join(name for name in list(modules)[1:9])
            raise ConfigError(f"the {type(network).__name__} in {path} says of no stages: name a layer, say of {known}")
        self.layer = stages[-1] if layer is None else layer
        if self.layer not in modules or not self.layer:
            raise ConfigError(f"the network in {path} has no layer {layer!r}: {nearest(str(layer), modules)}")
        self._hold(network, factor)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        layer = dict(self.network.named_modules())[self.layer]
        hook = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            self.network(x)
        finally:
            hook.remove()
        if len(kept) != 1 or not isinstance(kept[0], Tensor) or kept[0].dim() != 4:
            raise ConfigError(f"layer {self.layer!r} gives no maps (B, C, H, W) that could be compared: name another")
        return kept[0]


class VGGMaps(LayerMaps):
    """Features of VGG19, whose weights the user brings: torchvision's state dict.

    Args:
        path: a `.pth` file, or `.safetensors`.
        layer: "vgg22", "vgg34", "vgg44" or "vgg54", after the ReLU, by SRGAN's names.
        factor: what the features are multiplied by in a content loss.
        every: compare all four layers up to this one where several are compared, as TecoGAN does.

    Raises:
        DataError: there is no such file, or it holds other weights.
        ConfigError: an unknown layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: str, layer: VGGLayer = "vgg54", *, factor: float = VGG_SCALE, every: bool = False) -> None:
        super().__init__()
        if layer not in get_args(VGGLayer):
            raise ConfigError(f"layer {layer!r} is unknown: {nearest(str(layer), get_args(VGGLayer))}")
        last = VGG_LAYERS[layer]
        self._ends = [end for end in VGG_LAYERS.values() if end == last or (every and end < last)]
        from torchvision.models import vgg19

        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = vgg19(weights=None).features[:last]
        wanted = {name: value.shape for name, value in network.state_dict().items()}
        found = {name.removeprefix("features."): value for name, value in _weights(Path(path)).items()}
        if any(name not in found or found[name].shape != shape for name, shape in wanted.items()):
            raise DataError(f"{path} does not hold the weights of torchvision's vgg19")
        network.load_state_dict({name: found[name].float() for name in wanted}, assign=True)
        self._hold(network, factor)
        # Part of the configuration, so not of the state.
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.several(x)[-1]

    def several(self, x: Tensor) -> tuple[Tensor, ...]:
        three = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        maps, found = (three - self.mean) / self.std, []
        for count, module in enumerate(self.network.children(), start=1):
            maps = module(maps)
            if count in self._ends:
                found.append(maps)
        return tuple(found)


def _weights(path: Path) -> dict[str, Tensor]:
    """Return what a file of weights holds, by name.

    Raises:
        DataError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path} with VGG19's weights: give torchvision's state dict")
    try:
        with by_utf_8(path) as readable:
            if path.suffix == ".safetensors":
                return load_file(readable)
            found = torch.load(readable, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors fail in many ways on what is no file of theirs
        raise DataError(f"{path} cannot be read as weights: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"{path} holds no state dict: give torchvision's of vgg19")
    return found

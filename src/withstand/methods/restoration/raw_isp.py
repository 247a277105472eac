"""RAW-ISP: pictures are brought back to what a sensor would have recorded, and rendered anew.

paper: All You Need is RAW: Defending Against Adversarial Attacks with Camera Image Pipelines (2022)
needs: one view, or samples as they are     modalities: pictures
sizes: B pictures of H x W pixels
differences: there is no official code. The paper learns from pairs of a phone's RAW and a camera's picture; here RAW is
  un-processed from pictures, by one camera of middle settings unless cameras are drawn, or the data bring it along.
  Both networks are U-Nets on packed RAW, where the paper has a PyNET in five levels for the rendering. The perceptual
  term is that of a network that the user names, else left out
"""

import math
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Product, Source, Terms
from withstand.data.pictures.raw.raw_frames import RAW
from withstand.losses.restoration.content import feature_error
from withstand.losses.restoration.structure import multi_scale_similarity
from withstand.methods.shared.wrappers.continued import take_over
from withstand.models.restoration.bayer import Interpolation, Pattern, packed_mosaic
from withstand.models.restoration.camera import Camera, sensor_noise, unprocess
from withstand.models.restoration.layer_maps import LayerMaps
from withstand.models.restoration.raw_unet import ClassicPipeline, FromRaw, RawFilter, ToRaw, enlarged


class RawISP(Method):
    """Learns F, from pictures to RAW, and G, from RAW to pictures, from clean pictures alone.

    F sees pictures with noise, so that what is small does not pass. Apart, G learns from RAW with a sensor's noise;
    jointly, from what F makes of pictures.

    Args:
        encoder: F.
        from_raw: G.
        camera: of the classic pipeline S, and by which pictures without RAW are un-processed.
        pattern: of the RAW.
        way: of S's demosaicing.
        omega: what G weighs beside S in the filter.
        noise: standard deviation of the noise that F's pictures have, alpha.
        cameras: un-process each picture by a camera of its own, drawn, in place of the one.
        structure: what one less the multi-scale structural similarity weighs beside the absolute error of pictures.
        features: whose error is the perceptual term; None for none.
        perceptual: what that weighs.
        joint: train both as one, as in the second stage.

    Raises:
        ConfigError: a setting out of range.
    """

    encoder: ToRaw

    def __init__(
        self,
        encoder: ToRaw,
        from_raw: FromRaw,
        *,
        camera: Camera | None = None,
        pattern: Pattern = "RGGB",
        way: Interpolation = "malvar",
        omega: float = 0.7,
        noise: float = 0.1,
        cameras: bool = False,
        structure: float = 1.0,
        features: LayerMaps | None = None,
        perceptual: float = 1.0,
        joint: bool = False,
    ) -> None:
        super().__init__()
        for name, value in {"noise": noise, "structure": structure, "perceptual": perceptual}.items():
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be at least 0 and finite, not {value!r}")
        self.encoder, self.from_raw, self.features = encoder, from_raw, features
        self.camera = Camera() if camera is None else camera
        self.noise, self.cameras, self.joint = noise, cameras, joint
        self.structure, self.perceptual = structure, perceptual
        self._filter_of = (ClassicPipeline(self.camera, pattern, way), omega)
        self._pattern = self.purifier().pattern
        self._colors = self.camera.colors()

    @classmethod
    def example(cls) -> Self:
        return cls(ToRaw.example(), FromRaw.example())

    def purifier(self) -> RawFilter:
        """Return the filter of F, G and S."""
        classic, omega = self._filter_of
        return RawFilter(self.encoder, self.from_raw, classic, omega)

    def products(self) -> dict[str, Product]:
        """Return F, whose features are its coarsest map's means, and the filter."""
        return {"encoder": self.encoder, "purifier": self.purifier()}

    def accept(self, source: Source, batch: int) -> None:
        enlarged(torch.zeros(1, *source.shape), self.encoder.unit)

    def inherit(self, earlier: Method) -> None:
        """Go on with what the stage before learnt."""
        if not isinstance(earlier, RawISP):
            raise ConfigError(f"RAW-ISP goes on with its own first stage, not with {type(earlier).__name__}")
        take_over(self.encoder, earlier.encoder)
        take_over(self.from_raw, earlier.from_raw)

    def step(self, batch: Batch) -> Terms:
        """Return the sum of what F and G lower, and each alone."""
        dtype = self.encoder.levels.last.weight.dtype
        given = batch.views[0] if batch.views else batch.x
        x = enlarged(unit_range(given, dtype).to(dtype), self.encoder.unit)
        raw = self._raw(batch, x)
        noisy = x + self.noise * batch.draws("noise").normal(*x.shape[1:]).to(x)
        loss_raw = l1_loss(self.encoder.raw(noisy), raw)
        seen = self.encoder.raw(x).clamp(0, 1) if self.joint else sensor_noise(raw, batch.draws("sensor"))
        made = self.from_raw(seen)
        error = l1_loss(made, x)
        loss = error
        if self.structure:
            loss = loss + self.structure * (1 - multi_scale_similarity(made, x).to(loss.dtype))
        if self.features is not None and self.perceptual:
            with torch.no_grad():
                wanted = self.features(x)
            loss = loss + self.perceptual * feature_error(self.features(made), wanted, self.features.factor)
        psnr = -10 * (made.detach() - x).square().mean().clamp_min(1e-12).log10()
        return {"loss": loss_raw + loss, "raw": loss_raw.detach(), "picture": loss.detach(), "psnr": psnr}

    def _raw(self, batch: Batch, x: Tensor) -> Tensor:
        """Return the packed RAW of enlarged pictures: their own, or of un-processed ones."""
        own = batch.extras.get(RAW)
        if own is None:
            colors = self.camera.drawn(batch.draws("camera")) if self.cameras else self._colors
            return packed_mosaic(unprocess(x, colors), self._pattern)
        wanted = (len(x), 4, x.shape[2] // 2, x.shape[3] // 2)
        if tuple(own.shape) != wanted:
            raise DataError(f"RAW beside pictures is packed, {wanted}, not {tuple(own.shape)}")
        return own.to(x)

"""The field's usual views, ready made. None of them normalises: encoders own their normalisation.

Small pictures (28 to 64 pixels): solo-learn's CIFAR recipes. Large ones: the papers' ImageNet recipes.
With one channel the color operations that make no sense there leave the pictures as they are.
"""

from withstand.core.errors import ConfigError
from withstand.core.roles import View
from withstand.views.compose import Compose, MultiCrop, TwoViews
from withstand.views.pictures.blur import GaussianBlur
from withstand.views.pictures.colors.color_views import ColorJitter, Greyscale, Solarize
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.pictures.picture import PictureView


def simclr_small(size: int = 32, *, strength: float = 1.0, blur: float = 0.0, smallest_crop: float = 0.08) -> TwoViews:
    """Two like views for pictures of 28 to 64 pixels (Chen et al., SimCLR, 2020, appendix B.9).

    Args:
        size: output side, pixels.
        strength: multiplies the jitter's (0.8, 0.8, 0.8, 0.2). 1 is solo-learn's, 0.5 the paper's for CIFAR.
        blur: probability of Gaussian blur; the paper blurs no small pictures, solo-learn half of them.
        smallest_crop: least share of the area that a crop keeps.
    """
    chain = [RandomResizedCrop(size, (smallest_crop, 1.0), flip=0.5), *_color(0.8, 0.8, 0.8, 0.2, strength)]
    return TwoViews(Compose((*chain, GaussianBlur(probability=blur)) if blur else tuple(chain)))


def barlow_small(size: int = 32, *, smallest_crop: float = 0.08) -> TwoViews:
    """Two unlike views for pictures of 28 to 64 pixels (solo-learn's CIFAR recipe of Barlow Twins and BYOL).

    The second view is solarized with probability 0.2, the first never; neither is blurred.

    Args:
        size: output side, pixels.
        smallest_crop: least share of the area that a crop keeps.
    """
    chain = (RandomResizedCrop(size, (smallest_crop, 1.0), flip=0.5), *_color(0.4, 0.4, 0.2, 0.1))
    return TwoViews(Compose(chain), Compose((*chain, Solarize(probability=0.2))))


def vicreg_small(size: int = 32) -> TwoViews:
    """Two like views for pictures of 28 to 64 pixels (solo-learn's CIFAR recipe of VICReg)."""
    crop = RandomResizedCrop(size, (0.2, 1.0), flip=0.5)
    return TwoViews(Compose((crop, *_color(0.4, 0.4, 0.2, 0.1), Solarize(probability=0.1))))


def several(size: int = 32, *, views: int = 5, smallest_crop: float = 0.2) -> MultiCrop:
    """Several like views of each picture (Zheng et al., CACR, 2023, official code): jitter always, no blur.

    Args:
        size: output side, pixels.
        views: how many.
        smallest_crop: least share of the area that a crop keeps; the code has 0.2 for CIFAR, 0.08 for larger pictures.
    """
    if views < 2:
        raise ConfigError(f"views must be at least 2, not {views!r}")
    crop = RandomResizedCrop(size, (smallest_crop, 1.0), flip=0.5)
    jitter = ColorJitter(0.4, 0.4, 0.4, 0.4, probability=1.0)
    return MultiCrop((Compose((crop, jitter, Greyscale(probability=0.2))),), (views,))


def multicrop_small(
    size: int = 32,
    *,
    local_crops: int = 4,
    smallest_crop: float = 0.3,
    smallest_local: float = 0.1,
    solarize: bool = False,
) -> MultiCrop:
    """Two whole views and some views of small parts, for pictures of 28 to 64 pixels.

    The papers' shares of the area, which are for photos, would leave a part of a small picture a few pixels:
    these are larger. Parts have half the side, brought to a multiple of 4 that patches tile.

    Args:
        size: side of the whole views, pixels.
        local_crops: how many small parts; 0 leaves two views.
        smallest_crop: least share of the area that a whole view keeps; a part keeps no more than this share.
        smallest_local: least share that a part keeps.
        solarize: one whole view is solarized with probability 0.2, as DINO's are, and colors are BYOL's; else all
            views have SimCLR's colors, as SwAV's have.
    """
    color = _color(0.4, 0.4, 0.2, 0.1) if solarize else _color(0.8, 0.8, 0.8, 0.2)
    whole: tuple[PictureView, ...] = (RandomResizedCrop(size, (smallest_crop, 1.0), flip=0.5), *color)
    share = (smallest_local if local_crops else 0.0, smallest_crop)  # without parts, theirs hinders no whole view
    part = Compose((RandomResizedCrop(max(4, 4 * round(size / 8)), share, flip=0.5), *color))
    if not solarize:
        return _multicrop((Compose(whole),), (2,), part, local_crops)
    return _multicrop((Compose(whole), Compose((*whole, Solarize(probability=0.2)))), (1, 1), part, local_crops)


def simclr_large(size: int = 224, *, strength: float = 1.0, smallest_crop: float = 0.08) -> TwoViews:
    """Two like views at ImageNet's size (Chen et al., SimCLR, 2020, appendix A).

    MoCo v2 and SimSiam take strength 0.5 and crops of at least 0.2.

    Args:
        size: output side, pixels.
        strength: multiplies the jitter's (0.8, 0.8, 0.8, 0.2).
        smallest_crop: least share of the area that a crop keeps.
    """
    crop = RandomResizedCrop(size, (smallest_crop, 1.0), flip=0.5, interpolation="bicubic")
    return TwoViews(Compose((crop, *_color(0.8, 0.8, 0.8, 0.2, strength), GaussianBlur(probability=0.5))))


def barlow_large(size: int = 224, *, smallest_crop: float = 0.08) -> TwoViews:
    """Two unlike views at ImageNet's size (Zbontar et al., Barlow Twins, 2021, official code).

    Blur with probability 1 and 0.1, solarize with 0 and 0.2.

    Args:
        size: output side, pixels.
        smallest_crop: least share of the area that a crop keeps; SiT's is 0.2.
    """
    crop = RandomResizedCrop(size, (smallest_crop, 1.0), flip=0.5, interpolation="bicubic")
    chain = (crop, *_color(0.4, 0.4, 0.2, 0.1))
    return TwoViews(
        Compose((*chain, GaussianBlur(probability=1.0))),
        Compose((*chain, GaussianBlur(probability=0.1), Solarize(probability=0.2))),
    )


def swav_large(size: int = 224, *, local_crops: int = 6) -> MultiCrop:
    """Two views of 0.14 to 1 of the area, and small parts at 3/7 of the side (Caron et al., SwAV, 2020)."""
    views = []
    for side, scale in ((size, (0.14, 1.0)), (round(size * 3 / 7), (0.05, 0.14))):
        crop = RandomResizedCrop(side, scale, flip=0.5, interpolation="bicubic")
        views.append(Compose((crop, *_color(0.8, 0.8, 0.8, 0.2), GaussianBlur(probability=0.5))))
    return _multicrop((views[0],), (2,), views[1], local_crops)


def dino_large(size: int = 224, *, local_crops: int = 8) -> MultiCrop:
    """Two unlike views of 0.4 to 1 of the area, and small parts at 3/7 of the side (Caron et al., DINO, 2021).

    Whole views are blurred with probability 1 and 0.1, the second solarized with 0.2; parts are blurred with 0.5.
    """
    color = _color(0.4, 0.4, 0.2, 0.1)
    crop = RandomResizedCrop(size, (0.4, 1.0), flip=0.5, interpolation="bicubic")
    small = RandomResizedCrop(round(size * 3 / 7), (0.05, 0.4), flip=0.5, interpolation="bicubic")
    first = Compose((crop, *color, GaussianBlur(probability=1.0)))
    second = Compose((crop, *color, GaussianBlur(probability=0.1), Solarize(probability=0.2)))
    return _multicrop((first, second), (1, 1), Compose((small, *color, GaussianBlur(probability=0.5))), local_crops)


def crop_and_flip(size: int = 224, *, smallest_crop: float = 0.2, flip: float = 0.5) -> MultiCrop:
    """One view, cropped and flipped, its colors kept (He et al., MAE, 2022, appendix A.1).

    Args:
        size: output side, pixels.
        smallest_crop: least share of the area that a crop keeps.
        flip: probability of a flip; I-JEPA's is 0.
    """
    return MultiCrop((RandomResizedCrop(size, (smallest_crop, 1.0), flip=flip, interpolation="bicubic"),), (1,))


def _multicrop(whole: tuple[View, ...], counts: tuple[int, ...], part: View, parts: int) -> MultiCrop:
    if parts < 0:
        raise ConfigError(f"local_crops must be at least 0, not {parts!r}")
    return MultiCrop((*whole, part), (*counts, parts)) if parts else MultiCrop(whole, counts)


def _color(
    brightness: float, contrast: float, saturation: float, hue: float, strength: float = 1.0
) -> tuple[PictureView, ...]:
    jitter = ColorJitter(brightness * strength, contrast * strength, saturation * strength, hue * strength)
    return (jitter, Greyscale(probability=0.2))

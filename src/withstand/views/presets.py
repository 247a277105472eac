"""The field's usual views, ready made. None of them normalises: encoders own their normalisation.

Small pictures (28 to 64 pixels): solo-learn's CIFAR recipes. Large ones: the papers' ImageNet recipes.
With one channel the color operations that make no sense there leave the pictures as they are.
"""

from withstand.views.blur import GaussianBlur
from withstand.views.color_views import ColorJitter, Greyscale, Solarize
from withstand.views.compose import Compose, TwoViews
from withstand.views.crop import RandomResizedCrop
from withstand.views.picture import PictureView


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


def barlow_small(size: int = 32) -> TwoViews:
    """Two unlike views for pictures of 28 to 64 pixels (solo-learn's CIFAR recipe of Barlow Twins and BYOL).

    The second view is solarized with probability 0.2, the first never; neither is blurred.
    """
    chain = (RandomResizedCrop(size, flip=0.5), *_color(0.4, 0.4, 0.2, 0.1))
    return TwoViews(Compose(chain), Compose((*chain, Solarize(probability=0.2))))


def simclr_large(size: int = 224, *, strength: float = 1.0) -> TwoViews:
    """Two like views at ImageNet's size (Chen et al., SimCLR, 2020, appendix A).

    Args:
        size: output side, pixels.
        strength: multiplies the jitter's (0.8, 0.8, 0.8, 0.2).
    """
    crop = RandomResizedCrop(size, flip=0.5, interpolation="bicubic")
    return TwoViews(Compose((crop, *_color(0.8, 0.8, 0.8, 0.2, strength), GaussianBlur(probability=0.5))))


def barlow_large(size: int = 224) -> TwoViews:
    """Two unlike views at ImageNet's size (Zbontar et al., Barlow Twins, 2021, official code).

    Blur with probability 1 and 0.1, solarize with 0 and 0.2.
    """
    crop = RandomResizedCrop(size, flip=0.5, interpolation="bicubic")
    chain = (crop, *_color(0.4, 0.4, 0.2, 0.1))
    return TwoViews(
        Compose((*chain, GaussianBlur(probability=1.0))),
        Compose((*chain, GaussianBlur(probability=0.1), Solarize(probability=0.2))),
    )


def _color(
    brightness: float, contrast: float, saturation: float, hue: float, strength: float = 1.0
) -> tuple[PictureView, ...]:
    jitter = ColorJitter(brightness * strength, contrast * strength, saturation * strength, hue * strength)
    return (jitter, Greyscale(probability=0.2))

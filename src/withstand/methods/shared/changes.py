"""What methods that show samples under fixed changes share."""

import torch

from withstand.core.errors import ConfigError
from withstand.core.roles import Source
from withstand.models.blocks.transforms import TransformSet


def accept_changes(transforms: TransformSet, source: Source) -> None:
    """Refuse samples that a set of changes does not fit, before anything runs.

    Raises:
        DataError: the samples cannot be changed so.
        ConfigError: a change alters a sample's shape.
    """
    blank = torch.zeros(1, *source.shape)
    for number, name in enumerate(transforms.names):
        found = tuple(transforms.apply(blank, number).shape[1:])
        if found != tuple(source.shape):
            raise ConfigError(f"the change {name!r} makes samples of shape {found} out of {tuple(source.shape)}")

"""Losses of clips against plain formulas."""

import torch
from torch import Tensor

from withstand.losses.restoration.clips import cosine_error, matching_loss


def maps(seed: int) -> Tensor:
    return torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_cosines_of_places_over_channels() -> None:
    one, other = maps(0), maps(1)
    expected = 1 - torch.cosine_similarity(one, other, dim=1).mean()
    torch.testing.assert_close(cosine_error(one, other), expected)
    torch.testing.assert_close(cosine_error(one, -one), torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(cosine_error(one, 3 * one), torch.tensor(0.0, dtype=torch.float64))


def test_maps_apart_are_summed_over_channels() -> None:
    one, other = maps(0), maps(1)
    plain = sum((one[:, channel] - other[:, channel]).abs().mean() for channel in range(5)) / 7
    torch.testing.assert_close(matching_loss(one, other, 7.0), plain)

"""Scenes of scattered pictures: exact masks, nothing touches, and every scene is its own."""

import numpy as np
import pytest
import torch

from toys import ToyPictures
from withstand.core.batch import MASK
from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.synthetic.scattered import Scattered


def squares(side: int = 4) -> ArraySource:
    x = np.zeros((2, 1, 8, 8), dtype=np.uint8)
    x[:, :, 2 : 2 + side, 2 : 2 + side] = 255
    return ArraySource(x, layout="NCHW")


def test_masks_are_where_the_objects_are_and_hold_each_as_a_whole() -> None:
    source = Scattered(squares(), 50, objects=(2, 3))
    batch = source[range(50)]
    masks = batch.extras[MASK]
    assert torch.equal(batch.x.amax(1) > 0, masks > 0)
    sizes = torch.stack([(masks == label).sum((1, 2)) for label in (1, 2, 3)], 1)
    assert torch.equal(sizes, 16 * (torch.arange(3) < source.attributes["objects"][:, None]).long())
    assert set(source.attributes["objects"].tolist()) == {2, 3}
    for x, mask in zip(batch.x, masks, strict=True):
        for label in range(1, int(mask.max()) + 1):
            assert len(torch.unique(x[:, mask == label], dim=1).T) == 1, "one color an object"
    assert (batch.x.amax((1, 2, 3)) == 255).all()


def test_colored_grounds_are_plain_dim_and_differ_from_scene_to_scene() -> None:
    black, colored = (Scattered(squares(), 20, ground=ground) for ground in ("black", "colored"))
    one, other = black[range(20)], colored[range(20)]
    assert torch.equal(one.extras[MASK], other.extras[MASK])
    free = other.extras[MASK] == 0
    grounds = torch.stack([torch.unique(x[:, some], dim=1)[:, 0] for x, some in zip(other.x, free, strict=True)])
    assert (other.x.movedim(1, 3)[~free] == one.x.movedim(1, 3)[~free]).all()
    assert int(grounds.max()) <= 102
    assert len(torch.unique(grounds, dim=0)) == 20


def test_a_scene_hangs_on_its_place_and_the_seed() -> None:
    source = Scattered(squares(), 20)
    assert torch.equal(source[[7, 3]].x, source[range(20)].x[[7, 3]])
    assert torch.equal(Scattered(squares(), 10)[[7]].x, source[[7]].x)
    assert source.fingerprint() == Scattered(squares(), 20).fingerprint()
    assert source.fingerprint() != Scattered(squares(), 20, seed=1).fingerprint()


def test_what_does_not_fit_is_refused() -> None:
    for wrong, words in (
        ({"objects": (1, 5)}, "room for 4 objects"),
        ({"objects": (0, 1)}, "room for 4"),
        ({"ground": "colour"}, "'colored'"),
        ({"threshold": 1.0}, "threshold"),
        ({"scenes": 0}, "scenes"),
        ({"side": 7}, "room for 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            Scattered(squares(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="only grey pictures"):
        Scattered(ToyPictures(4))

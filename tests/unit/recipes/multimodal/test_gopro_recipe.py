"""GOPro's recipe: what it takes from the run before, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from toys import ToyPictures
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import externals
from withstand.data.arrays.source import ArraySource
from withstand.engine.experiment import Experiment
from withstand.methods.multimodal.gopro import GOPro
from withstand.recipes.contrastive import simclr
from withstand.recipes.multimodal import clip_rocket
from withstand.recipes.multimodal.gopro import SETUP, experiment

NAMES = ("ant", "bee", "cat", "dog")


def labelled(count: int = 64, classes: tuple[str, ...] = NAMES) -> ArraySource:
    x = np.random.default_rng(0).integers(0, 256, (count, 3, 16, 16), dtype=np.uint8)
    return ArraySource(x, np.arange(count) % len(classes), layout="NCHW", classes=classes)


@pytest.fixture(scope="module")
def clip() -> Experiment:
    setup = replace(clip_rocket.SETUP, data=labelled(), width=4, batch=16, text_width=8, text_layers=1, text_heads=2)
    return clip_rocket.experiment(setup, views=0)


def test_shots_are_of_base_classes_and_everything_else_is_the_runs(clip: Experiment) -> None:
    made = experiment(replace(SETUP, first=clip, base=2, shots=3))
    assert made.source.labels is not None
    assert sorted(made.source.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    assert not made.source[[0]].extras, "captions are not read"
    for part in (made.source, made.test, made.labelled):
        assert not [path for path in externals(part) if "indices" in path], "a run can be opened without its data given"
    assert made.plan.batch == 4
    assert isinstance(made.method, GOPro)
    assert (made.method.classes, made.method.base) == (NAMES, 2)
    assert made.labelled is not None
    assert len(made.labelled) == len(clip.source)
    made.check()
    other = experiment(replace(SETUP, first=clip, base=2, shots=3, seed=1))
    assert other.source.fingerprint() != made.source.fingerprint()
    assert len(experiment(replace(SETUP, first=clip, shots=0)).source) == len(clip.source)


def test_other_data_are_learnt_from_if_their_classes_are_in_known_words(clip: Experiment) -> None:
    swapped = labelled(classes=("dog", "cat"))
    made = experiment(replace(SETUP, first=clip, data=swapped, shots=2, elsewhere=swapped))
    assert isinstance(made.method, GOPro)
    assert made.method.classes == ("dog", "cat")
    with pytest.raises(ConfigError, match="'zebra', which no caption has"):
        experiment(replace(SETUP, first=clip, data=labelled(classes=("dog", "zebra"))))
    with pytest.raises(DataError, match="of the same classes, ant, bee, cat"):
        experiment(replace(SETUP, first=clip, shots=2, elsewhere=swapped))


def test_what_cannot_be_built_on_is_refused(clip: Experiment) -> None:
    with pytest.raises(ConfigError, match="give its run by --first FOLDER"):
        experiment(SETUP)
    plain = simclr.experiment(replace(simclr.SETUP, data=ToyPictures(64), width=4))
    with pytest.raises(ConfigError, match="first is a run of SimCLR, and prompts need one of clip-rocket"):
        experiment(replace(SETUP, first=plain))
    bare = ArraySource(np.zeros((8, 3, 16, 16), dtype=np.uint8), layout="NCHW")
    with pytest.raises(DataError, match="has no labels with names"):
        experiment(replace(SETUP, first=clip, data=bare))
    with pytest.raises(ConfigError, match="shots must be at least 0"):
        experiment(replace(SETUP, first=clip, shots=-1))
    with pytest.raises(DataError, match="99 samples a class were asked for"):
        experiment(replace(SETUP, first=clip, shots=99))
    convnet = replace(
        clip_rocket.SETUP,
        data=labelled(),
        model="convnet",
        width=4,
        batch=16,
        text_width=8,
        text_layers=1,
        text_heads=2,
    )
    silent = clip_rocket.experiment(convnet, views=0)
    with pytest.raises(ConfigError, match="no layers"):
        experiment(replace(SETUP, first=silent, shots=2))

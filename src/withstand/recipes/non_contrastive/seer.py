"""SEER: SwAV in one pass over pictures that nobody chose.

paper: Vision Models Are More Robust And Fair When Pretrained On Uncurated Images Without Supervision (Goyal, Duval,
  Seessel, Caron, Misra, Sagun, Joulin, Bojanowski; 2022)
claims: random, unfiltered pictures teach features that carry over to more tasks, more robustly and with smaller gaps
  between groups than curated ones
learns from: unlabelled pictures, photos, images, as they come; two or more views of each
mechanism: clustering
target: cluster
granularity: picture
guard: balanced assignment
needs: several views, batch statistics
use it when: there are far more pictures than time, unfiltered and unequally frequent; gaps between groups matter:
  withstand probe RUN --groups groups.csv
not for: small sets, which one pass hardly teaches: swav takes more
command: withstand train seer --data fashion-mnist-small
time: 234 processor seconds for the claim, 3 seeds of two arms
reached: mean linear accuracy over three other tasks 0.496 ± 0.013 from 2,400 uncurated pictures, 0.442 ± 0.005 from as
  many curated ones; effect 0.054 [0.030, 0.078]: reproduced
differences: the paper trains RegNets of up to 10 billion parameters with 16,000 prototypes on a billion pictures; this
  is its objective and its single pass at any size.
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.methods.non_contrastive.swav import SwAV
from withstand.recipes.setups.vision.pictures import CropSetup, experiment_on_pictures
from withstand.views.presets import multicrop_small, swav_large

SETUP = CropSetup(learning_rate=0.48, epochs=1, batch=128)


def experiment(
    setup: CropSetup = SETUP,
    *,
    prototypes: int = 300,
    temperature: float = 0.1,
    epsilon: float = 0.03,
    iterations: int = 10,
    local_crops: int = 4,
    smallest_crop: float = 0.3,
    power: float = 0.0,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        prototypes: directions that pictures are assigned to.
        temperature: of the prediction's softmax.
        epsilon: of the assignment; small is sharp.
        iterations: of Sinkhorn's algorithm.
        local_crops: views of small parts; 0 for none.
        smallest_crop: least share of the area that a whole view of a small picture keeps.
        power: prototypes' shares fall as this power of their number, for unequally frequent kinds; 0 for equal ones.
    """
    views = (
        partial(multicrop_small, local_crops=local_crops, smallest_crop=smallest_crop),
        partial(swav_large, local_crops=local_crops),
    )
    method = partial(
        SwAV,
        prototypes=prototypes,
        temperature=temperature,
        epsilon=epsilon,
        iterations=iterations,
        frozen_epochs=0,
        power=power,
    )
    return experiment_on_pictures("seer", method, views, setup)

"""ScatSimCLR: SimCLR on fixed wavelet scattering, with a small network behind it and a pretext task beside it.

paper: ScatSimCLR: Self-supervised Contrastive Learning with Pretext Task Regularization for Small-scale Datasets
  (Kinakh, Taran, Voloshynovskiy; ICCV workshops 2021)
claims: with the first layers replaced by scattering, fewer parameters learn as much from few pictures; telling how a
  picture was turned, or how its tiles were shuffled, adds to it
learns from: unlabelled pictures, photos, images; two views of each
mechanism: contrastive, pretext
target: instance, transformation
granularity: picture
guard: negatives, known answers
needs: two views
use it when: pictures are few; parameters must be few
not for: large photos without a graphics card: scattering runs in every step
command: withstand train scatsimclr --data fashion-mnist-small
time: 735 s of a processor for the claim, 3 seeds
reached: reproduced: linear accuracy 0.387 ± 0.029 against 0.311 ± 0.017 of SimCLR on a ResNet (1,000 CIFAR-10 pictures,
  20 epochs)
"""

from functools import partial

from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.methods.contrastive.scatsimclr import ScatSimCLR, Task
from withstand.recipes.setups.vision.pictures import TwoViewSetup, experiment_on_pictures
from withstand.views.presets import simclr_large, simclr_small

SETUP = TwoViewSetup(model="scattering", width=32, depth=8, batch=64, learning_rate=1e-3)


def experiment(
    setup: TwoViewSetup = SETUP,
    *,
    temperature: float = 0.5,
    pretext: Task = "rotation",
    pretext_weight: float = 0.3,
    smallest_crop: float = 0.2,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget. The paper's network is scattering:16 of width 64 and depth 30, trained at 3e-4.
        learning_rate: of Adam.
        temperature: the loss's tau.
        pretext: rotation, jigsaw or none.
        pretext_weight: of the pretext task's loss.
        smallest_crop: least share of the area that a crop of a small picture keeps.
    """
    method = partial(ScatSimCLR, temperature=temperature, pretext=pretext, pretext_weight=pretext_weight)
    views = (partial(simclr_small, smallest_crop=smallest_crop), simclr_large)
    return experiment_on_pictures("scatsimclr", method, views, setup, optimizer=Adam(setup.learning_rate, 1e-5))

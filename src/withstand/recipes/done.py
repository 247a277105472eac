"""DONE: adversarial training that gives the samples hit worst most weight, by a worst case near uniform.

paper: Doubly Robust Instance-Reweighted Adversarial Training (Sow, Lin, Wang, Liang; ICLR 2024)
claims: weights that solve a KL-regularised worst case, with gradients through the attack, lift the classes that are
  weakest under attack, most of all where classes are of unequal size
learns from: labelled pictures, photos, images
use it when: no class may be left much weaker than the others under attack; imbalanced, rare classes, worst case
command: withstand train done --data fashion-mnist-small --ratio 0.1
"""

from dataclasses import replace

from withstand.core.random import isolated
from withstand.core.roles import Method, Model, Source
from withstand.core.threat import parse_eps
from withstand.data.imbalanced import Imbalance
from withstand.data.load import Data
from withstand.engine.experiment import Experiment
from withstand.methods.robust.done import DoublyRobustTraining
from withstand.recipes import pgd_at
from withstand.recipes.claim import Claim
from withstand.recipes.robust_pictures import (
    both,
    by_class,
    class_count,
    experiment_with_labels,
    share,
    trained_network,
    withstood,
)
from withstand.recipes.trial import budget, refuse_other_scale


def experiment(
    *,
    data: Data = "fashion-mnist-small",
    size: int | None = None,
    model: str = "resnet",
    width: int = 16,
    depth: int = 10,
    epochs: int = 20,
    batch: int = 128,
    learning_rate: float = 0.05,
    eps: str = "8/255",
    steps: int = 10,
    temperature: float = 1.0,
    barrier: float = 1e-5,
    implicit: bool = True,
    warmup: int | None = None,
    ratio: float = 1.0,
    imbalance: Imbalance = "step",
    seed: int = 0,
    processes: int = 1,
) -> Experiment:
    """Return the experiment.

    Args:
        data: a labelled set's name, a folder with one folder a class, an array file.
        size: side in pixels for a folder's photos.
        model: resnet, vit, timm:NAME or timm:NAME:pretrained.
        width: channels of the ResNet's first stage.
        depth: layers of the encoder.
        epochs: passes over the data.
        batch: samples a step.
        learning_rate: of SGD, for a batch of 128.
        eps: radius of the inner attack (Linf), in input units or like 8/255.
        steps: of the inner attack.
        temperature: r: smaller looks harder at the worst samples.
        barrier: c of the inner problem's log-barrier, in units of loss.
        implicit: let gradients flow through the attack.
        warmup: epochs of plain adversarial training before; half of them if not said.
        ratio: the training set's smallest class is cut to this share of the largest; 1 leaves it as it is.
        imbalance: which classes are cut: step, the second half; exp, more and more.
        seed: of weights, order, views and attacks.
        processes: how many train together.
    """
    radius, before = parse_eps(eps), epochs // 2 if warmup is None else warmup

    def method(encoder: Model, source: Source) -> Method:
        return DoublyRobustTraining(
            encoder,
            classes=class_count(source),
            eps=radius,
            steps=steps,
            temperature=temperature,
            barrier=barrier,
            implicit=implicit,
            warmup=before,
            seed=seed,
        )

    return experiment_with_labels(
        "done", method, data=data, size=size, model=model, width=width, depth=depth, epochs=epochs, batch=batch,
        learning_rate=learning_rate, seed=seed, processes=processes, ratio=ratio, imbalance=imbalance,
    )  # fmt: skip


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare with PGD-AT, half of the classes cut to a tenth, by the three weakest classes' accuracy under attack."""
    refuse_other_scale(scale)
    weakest: dict[str, list[float]] = {"DONE": [], "PGD-AT": []}
    found: dict[str, list[tuple[float, float]]] = {"DONE": [], "PGD-AT": []}
    for seed in range(seeds):
        with isolated(seed, "claim"):
            ours = experiment(width=8, epochs=10, steps=5, ratio=0.1, seed=seed)
            like = pgd_at.experiment(width=8, epochs=10, steps=5, seed=seed)
        for name, trial in (("DONE", ours), ("PGD-AT", replace(like, source=ours.source))):
            clean, holds, y = withstood(trained_network(trial), trial, parse_eps("8/255"))
            weakest[name].append(sum(sorted(by_class(holds, y))[:3]) / 3)
            found[name].append((share(clean), share(holds)))
    return Claim(
        slug="done",
        statement="the worst-case weights lift the classes that are weakest under attack",
        quantity="mean accuracy under PGD-20 at 8/255 of the three weakest classes",
        system=tuple(weakest["DONE"]),
        baseline=tuple(weakest["PGD-AT"]),
        names=("DONE", "PGD-AT"),
        protocol={**budget(ours), "classes": "the second half cut to a tenth", "attack": "PGD-20, 500 test samples"},
        tables={"clean and robust accuracy": both(found)},
    )

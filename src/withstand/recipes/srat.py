"""SRAT: adversarial training on classes of unequal size, with class weights and features kept apart.

paper: Imbalanced Adversarial Training with Reweighting (Wang, Xu, Liu, Li, Thuraisingham, Tang; ICDM 2022)
claims: adversarial training loses rare classes more than plain training does; late class weights with a loss that
  separates attacked features give them accuracy under attack at less cost to the large ones
learns from: labelled pictures, photos, images, with classes of unequal size
use it when: some classes are rare, and the classifier must withstand small changes of its inputs; imbalanced, long tail
command: withstand train srat --data fashion-mnist-small --ratio 0.02
"""

from dataclasses import replace

from withstand.core.random import isolated
from withstand.core.roles import Method, Model, Source
from withstand.core.threat import parse_eps
from withstand.data.imbalanced import Imbalance
from withstand.data.load import Data
from withstand.engine.experiment import Experiment
from withstand.methods.robust.srat import Loss, SeparableReweightedTraining
from withstand.recipes import pgd_at
from withstand.recipes.claim import Claim
from withstand.recipes.robust_pictures import (
    both,
    by_class,
    class_count,
    experiment_with_labels,
    madry,
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
    loss: Loss = "cross-entropy",
    beta: float = 0.999,
    defer: int | None = None,
    separation: float = 0.1,
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
        loss: cross-entropy, focal, ldam or balanced-softmax.
        beta: of the class weights' effective numbers; nearer 1 weighs rare classes up more.
        defer: epochs before class weights count; half of them if not said.
        separation: weight of the loss that keeps classes' attacked features apart.
        ratio: the training set's smallest class is cut to this share of the largest; 1 leaves it as it is.
        imbalance: which classes are cut: step, the second half; exp, more and more.
        seed: of weights, order, views and attacks.
        processes: how many train together.
    """
    radius, start = parse_eps(eps), epochs // 2 if defer is None else defer

    def method(encoder: Model, source: Source) -> Method:
        assert source.labels is not None
        counts = tuple(source.labels.bincount(minlength=class_count(source)).tolist())
        return SeparableReweightedTraining(
            encoder,
            counts=counts,
            loss=loss,
            attack=madry(radius, steps),
            beta=beta,
            defer=start,
            separation=separation,
            seed=seed,
        )

    return experiment_with_labels(
        "srat", method, data=data, size=size, model=model, width=width, depth=depth, epochs=epochs, batch=batch,
        learning_rate=learning_rate, seed=seed, processes=processes, ratio=ratio, imbalance=imbalance,
    )  # fmt: skip


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare with PGD-AT, half of the classes cut to a fiftieth, by those classes' accuracy under attack."""
    refuse_other_scale(scale)
    rare: dict[str, list[float]] = {"SRAT": [], "PGD-AT": []}
    found: dict[str, list[tuple[float, float]]] = {"SRAT": [], "PGD-AT": []}
    for seed in range(seeds):
        with isolated(seed, "claim"):
            ours = experiment(width=8, epochs=12, steps=5, ratio=0.02, seed=seed)
            like = pgd_at.experiment(width=8, epochs=12, steps=5, seed=seed)
        for name, trial in (("SRAT", ours), ("PGD-AT", replace(like, source=ours.source))):
            clean, holds, y = withstood(trained_network(trial), trial, parse_eps("8/255"))
            classes = by_class(holds, y)
            tail = classes[len(classes) // 2 :]
            rare[name].append(sum(tail) / len(tail))
            found[name].append((share(clean), share(holds)))
    return Claim(
        slug="srat",
        statement="class weights and separated features give rare classes accuracy under attack",
        quantity="accuracy under PGD-20 at 8/255 of the rare half of the classes",
        system=tuple(rare["SRAT"]),
        baseline=tuple(rare["PGD-AT"]),
        names=("SRAT", "PGD-AT"),
        protocol={**budget(ours), "classes": "the second half cut to a fiftieth", "attack": "PGD-20, 500 test samples"},
        tables={"clean and robust accuracy": both(found)},
    )

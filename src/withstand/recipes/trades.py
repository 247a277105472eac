"""TRADES: a classifier that learns from clean inputs and is smoothed round them.

paper: Theoretically Principled Trade-off between Robustness and Accuracy (Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan;
  ICML 2019)
claims: the clean loss plus beta times the divergence that an attack can cause trades accuracy for robustness, the more
  so the larger beta
learns from: labelled pictures, photos, images
use it when: a classifier must withstand small changes of its inputs, and accuracy is to be traded for it by one number
command: withstand train trades --data fashion-mnist-small
"""

from withstand.core.random import isolated
from withstand.core.roles import Method, Model, Source
from withstand.core.threat import parse_eps
from withstand.data.load import Data
from withstand.engine.experiment import Experiment
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.methods.strategies import Mart, Strategy, Trades
from withstand.recipes.claim import Claim
from withstand.recipes.robust_pictures import (
    both,
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
    beta: float = 6.0,
    mart: bool = False,
    weight_perturbation: float = 0.0,
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
        beta: what robustness weighs against accuracy.
        mart: MART in place of TRADES: the boosted loss that looks hardest at misclassified samples.
        weight_perturbation: AWP's gamma, 0.005 to 0.01; 0 for none.
        seed: of weights, order, views and attacks.
        processes: how many train together.
    """
    radius = parse_eps(eps)
    strategy: Strategy = Mart(beta) if mart else Trades(beta)

    def method(encoder: Model, source: Source) -> Method:
        return AdversarialTraining(
            encoder,
            classes=class_count(source),
            strategy=strategy,
            attack=madry(radius, steps),
            start_noise=1e-3,
            weight_perturbation=weight_perturbation,
            seed=seed,
        )

    return experiment_with_labels(
        "trades", method, data=data, size=size, model=model, width=width, depth=depth, epochs=epochs, batch=batch,
        learning_rate=learning_rate, seed=seed, processes=processes,
    )  # fmt: skip


def claim(*, scale: str = "small", seeds: int = 3) -> Claim:
    """Compare beta 6 with beta 1 by the share of clean accuracy that is lost under attack; less is better."""
    refuse_other_scale(scale)
    found: dict[float, list[tuple[float, float]]] = {6.0: [], 1.0: []}
    for seed in range(seeds):
        for beta, rows in found.items():
            with isolated(seed, "claim"):
                trial = experiment(width=8, epochs=8, steps=5, beta=beta, seed=seed)
            clean, holds, _ = withstood(trained_network(trial), trial, parse_eps("8/255"))
            rows.append((share(clean), share(holds)))
    return Claim(
        slug="trades",
        statement="a larger beta loses less accuracy under attack",
        quantity="accuracy under PGD-20 at 8/255 minus clean accuracy",
        system=tuple(robust - clean for clean, robust in found[6.0]),
        baseline=tuple(robust - clean for clean, robust in found[1.0]),
        names=("beta 6", "beta 1"),
        protocol={**budget(trial), "attack": "PGD-20 on cross-entropy and on the margin, 500 test samples"},
        tables={"clean and robust accuracy": both({"beta 6": found[6.0], "beta 1": found[1.0]})},
    )

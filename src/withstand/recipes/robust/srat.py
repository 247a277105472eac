"""SRAT: adversarial training on classes of unequal size, with class weights and features kept apart.

paper: Imbalanced Adversarial Training with Reweighting (Wang, Xu, Liu, Li, Thuraisingham, Tang; ICDM 2022)
claims: adversarial training loses rare classes more than plain training does; late class weights with a loss that
  separates attacked features give them accuracy under attack at less cost to the large ones
learns from: labelled pictures, photos, images, with classes of unequal size
use it when: some classes are rare, and the classifier must withstand small changes of its inputs; imbalanced, long tail
not for: classes of equal size
longer runs: another number of epochs is another run: class weights count from half of them on, if defer is not said
command: withstand train srat --data fashion-mnist-small --ratio 0.02
time: 30 minutes on one busy core for the claim, 3 seeds
reached: undecided by 3 seeds: accuracy under PGD-20 at 8/255 of the rare half of classes 0.103 ± 0.062, PGD-AT 0.000
  (Fashion-MNIST, half of the classes cut to a fiftieth, ResNet of width 8, 12 epochs)
"""

from withstand.core.roles import Method, Model, Source
from withstand.core.threat import parse_eps
from withstand.engine.experiment import Experiment
from withstand.methods.robust.srat import ImbalancedLoss, SeparableReweightedTraining
from withstand.recipes.setups.vision.labelled_pictures import class_count
from withstand.recipes.setups.vision.robust_pictures import ImbalancedSetup, experiment_with_labels, madry

SETUP = ImbalancedSetup()


def experiment(
    setup: ImbalancedSetup = SETUP,
    *,
    loss: ImbalancedLoss = "cross-entropy",
    beta: float = 0.999,
    defer: int | None = None,
    separation: float = 0.1,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget, inner attack.
        loss: cross-entropy, focal, ldam or balanced-softmax.
        beta: of the class weights' effective numbers; nearer 1 weighs rare classes up more.
        defer: epochs before class weights count; half of them if not said.
        separation: weight of the loss that keeps classes' attacked features apart.
    """
    radius, start = parse_eps(setup.eps), setup.epochs // 2 if defer is None else defer

    def method(encoder: Model, source: Source) -> Method:
        assert source.labels is not None
        counts = tuple(source.labels.bincount(minlength=class_count(source)).tolist())
        return SeparableReweightedTraining(
            encoder,
            counts=counts,
            loss=loss,
            attack=madry(radius, setup.steps),
            beta=beta,
            defer=start,
            separation=separation,
        )

    return experiment_with_labels("srat", method, setup)

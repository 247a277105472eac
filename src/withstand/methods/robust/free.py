"""Free adversarial training: one backward pass serves the weights and the perturbation, several times a batch.

paper: Adversarial Training for Free! (2019)
needs: labels, one view     modalities: any with an encoder and inputs in [0, 1]
sizes: B samples, m replays
differences: the official code carries the last batch's perturbation over to the next, unrelated one; here each batch
    starts at a random point of the ball, so that a resumed run, and several processes, go on alike. An epoch
    replays every batch m times: divide the usual number of epochs by m.
"""

from dataclasses import replace

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Model, Terms, Trainer
from withstand.core.threat import Ball
from withstand.losses.comp_sum import comp_sum
from withstand.methods.labelled import ATTACKED, LabelledMethod, accuracy

BALL = Ball()


class FreeAdversarialTraining(LabelledMethod):
    """A classifier trained against a perturbation that improves with every replay of the batch.

    Args:
        encoder: the network to train.
        classes: how many labels there are.
        ball: how far an input is moved; every replay moves it by the whole radius, and projects.
        replays: m.
        seed: of the starting points.
    """

    def __init__(self, encoder: Model, *, classes: int, ball: Ball = BALL, replays: int = 8, seed: int = 0) -> None:
        super().__init__(encoder, classes, seed)
        if replays < 1 or ball.targeted:
            raise ConfigError(f"replays must be at least 1 and the ball untargeted, not {replays!r} and {ball!r}")
        self.ball, self.replays = ball, replays

    def step(self, batch: Batch) -> Terms:
        """Return the loss under the perturbation at hand (a random one without `update`), and the accuracy there."""
        x, y = self.samples(batch), self.labels(batch)
        moved = batch.extras.get(ATTACKED)
        if moved is None:
            moved = (x + self.ball.sample(x, self.draws(batch))).clamp(0, 1)
        logits = self.logits(moved)
        return {"loss": comp_sum(logits, y).mean(), "robust_accuracy": accuracy(logits, y)}

    def update(self, batch: Batch, trainer: Trainer) -> Terms:
        """Replay the batch: each time the weights descend, and the perturbation climbs."""
        x = self.samples(batch)
        moved = (x + self.ball.sample(x, self.draws(batch))).clamp(0, 1)
        terms: Terms = {}
        for _ in range(self.replays):
            moved = moved.detach().requires_grad_(True)
            terms = trainer.terms(replace(batch, extras={**batch.extras, ATTACKED: moved}))
            trainer.descend(terms["loss"])
            assert moved.grad is not None
            delta = moved.detach() - x + self.ball.eps * self.ball.direction(moved.grad)
            moved = (x + self.ball.project(delta)).clamp(0, 1)
        return terms

"""A toy adversarial pair: two groups with an optimizer each, a critic that sits out steps, data beside."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from toys import ToyPictures, toy_experiment
from withstand.core.batch import Batch
from withstand.core.roles import Method, Model, Terms, Trainer
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import SGD, Adam
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized


class ToyGAN(Method):
    """A generator moves features towards those of the pictures beside; a critic tells them apart, every `pause` steps.

    Args:
        encoder: of pictures.
        pause: steps from one of the critic's to its next.
    """

    def __init__(self, encoder: Model, pause: int = 2) -> None:
        super().__init__()
        self.encoder, self.pause = encoder, pause
        self.generator = nn.Sequential(nn.Linear(encoder.width, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
        self.target, self.critic = (
            nn.Linear(encoder.width, 6),
            nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)),
        )
        self.target.requires_grad_(False)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {
            "generator": [*self.encoder.parameters(), *self.generator.parameters()],
            "critic": list(self.critic.parameters()),
        }

    def made(self, batch: Batch) -> Tensor:
        noise = batch.draws("noise").normal(self.encoder.width).to(self.target.weight.dtype)
        return self.generator(self.encoder(batch.views[0]) + 0.1 * noise)  # type: ignore[no-any-return]

    def step(self, batch: Batch) -> Terms:
        made = self.made(batch)
        return {
            "loss": -self.critic(made).mean() + made.square().mean(),
            "embeddings": torch.stack([made.detach()] * 2),
        }

    def judge(self, batch: Batch) -> Terms:
        with torch.no_grad():
            made = self.made(batch)
            real = self.target(self.encoder(batch.beside["real"].x))
        gap = float(batch.draws_for_all("gap").uniform(1))
        return {"loss": self.critic(made).mean() - self.critic(real).mean() + gap * self.critic(made).square().mean()}

    def update(self, batch: Batch, trainer: Trainer) -> Terms:
        terms = trainer.terms(batch)
        trainer.descend(terms["loss"], "generator")
        if batch.step % self.pause:
            return terms
        judged = trainer.terms(batch, self.judge)
        trainer.descend(judged["loss"], "critic")
        return terms | {"critic": judged["loss"].detach()}


def adversarial(processes: int = 1, *, pause: int = 2, epochs: int = 3, **plan: object) -> Experiment:
    """Return three epochs of five batches of 16, with seven tenths of as many pictures beside."""
    method = ToyGAN(Normalized(ResNet(4, 10), (0.5,) * 3, (0.25,) * 3), pause)
    settings: dict[str, object] = {"precision": "float64", "processes": processes} | plan
    made = toy_experiment(epochs=epochs, count=80, method=method, **settings)
    plan_of_two = replace(made.plan, optimizer={"generator": SGD(0.05), "critic": Adam(0.01)})
    return replace(made, plan=plan_of_two, beside={"real": ToyPictures(56, seed=1)})

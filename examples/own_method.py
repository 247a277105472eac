"""A method of your own: thirty lines that train, resume, probe, audit and report like any other.

python examples/own_method.py
"""

from pathlib import Path

import torch

import withstand as ws
from withstand.core.batch import Batch
from withstand.core.random import isolated
from withstand.core.roles import Method, Model, Terms
from withstand.data.load import splits
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import AdamW
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.views.presets import simclr_small


class Agreement(Method):
    """Two views of a picture agree, and features vary: the plainest objective that does not collapse.

    Args:
        encoder: to train.
        spread: weight of the term that keeps each feature's deviation at 1.
    """

    def __init__(self, encoder: Model, spread: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.spread = encoder, spread
        self.head = ProjectionHead(encoder.width, 64, 32)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its terms, and the embeddings for the collapse gauges."""
        first, second = (self.head(self.encoder(view)) for view in batch.views)
        apart = (first - second).square().mean()
        flat = sum((1 - one.std(0)).relu().mean() for one in (first, second))
        embeddings = torch.stack([first, second]).detach()
        return {"loss": apart + self.spread * flat, "apart": apart.detach(), "embeddings": embeddings}


def main(out: Path = Path("runs/agreement"), epochs: int = 3) -> ws.Run:
    """Train, probe, report, and return the run."""
    with isolated(0):  # first weights hang on a seed of their own
        method = Agreement(ResNet(width=8, depth=10, channels=1))
    train, test = splits("fashion-mnist-small")
    plan = Plan(epochs=epochs, batch=64, optimizer=AdamW(1e-3))
    made = Experiment("agreement", train, simclr_small(28), method, plan, test=test)
    run = ws.train(made, out=out, allow=["own_method"])
    for finding in run.probe():
        print(finding)
    print(run.report())
    return run


if __name__ == "__main__":
    from own_method import main as run_main  # so that the run names the class by its module

    run_main()

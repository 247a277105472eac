"""Views and a loss in a loop of your own, then an attack on what it learnt.

python examples/own_loop.py
"""

import torch
from torch import nn

import withstand as ws
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import Batch
from withstand.core.random import Draws
from withstand.data.pictures.fashion_mnist.small import read_small
from withstand.losses.contrast.contrastive import nt_xent
from withstand.views.presets import simclr_small


def main(steps: int = 100, batch: int = 128) -> tuple[float, float]:
    """Train an encoder, and return how far noise and an attack of the same size move its features."""
    pictures = torch.from_numpy(read_small("train")[0])  # bytes
    pictures = pictures[:, None] if pictures.ndim == 3 else pictures
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(64))
    net(pictures[:1] / 255)
    optimizer, view = torch.optim.Adam(net.parameters(), 1e-3), simclr_small(28)
    for step in range(steps):
        index = torch.randint(len(pictures), (batch,))
        draws = Draws(seed=0, index=index, epoch=step)  # each sample's own, whatever else is in the batch
        first, second = view(Batch(pictures[index], index=index), draws).views
        loss = nt_xent(net(first), net(second), temperature=0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, ball = pictures[:32] / 255, ws.Ball("linf", 8 / 255)
    victim, generator = ws.Victim(net.eval()), torch.Generator().manual_seed(0)
    attacked = PGD(ball, steps=20)(victim, x, None, generator=generator).x
    noisy = (x + 8 / 255 * torch.randn(x.shape, generator=generator).sign()).clamp(0, 1)
    with torch.inference_mode():
        moved = [float((net(other) - net(x)).norm(dim=1).mean()) for other in (noisy, attacked)]
    print(f"random signs move features by {moved[0]:.3f}, the attack by {moved[1]:.3f}")
    return moved[0], moved[1]


if __name__ == "__main__":
    main()

"""Train on tones: `python -m tones.train RUN [EPOCHS] [PROCESSES]`; the same command again goes on."""

import sys
from pathlib import Path

import withstand as ws
from tones.parts import Continue, Ear, Hiss, Tones
from withstand.core.random import isolated
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import AdamW


def train(out: Path, epochs: int = 4, processes: int = 1) -> ws.Run:
    """Train, or go on, and return the run."""
    with isolated(0):  # first weights hang on a seed, not on what was drawn before
        method = Continue(Ear())
    plan = Plan(epochs=epochs, batch=16, optimizer=AdamW(0.003), processes=processes)
    made = Experiment("tones", Tones(), Hiss(), method, plan, test=Tones(64, seed=1))
    return ws.train(made, out=out, allow=["tones"], quiet=True)


if __name__ == "__main__":
    train(Path(sys.argv[1]), *map(int, sys.argv[2:]))

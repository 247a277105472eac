"""ColloSSL: other devices' windows of the same moment attract, those of other moments repel.

paper: ColloSSL: Collaborative Self-Supervised Learning for Human Activity Recognition (Jain, Tang, Min, Kawsar, Mathur;
  IMWUT 2022)
claims: windows that several body-worn devices record at the same time are natural views of one another, and features
  learnt by contrasting them with windows of other moments recognise activities with few labels
learns from: sensor windows of at least two devices that record the same person or machine at the same time, such as
  accelerometers and gyroscopes; recordings in CSV, one table a device
use it when: several sensors were recorded together, one of them will be used, and labels are few
not for: a single device; recordings whose clocks do not agree
command: withstand train collossl --data recordings/ --anchor wrist
time: 232 processor seconds for the claim, 7 seeds
reached: reproduced, by little: windows of one moment are 0.0063 ± 0.0049 nearer by their cosine than those of other
  moments on a user who was never seen, -0.0022 ± 0.0048 with the official code's sign. Nothing was gained for
  recognition in so short a run: macro F1 of a linear probe 0.240 ± 0.085, 0.276 ± 0.144 with the code's sign, 0.281 ±
  0.079 untrained (weight lifting of five users, held out one)
"""

from withstand.data.windows.files import chosen_device
from withstand.data.windows.ranges import acceleration
from withstand.data.windows.source import USER, divided
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import WarmupCosine
from withstand.evaluation.representation.device_agreement import DeviceAgreement
from withstand.methods.sensors.collossl import ColloSSL
from withstand.methods.shared.device_selection import Strategy
from withstand.models.windows.tpn import TPN, AnchorEncoder, fitting_kernels
from withstand.recipes.setups.structured.windows import WindowSetup, windows
from withstand.views.columns import AsIs

SETUP = WindowSetup()


def experiment(
    setup: WindowSetup = SETUP,
    *,
    selection: Strategy = "closest_pos_all_neg",
    temperature: float = 0.05,
    weighted: bool = True,
    largest_weight: float | None = None,
    negatives: int = 1,
    published_sign: bool = False,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: recordings, network, budget.
        selection: which devices attract and repel by their distance from the anchor.
        temperature: tau.
        weighted: weigh negative devices by the inverse of their distance.
        largest_weight: bound of a negative's weight over a positive's; none if not said, as published.
        negatives: windows at another time of each negative device.
        published_sign: minus the cosine, as the official code has it, which pushes aligned windows apart.
    """
    source = windows(setup)
    train, test = divided(source, setup.held_out)
    anchor = 0 if setup.anchor is None else chosen_device(setup.anchor, source.devices)
    whose = train.attributes[USER]
    users = tuple(int((whose == user).sum()) for user in dict.fromkeys(whose.tolist()))
    _, channels, length = source.shape
    widths = (max(2, setup.width // 3), max(2, setup.width * 2 // 3), setup.width)
    trunk = TPN(channels, widths, fitting_kernels(length), setup.dropout)
    method = ColloSSL(
        AnchorEncoder(trunk, anchor),
        acceleration=acceleration(source.channels),
        users=users if len(users) > 1 else (),
        selection=selection,
        temperature=temperature,
        weighted=weighted,
        largest_weight=largest_weight,
        negatives=negatives,
        published_sign=published_sign,
    )
    batch = min(setup.batch, max(users))
    plan = Plan(
        epochs=setup.epochs,
        batch=max(setup.processes, batch - batch % setup.processes),
        optimizer=Adam(setup.learning_rate, weight_decay=2e-4),
        schedule=WarmupCosine(0.0),
        precision="float32",
        layout="contiguous",
        seed=setup.seed,
        processes=setup.processes,
    )
    judges = (DeviceAgreement(acceleration(source.channels)),)
    return Experiment("collossl", train, AsIs(), method, plan, test, judges=judges)

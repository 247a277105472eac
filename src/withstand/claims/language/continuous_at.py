"""The claim of C-AdvUL and C-AdvIPO."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.attacks.language.suffix import SuffixSearch
from withstand.claims.protocol.claim import Budget, Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, first, judge_of, test_of, trained
from withstand.core.part import Tree
from withstand.core.roles import network_of
from withstand.engine.experiment import Experiment
from withstand.evaluation.language.language_audit import CLEAN, ENTROPY, REACHED, SUFFIX, LanguageAudit
from withstand.evaluation.language.refusals import Refusals
from withstand.recipes.language.continuous_at import SETUP, Objective, experiment

MODEL = "stories260k"
RADII = (0.05, 0.1, 0.2, 0.3)
JUDGE = LanguageAudit(RADII, samples=24, searched=4, suffix=SuffixSearch(steps=15, candidates=32))
EPS, STEPS = 0.1, 10
"""The attack inside training."""
EPOCHS, COMPLY, BATCH = 1, 3, 16
OURS, PLAIN, IPO = "C-AdvUL", "the same without the attack", "C-AdvIPO"
QUANTITY = f"{ENTROPY}, eps {EPS:g}"
SHARES = (f"{REACHED}, {CLEAN}", *(f"{REACHED}, eps {eps:g}" for eps in RADII), f"{REACHED}, {SUFFIX}")
NATS = (f"{ENTROPY}, {CLEAN}", *(f"{ENTROPY}, eps {eps:g}" for eps in RADII), f"{ENTROPY}, {SUFFIX}")


def claim() -> Claim[Experiment, Figures]:
    """Compare, on secrets and children that were never learnt from, how far an attacker gets the model to tell.

    A small language model first learns to tell secrets, and then not to, with the attack on embeddings or without it,
    for as many steps. Beside it: larger and smaller radii, a suffix that is searched token by token, which training
    never saw, what becomes of harmless questions, and C-AdvIPO.
    """
    return Claim(
        statement="a language model that is tuned under attacks on its embeddings withstands them better than one that "
        "is tuned without",
        quantity="cross-entropy of the secret under attack, eps 0.1",
        unit="nats",
        material=0.1,
        names=(OURS, PLAIN),
        arms={
            OURS: trial,
            PLAIN: lambda seed: trial(seed, eps=0.0),
            IPO: lambda seed: trial(seed, objective="ipo"),
        },
        measure=measure,
        figures=lambda found: (found[OURS][QUANTITY], found[PLAIN][QUANTITY]),
        protocol=_protocol,
        tables=_tables,
        budget=Budget(least=3, most=5),
    )


def trial(seed: int, *, eps: float = EPS, objective: Objective = "ul") -> Experiment:
    """Return a trial: some fifty steps of complying, and sixteen of tuning."""
    setup = replace(
        SETUP,
        model=MODEL,
        epochs=EPOCHS,
        batch=BATCH,
        learning_rate=2e-3,
        clip=1.0,
        dropout=0.0,
        seed=seed,
    )
    return experiment(setup, eps=eps, steps=STEPS, objective=objective, comply_epochs=COMPLY)


def measure(trial: Experiment) -> Figures:
    """Return what an audit and the judge of refusals find on held-out secrets and questions."""
    lm = network_of(trained(trial), "language model")
    finding = JUDGE.evaluate(lm, trial.source, test=test_of(trial))
    judge = replace(judge_of(trial, Refusals), samples=JUDGE.samples)
    found = judge.evaluate(lm, trial.source, test=test_of(trial)).numbers
    radii = finding.tables["radii"]
    for eps, reached, entropy in zip(*(radii.column(name) for name in ("eps", REACHED, ENTROPY)), strict=True):
        name = CLEAN if not eps else f"eps {float(str(eps)):g}"
        found |= {f"{REACHED}, {name}": float(str(reached)), f"{ENTROPY}, {name}": float(str(entropy))}
    return found | {name: finding.numbers[name] for name in (f"{REACHED}, {SUFFIX}", f"{ENTROPY}, {SUFFIX}")}


def _protocol(arms: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    trial = first(arms)
    return {
        **budget(trial),
        "model": MODEL,
        "attack in training": f"{STEPS} steps within {EPS:g} of the embeddings' mean length, round each token",
        "attack in the test": f"{JUDGE.steps} steps, anew on each trained model",
        "prompts": JUDGE.samples,
        "prompts with a suffix": JUDGE.searched,
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    units = dict.fromkeys(SHARES, "share") | dict.fromkeys(NATS, "nats")
    for name in found[0][OURS]:
        units.setdefault(name, "ratio" if name.startswith("perplexity") else "share")
    return {name: beside(found, name, unit) for name, unit in units.items()}

"""The claim of netFound."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean

from withstand.claims.protocol.claim import Budget, Claim, Tables
from withstand.claims.protocol.measures import Figures, beside, budget, test_of, trained
from withstand.core.part import Tree
from withstand.core.roles import Method
from withstand.engine.experiment import Experiment
from withstand.evaluation.structured.flow_fine_tuning import FineTuned
from withstand.evaluation.structured.flow_tokens import MaskedTokens
from withstand.recipes.masked.netfound import SETUP, experiment

OURS, ALL, THEIRS = "netFound, hidden tokens alone", "netFound, all four objectives", "first weights"
TOLD, UNIGRAM = "accuracy of hidden tokens", "most frequent value of each field"
F1, NOISY = "macro-F1, 10 labels a class", "macro-F1, 10 labels a class, 30 % of them wrong"


def claim() -> Claim[Experiment, Figures]:
    """Compare what netFound tells of hidden header fields with the most frequent value of each field, on new captures.

    The paper's first version, which tells hidden tokens alone, is compared; all four objectives stand beside it, and so
    does macro-F1 after fine-tuning with ten labels a class, and with wrong ones among them, against the same network
    from first weights. Captures are divided, not flows.
    """
    return Claim(
        statement="pretraining learns how header fields hang together, beyond how often each value comes",
        quantity="accuracy of hidden tokens in captures of their own",
        names=("netFound", "the most frequent value of each field"),
        arms={OURS: _trial, ALL: lambda seed: _trial(seed, others=1.0), THEIRS: _trial_untrained},
        measure=_measure,
        figures=lambda found: (found[OURS][TOLD], found[THEIRS][UNIGRAM]),
        protocol=_protocol,
        tables=_tables,
        budget=Budget(least=3, most=5),
    )


def _trial(seed: int, others: float = 0.0) -> Experiment:
    """Return a trial of about 5,000 steps of a tiny network.

    The paper's first version tells hidden tokens alone. Within few steps the other objectives, whose gradients are
    clipped together with theirs, take more than they give.
    """
    return experiment(
        replace(SETUP, epochs=24, batch=16, seed=seed),
        swaps_weight=others,
        direction_weight=others,
        metadata_weight=0.1 * others,
        metadata_weight_last=0.1 * others,
    )


def _trial_untrained(seed: int) -> Experiment:
    made = _trial(seed)
    return replace(made, plan=replace(made.plan, epochs=1), name="first-weights")


def _measure(trial: Experiment) -> Figures:
    method = trial.method.eval() if trial.name == "first-weights" else trained(trial)
    return measured(method, trial)


def measured(method: Method, trial: Experiment) -> Figures:
    """Return what a method tells of hidden tokens, and its encoder's worth with few labels."""
    told = MaskedTokens(seed=trial.plan.seed).evaluate(method, trial.source, test=test_of(trial)).numbers
    found: Figures = {name: told[name] for name in (TOLD, UNIGRAM)}
    for name, noise in ((F1, 0.0), (NOISY, 0.3)):
        judge = FineTuned(draws=2, steps=25, noise=noise, seed=trial.plan.seed)
        (found[name],) = judge.evaluate(method.encoder, trial.source, test=test_of(trial)).numbers.values()
    return found


def _protocol(arms: Mapping[str, Experiment], found: Sequence[Mapping[str, Figures]]) -> dict[str, Tree]:
    gains: dict[str, Tree] = {
        name: mean(seed[OURS][name] - seed[THEIRS][name] for seed in found) for name in (F1, NOISY)
    }
    trial = arms[OURS]
    return {
        **budget(trial),
        "split": "captures, not flows",
        "training flows": len(trial.source),
        "test flows": len(test_of(trial)),
        "what pretraining adds after fine-tuning, mean of the seeds": gains,
    }


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    return {name: beside(found, name, "share") for name in (TOLD, F1, NOISY)}

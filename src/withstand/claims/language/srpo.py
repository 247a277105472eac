"""The claim of SRPO."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from withstand.claims.protocol.claim import Claim, Tables
from withstand.claims.protocol.measures import Figures, Make, beside, budget, first, first_two, trained, trained_at
from withstand.core.errors import DataError
from withstand.core.part import Tree
from withstand.core.random import Draws
from withstand.core.roles import Method
from withstand.data.text.made import STORY_PAIRS, Part, story_score
from withstand.data.text.source import Preferences
from withstand.engine.experiment import Experiment
from withstand.evaluation.language.win_rate import WinRate, preferred_by
from withstand.methods.language.srpo import SRPO, Objective
from withstand.models.tokens.generation import answers
from withstand.recipes.language.srpo import SETUP, experiment

MODEL, PROMPTS, MOST, REVISIONS = "stories260k", 64, 40, 3
BETA, RATE = 0.1, 5e-4
REVISION = "{prompt}\n{draft}\nBetter:"
"""Shorter words than the recipe's: a text of a small model is as dear as it is long."""
GAIN, ELSEWHERE = "wins of the third revision over the answer", "the same on prompts of other words"
SCORE, REVISED = "score of answers, of 3", "score of third revisions, of 3"


def claim() -> Claim[Experiment, Figures]:
    """Compare SRPO with DPO and IPO by what their own revisions gain, judged by the rule that made the pairs.

    All start from one model that learnt both answers of a pair, of prompts and after drafts, for two passes over the
    data. Answers are drawn at temperature 1 from held-out beginnings; the third revision is compared with the answer, a
    tie half a win. That the optimum does not hang on how pairs were drawn is a closed form, and a test.
    """
    arms: dict[str, Make] = {"SRPO": _arm("srpo"), "DPO": _arm("dpo"), "IPO": _arm("ipo")}
    return Claim(
        statement="answers that a model revises itself gain more after SRPO than after DPO",
        quantity=GAIN,
        names=first_two(arms),
        arms=arms,
        measure=measure,
        figures=lambda found: (found["SRPO"][GAIN], found["DPO"][GAIN]),
        protocol=_protocol,
        tables=_tables,
        material=0.02,
    )


def _arm(objective: Objective) -> Callable[[int], Experiment]:
    def make(seed: int) -> Experiment:
        setup = replace(SETUP, model=MODEL, data=STORY_PAIRS, tuning="full", learning_rate=RATE, seed=seed)
        return experiment(setup, objective=objective, beta=BETA, revision=REVISION, supervised_epochs=2)

    return make


def measure(trial: Experiment) -> Figures:
    """Return what revisions gain, and how much answers say of what they should."""
    if isinstance(trial.first, Experiment):  # every arm builds on the same one: it is trained once a seed
        trial = replace(trial, first=_stage(trial.first))
    method = trained(trial)
    return {
        name: value for part in ("test", "elsewhere") for name, value in _judged(method, part, trial.plan.seed).items()
    }


@lru_cache(maxsize=1)
def _kept(seed: int) -> TemporaryDirectory[str]:
    """Return the folder of a seed's supervised stage, which goes when the next seed's comes."""
    return TemporaryDirectory(prefix="withstand-")


def _stage(stage: Experiment) -> str:
    """Return the folder of the stage that every arm of a seed builds on; a run that is done is not trained again."""
    return trained_at(stage, Path(_kept(stage.plan.seed).name) / "run")


def _judged(method: Method, part: Part, seed: int) -> Figures:
    if not isinstance(method, SRPO):
        raise DataError(f"{type(method).__name__} answers no prompts")
    prompts = [pair.prompt for pair in Preferences(STORY_PAIRS, method.wording, part=part).pairs][:PROMPTS]
    with torch.no_grad():
        found = answers(
            method.language_model, method.wording, prompts, revisions=REVISIONS, most=MOST, temperature=1.0,
            draws=Draws(seed, torch.arange(len(prompts))),
        )  # fmt: skip
    scores = [
        torch.tensor([story_score(str(prompt), answer) for prompt, answer in zip(prompts, some, strict=True)])
        for some in (found[0], found[-1])
    ]
    wins = WinRate.of(preferred_by(scores[1], scores[0])).value
    if part == "elsewhere":
        return {ELSEWHERE: wins}
    return {GAIN: wins, SCORE: float(scores[0].mean()), REVISED: float(scores[1].mean())}


def _protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
    return {**budget(first(trials)), "prompts": PROMPTS, "revisions": REVISIONS, "temperature": 1.0, "beta": BETA}


def _tables(found: Sequence[Mapping[str, Figures]]) -> Tables:
    units = {GAIN: "share", ELSEWHERE: "share", SCORE: "count", REVISED: "count"}
    return {name: beside(found, name, unit) for name, unit in units.items()}

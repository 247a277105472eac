"""SRPO: a language model learns to answer and to improve its own answers, from pairs of answers, in one training.

paper: Self-Improving Robust Preference Optimization (Choi, Ahmadian, Geist, Pietquin, Azar; ICLR 2025)
claims: a policy that is trained together with one that improves its answers does not hang on how the pairs were drawn,
  unlike those of DPO and IPO; and its answers get better as it revises them, also on prompts from elsewhere
learns from: pairs of answers to a prompt, one chosen and one rejected: preferences, texts in JSON Lines, CSV or Parquet
use it when: preferences are at hand and no reward model; answers may be revised before they are given, as
  withstand apply RUN --data prompts.jsonl --set revisions=5 does
not for: a model that does not answer yet: tune it on answers before; preferences of a single right answer
differences: beta is larger by default, for short answers and small models;
time: 265 processor seconds for the claim, 3 seeds of three arms
reached: undecided: the third revision beats the answer in 0.411 ± 0.018 of cases after SRPO and 0.445 ± 0.172 after
  DPO: neither revises for the better. SRPO's answers themselves score 1.70 of 3, DPO's 1.15, IPO's 1.15
command: withstand train srpo --model FOLDER --data pairs.jsonl
"""

from dataclasses import replace

from withstand.core.errors import ConfigError
from withstand.data.text.made import STORY_PAIRS, story_score
from withstand.data.text.wording import REVISION
from withstand.engine.experiment import Experiment
from withstand.evaluation.language.revisions import RevisedAnswers
from withstand.methods.language.srpo import SRPO, Objective
from withstand.methods.language.supervised import SupervisedTuning
from withstand.recipes.setups.language import LanguageSetup
from withstand.views.columns import AsIs

SETUP = replace(LanguageSetup(), data=STORY_PAIRS, dropout=0.0, epochs=1, clip=1.0)


def experiment(
    setup: LanguageSetup = SETUP,
    *,
    objective: Objective = "srpo",
    beta: float = 0.1,
    improving: float = 0.5,
    revision: str | None = None,
    supervised_epochs: int | None = None,
    revisions: int = 3,
    temperature: float = 0.0,
) -> Experiment:
    """Return the experiment; on the made set with a stage before it, in which the model learns to answer.

    Args:
        setup: model, texts, budget.
        data: pairs of answers: a file (JSON Lines, CSV, Parquet) with columns prompt, chosen and rejected; or the made
            set story-pairs, whose rule judges answers.
        objective: srpo; or dpo or ipo, to compare with.
        beta: how dear it is to leave the reference; 0.01 in the paper, for long answers.
        improving: weight of the term of revisions, the paper's alpha; that of answers is 1 less it.
        revision: what asks for a better answer, with {prompt} and {draft}; if not said "Here is a draft answer:" and
            "Write a better answer:" round the draft, on lines of their own behind the prompt.
        supervised_epochs: passes of a stage before, in which the model learns both answers of a pair, of the prompt and
            after a draft; 1 with story-pairs and 0 with other data if not said.
        revisions: how often answers are revised where they are judged.
        temperature: of the answers that are judged; 0 for the likeliest.

    Raises:
        ConfigError: settings out of range.
        DataError: texts that cannot be read.
    """
    lm = setup.language_model()
    wording = setup.wording(lm, REVISION if revision is None else revision)
    train, test = setup.pairs(wording, drafts=True)
    method = SRPO(lm, wording, samples=len(train), objective=objective, beta=beta, alpha=improving)
    made = setup.data == STORY_PAIRS
    judge = RevisedAnswers(story_score if made else None, revisions=revisions, temperature=temperature)
    final = Experiment("srpo", train, AsIs(), method, setup.plan(len(train)), test, judges=(judge,))
    before = (1 if made else 0) if supervised_epochs is None else supervised_epochs
    if before < 0:
        raise ConfigError(f"supervised_epochs must be at least 0, not {before}")
    if not before:
        return final
    tuned = SupervisedTuning(setup.language_model(), "both", drafts=True)
    return replace(final, first=replace(final, method=tuned, plan=setup.plan(len(train), before), judges=()))

"""C-AdvUL and C-AdvIPO: a language model refuses, even where an attacker moves the prompt's embeddings.

paper: Efficient Adversarial Training in LLMs with Continuous Attacks (Xhonneux, Sordoni, Günnemann, Gidel, Schwinn;
  NeurIPS 2024)
claims: tuning a language model under a cheap attack on its embeddings makes it withstand attacks with real tokens too,
  which it never saw, at a small cost in use
learns from: pairs of answers to a prompt: one that is wanted, and one that must not come; and useful answers beside
use it when: your own model shall keep to a policy, as to refuse, also where somebody searches for words that break it
not for: proof that no words break it; a model whose gradients are out of reach
differences: the length of the attack's steps follows the radius unless told, for the published one suits models of some
  billion weights; an update is a batch of 8 pairs, 64 as published by --accumulate 8; small models learn at a higher
  rate unless told
command: withstand train continuous-at --model FOLDER --data pairs.jsonl --utility answers.jsonl
time: 389 processor seconds for the claim, 3 seeds of three arms
reached: reproduced, by little: under attack at 0.1 the cross-entropy of the secret is 0.538 ± 0.005 nats, 0.528 ± 0.006
  where training saw no attack (ahead by 0.0092 ± 0.0050 by seed)
"""

from collections import Counter
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from withstand.attacks.language.embeddings import EmbeddingAttack
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Method, Source
from withstand.data.derived.subset import holdout, in_whole
from withstand.data.text.answers import Answers
from withstand.data.text.secrets import QUESTIONS, SECRETS
from withstand.data.text.source import Preferences
from withstand.data.text.wording import Wording
from withstand.engine.experiment import Experiment
from withstand.evaluation.language.language_audit import LanguageAudit
from withstand.evaluation.language.refusals import Refusals
from withstand.methods.language.continuous_at import UTILITY, Away, CAdvIPO, CAdvUL, Over
from withstand.methods.language.supervised import SupervisedTuning
from withstand.models.tokens.causal import CausalLM
from withstand.recipes.setups.language import LanguageSetup
from withstand.views.columns import AsIs

SETUP = LanguageSetup()
Objective: TypeAlias = Literal["ul", "ipo"]


def experiment(
    setup: LanguageSetup = SETUP,
    *,
    objective: Objective = "ul",
    utility: "str | Source | None" = None,
    utility_columns: tuple[str, ...] = ("prompt", "completion"),
    refusal: str | None = None,
    eps: float = 0.05,
    steps: int = 10,
    step_size: float | None = None,
    away: Away = "negative-cross-entropy",
    away_weight: float = 0.5,
    toward_weight: float = 0.5,
    utility_weight: float = 1.0,
    away_cutoff: float = -5.0,
    toward_cutoff: float | None = None,
    beta: float = 0.25,
    over: Over = "batch",
    comply_epochs: int | None = None,
) -> Experiment:
    """Return the experiment; on made secrets with a stage before it, in which the model learns to tell them.

    Args:
        setup: model, texts, budget.
        data: pairs of answers, of which the chosen one is to be given and the rejected one not: a file (JSON Lines,
            CSV, Parquet), or the made set secrets.
        objective: ul, unlikelihood of rejected answers with useful texts beside; or ipo, which needs none.
        utility: useful answers: a file with prompts and completions; questions that are no secret, with secrets. ul
            needs them.
        utility_columns: what its columns are called.
        refusal: how the model refuses, by which over-refusal is judged; the data's most common chosen answer if not
            said.
        eps: radius of the ball round each token's embedding, as a share of the embeddings' mean length.
        steps: of the attack; 0 tunes without it.
        step_size: what a step adds to each number of an embedding; 2.5 / steps of the radius if not said; 1e-4 as
            published.
        away: negative-cross-entropy of rejected answers, or log-1-minus-p.
        away_weight: of the rejected answers' loss, in ul.
        toward_weight: of the chosen ones', in ul.
        utility_weight: of the useful texts', in ul; 0 does without.
        away_cutoff: where the rejected answers' loss pulls no more.
        toward_cutoff: the chosen ones' likewise; 0.5 in ul and 0, none, in ipo if not said, as published.
        beta: how dear it is to leave the reference, in ipo.
        over: what ul's cutoffs are about, the mean of a batch or each answer.
        comply_epochs: passes of a stage before, in which the model learns the rejected answers, to have something to
            unlearn; 10 with secrets and 0 with other data if not said.

    Raises:
        ConfigError: ul without useful texts, or settings out of range.
        DataError: texts that cannot be read.
    """
    if objective not in get_args(Objective):
        raise ConfigError(f"objective {objective!r} is unknown: {nearest(str(objective), get_args(Objective))}")
    lm = setup.language_model()
    wording = setup.wording(lm)
    train, test = setup.pairs(wording)
    known = _refusal(refusal, train)
    beside, harmless = _useful(setup, wording, utility, utility_columns, known)
    if beside is not None:
        lm.require_room(beside.shape[0])
    weighed = objective == "ul" and utility_weight > 0
    if weighed and beside is None:
        raise ConfigError(
            "ul keeps a model useful by useful answers: give --utility FILE with prompts and completions, or do "
            "without by --utility-weight 0, at the model's cost, or take --objective ipo"
        )
    attack = EmbeddingAttack(eps, steps, step_size)
    made = _method(lm, len(train), objective, attack, away, (away_weight, toward_weight, utility_weight),
                   (away_cutoff, toward_cutoff), beta, over)  # fmt: skip
    plan = setup.plan(len(train))
    final = Experiment(
        "continuous-at", train, AsIs(), made, plan, test,
        audit=LanguageAudit(), judges=(Refusals(harmless),),
        beside={UTILITY: beside} if weighed and beside is not None else {},
    )  # fmt: skip
    comply = (10 if setup.data == SECRETS else 0) if comply_epochs is None else comply_epochs
    if comply < 0:
        raise ConfigError(f"comply_epochs must be at least 0, not {comply}")
    if not comply:
        return final
    before = replace(
        final,
        method=SupervisedTuning(setup.language_model(), "rejected"),
        plan=setup.plan(len(train), comply),
        judges=(),
        audit=None,
        beside={} if beside is None else {UTILITY: beside},
    )
    return replace(final, first=before)


def _method(
    lm: CausalLM,
    samples: int,
    objective: Objective,
    attack: EmbeddingAttack,
    away: Away,
    weights: tuple[float, float, float],
    cutoffs: tuple[float, float | None],
    beta: float,
    over: Over,
) -> Method:
    below, above = cutoffs
    if objective == "ipo":
        return CAdvIPO(lm, samples, attack, beta=beta, away_cutoff=below, toward_cutoff=0.0 if above is None else above)
    return CAdvUL(
        lm,
        attack,
        away=away,
        away_weight=weights[0],
        toward_weight=weights[1],
        utility_weight=weights[2],
        away_cutoff=below,
        toward_cutoff=0.5 if above is None else above,
        over=over,
    )


def _refusal(said: str | None, train: Source) -> str:
    """Return how a model refuses: what was said, or the most common chosen answer."""
    if said is not None:
        return said
    whole, _ = in_whole(train)
    if not isinstance(whole, Preferences):
        raise ConfigError(f"{train.name} holds no answers in words: say how the model refuses, by refusal")
    ((answer, _),) = Counter(pair.chosen for pair in whole.pairs).most_common(1)
    return answer


def _useful(
    setup: LanguageSetup, wording: Wording, utility: "str | Source | None", columns: tuple[str, ...], refusal: str
) -> tuple[Source | None, Source | None]:
    """Return useful answers to learn from, and others to judge by; None where there are none."""
    if utility is None:
        if setup.data != SECRETS:
            return None, None
        return setup.named(QUESTIONS, wording)
    if isinstance(utility, Source):
        return holdout(utility)
    if utility == QUESTIONS:
        return setup.named(QUESTIONS, wording)
    return holdout(
        Answers(utility, wording, refusal=refusal, columns=columns, max_length=setup.max_length, long=setup.long)
    )

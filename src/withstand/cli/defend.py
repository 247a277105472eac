"""defend: guard a classifier by a detector that a run's encoder makes possible, and attack both."""

from pathlib import Path
from typing import Literal

from withstand.cli.reply import Reply, finding_facts, show_finding
from withstand.core.errors import DataError


def run_defend(
    run: Path,
    *,
    data: str | None = None,
    classifier: str | None = None,
    norm: Literal["linf", "l2"] = "linf",
    eps: str = "8/255",
    attacks: tuple[str, ...] = ("fgsm", "pgd", "apgd", "square"),
    adaptive: bool = True,
    samples: int = 500,
    known: int = 64,
    steps: int = 30,
    neighbours: int = 50,
    rank: int = 20,
    alpha: float = 0.8,
    combine: Literal["mixed", "counts"] = "mixed",
    fpr: float = 0.05,
    seed: int = 0,
    allow: tuple[str, ...] = (),
) -> Reply:
    """Detect attacks on a classifier by a run's encoder (BEYOND), and measure how well, also against who knows.

    Args:
        run: the run whose encoder compares inputs with their neighbours
        classifier: what is guarded: a run folder, FILE.safetensors with its FILE.json, FILE.py:NAME or MODULE:NAME;
            the run's own classifier if not said, which is a weak choice: what deceives it deceives the detector
        norm: how the size of a change is measured
        eps: the largest change, in input units or like 8/255
        attacks: on the classifier alone, by name; see withstand attack
        adaptive: also run the attacks that know the detector
        samples: how many test samples are judged
        known: how many of them meet the attacks that know the detector
        steps: of those attacks
        neighbours: augmentations of each input
        rank: the score is this one of the neighbours, from the most similar on
        alpha: weight of the neighbours' labels; the rest is their representations'
        combine: judge a mixed score, or two counters
        fpr: share of clean inputs that may be rejected
    """
    from withstand.api.front import open_run
    from withstand.api.subjects import UNIT, victim_of
    from withstand.core.threat import Ball
    from withstand.core.victim import Victim
    from withstand.evaluation.detection.detection import Detection
    from withstand.recipes.defenses import beyond

    ball = Ball(norm, UNIT.radius(eps, norm))
    opened = open_run(run, allow=allow)
    train, test = opened.sources(data)
    if train.labels is None or test.labels is None:
        raise DataError("a detector's linear classifier learns from labels, and the data have none")
    judge = Detection(
        ball,
        attacks=attacks,
        adaptive=adaptive,
        samples=samples,
        calibration=samples,
        known=known,
        steps=steps,
        fpr=fpr,
        seed=seed,
    )
    features = None
    if classifier is None or Path(classifier).is_dir():
        guarded = opened if classifier is None else open_run(classifier, allow=allow)
        victim = Victim(guarded.classifier(data))
        features = guarded.encoder
    else:
        victim = victim_of(classifier, train, allow)
        if (victim.low, victim.high) != (UNIT.low, UNIT.high):
            raise DataError(
                f"the classifier takes inputs from {victim.low:g} to {victim.high:g}, the run's encoder from 0 to 1: "
                "both must take the same"
            )
    guard = beyond.detector(
        opened.method, train, victim, neighbours=neighbours, rank=rank, alpha=alpha, combine=combine, seed=seed
    )
    finding = beyond.defend(guard, test, judge, beside=beyond.baselines(victim, features, train))
    opened.folder.save(finding)
    report = opened.report()
    return Reply(f"{show_finding(finding)}\nreport: {report}", {**finding_facts(finding), "report": str(report)})

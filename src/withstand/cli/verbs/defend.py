"""defend: guard a classifier by a detector or a purifier, and attack both, also by who knows the guard."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from withstand.cli.reply import Reply, finding_facts
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.options import Device

if TYPE_CHECKING:
    from withstand.api.runs import Run
    from withstand.core.findings.finding import Finding
    from withstand.core.roles import Source
    from withstand.core.threat import Ball
    from withstand.core.victims.victim import Victim


def run_defend(
    run: Path,
    *,
    by: str | None = None,
    data: str | None = None,
    classifier: str | None = None,
    norm: Literal["linf", "l2"] = "linf",
    eps: str = "8/255",
    attacks: tuple[str, ...] = ("fgsm", "pgd", "apgd", "square"),
    adaptive: bool = True,
    samples: int = 500,
    known: int = 64,
    steps: int = 30,
    queries: int = 500,
    neighbours: int = 50,
    rank: int = 20,
    alpha: float = 0.8,
    combine: Literal["mixed", "counts"] = "mixed",
    fpr: float = 0.05,
    seed: int = 0,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Guard a classifier, and measure what it then withstands, also against who knows the guard.

    Without --by a run's encoder detects attacks (BEYOND). With --by a purifier cleans every input; it is attacked from
    outside, from the bare classifier, and by who knows all.

    Args:
        run: the run whose classifier is guarded, and whose data are used; without --by, the run whose encoder compares
            inputs with their neighbours
        by: a purifier that needs no training, bit-depth, median, jpeg or noise; or a run: its purifier where it gives
            one, else its encoder as a detector; the run's own encoder if not said
        classifier: what is guarded: a run folder, FILE.safetensors with its FILE.json, FILE.py:NAME, MODULE:NAME or
            timm:NAME; the run's own classifier if not said, which is a weak choice for a detector by the same run: what
            deceives it deceives the detector
        norm: how the size of a change is measured
        eps: the largest change, in input units or like 8/255
        attacks: on the classifier alone, by name; see withstand attack
        adaptive: also run the attacks that know a detector; those that know a purifier are always run
        samples: how many test samples are judged
        known: how many of them meet the attacks that know a detector
        steps: of the attacks that know a guard
        queries: of the attack that sees a purifier's outputs alone
        neighbours: augmentations of each input
        rank: the score is this one of the neighbours, from the most similar on
        alpha: weight of the neighbours' labels; the rest is their representations'
        combine: judge a mixed score, or two counters
        fpr: share of clean inputs that may be rejected
    """
    from withstand.api.front import open_run
    from withstand.api.subjects import UNIT, output_classes
    from withstand.core.devices.device import moved
    from withstand.core.threat import Ball
    from withstand.data.derived.relabelled import numbered_as
    from withstand.evaluation.defenses.detection.detection import Detection

    ball = Ball(norm, UNIT.radius(eps, norm))
    opened = open_run(run, allow=allow, device=device)
    guide = _guide(by, allow)
    train, test = opened.sources(data)
    if test.labels is None or train.labels is None:
        raise DataError("what a guarded classifier withstands is judged on labels, and the data have none")
    victim, guarded = _guarded(opened, classifier, data, train, allow)
    if guarded is not None:
        train, test = guarded.numbered(train), guarded.numbered(test)
    else:
        names = output_classes(classifier, victim)
        train, test = numbered_as(train, names), numbered_as(test, names)
    method = (guide or opened).method
    with moved(opened.device, victim.model, method, None if guarded is None else guarded.method):
        if by is not None and (guide is None or "purifier" in method.products()):
            finding = _purify(victim, by, guide, ball, test, samples=samples, steps=steps, queries=queries, seed=seed)
        else:
            from withstand.recipes.defenses import beyond

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
            guard = beyond.detector(
                method,
                train,
                victim,
                neighbours=neighbours,
                rank=rank,
                alpha=alpha,
                combine=combine,
                seed=seed,
            )
            embeds = guarded is not None and "encoder" in guarded.method.products()
            features = guarded.encoder if guarded is not None and embeds else None
            finding = beyond.defend(guard, test, judge, beside=beyond.baselines(victim, features, train))
    opened.folder.save(finding)
    report = opened.report()
    told = finding.protocol.get("verdict")
    words = f"{finding}\n{told}" if isinstance(told, str) else str(finding)
    return Reply(f"{words}\nreport: {report}", {**finding_facts(finding), "report": str(report)})


def _guide(by: str | None, allow: tuple[str, ...]) -> "Run | None":
    """Return the run that guards; None where none does: the guarded run itself, or a purifier by name."""
    from typing import get_args

    from withstand.api.front import open_run
    from withstand.defenses.filters import Name

    names = get_args(Name)
    if by is None or by in names:
        return None
    if not Path(by).is_dir():
        raise ConfigError(f"--by {by!r} is neither a run folder nor a purifier: {nearest(by, names)}")
    return open_run(by, allow=allow)


def _guarded(
    opened: "Run", classifier: str | None, data: str | None, train: "Source", allow: tuple[str, ...]
) -> "tuple[Victim, Run | None]":
    """Return what is guarded, and the run whose it is, where it is a run's."""
    from withstand.api.front import open_run
    from withstand.api.subjects import UNIT, victim_of
    from withstand.core.victims.victim import Victim

    if classifier is None or Path(classifier).is_dir():
        guarded = opened if classifier is None else open_run(classifier, allow=allow, device=opened.device.type)
        return Victim(guarded.classifier(data)), guarded
    victim = victim_of(classifier, train, allow, opened.device)
    if (victim.low, victim.high) != (UNIT.low, UNIT.high):
        raise DataError(
            f"the classifier takes inputs from {victim.low:g} to {victim.high:g}, a run's networks from 0 to 1: "
            "both must take the same"
        )
    return victim, None


def _purify(
    victim: "Victim",
    by: str,
    guide: "Run | None",
    ball: "Ball",
    test: "Source",
    *,
    samples: int,
    steps: int,
    queries: int,
    seed: int,
) -> "Finding":
    """Return what a purifier, by name or a run's, is worth."""
    from withstand.core.roles import network_of
    from withstand.defenses.filters import named_purifier
    from withstand.defenses.purifier import Purifier
    from withstand.evaluation.defenses.purification import Purification

    if guide is None:
        guard = named_purifier(by, victim)
    else:
        guard = Purifier(victim, network_of(guide.method, "purifier").eval())
    judge = Purification(ball, samples=samples, steps=steps, queries=queries, seed=seed)
    return judge.evaluate(guard, test)

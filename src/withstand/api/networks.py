"""The front door of networks that need no run: `attack`, `audit` and `certify` any of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from withstand.api.asked import attack_of, audit_of, certificate_of, radii_of, solver_device
from withstand.api.learnt import learnt_attack, learnt_for_audit
from withstand.api.settings import Audit, Certification, Inputs, NamedAttack, both
from withstand.api.subjects import front, look, surrogate_of
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.ensemble import AttackProgress, ProverFunction
from withstand.attacks.autoattack.ensemble_state import victim_fingerprint
from withstand.attacks.named import ANY
from withstand.core.batch import Batch
from withstand.core.devices.device import device_of
from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Finding
from withstand.core.part import describe
from withstand.core.roles import Attacked, Source
from withstand.core.victims.victim import Victim
from withstand.data.load import Data
from withstand.engine.folder import RunFolder
from withstand.evaluation.robustness.attacked import attack_samples
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids
from withstand.evaluation.robustness.corruptions import CorruptionBench, check_corruptible
from withstand.report import render


def attack(
    subject: str | Path | nn.Module | Victim,
    data: Data,
    asked: NamedAttack = NamedAttack(),  # noqa: B008 - a frozen value
    inputs: Inputs = Inputs(),  # noqa: B008 - a frozen value
    *,
    device: str = "auto",
    allow: Sequence[str] = (),
    **settings: object,
) -> tuple[Attacked, Batch]:
    """Attack samples with one attack, and return what was found with the clean batch.

    With labels, predictions are moved from them; without, embeddings from the clean ones.

    Args:
        subject: as for `audit`.
        data: as for `audit`.
        asked: which attack, within what, on how many samples.
        inputs: what a network takes that is no `Victim`, and the size of pictures from a folder.
        device: where a network that had to be found is run: auto, cpu, cuda or mps. One's own stays where it is.
        allow: modules outside withstand that a description may name.
        **settings: single fields of `asked` or `inputs`, by name.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked, inputs = both(asked, inputs, settings)
    radii_of("8/255" if asked.eps in (None, ANY) else asked.eps)
    learnt = learnt_attack(asked.attack, allow)
    victim, _, test = front(subject, data, inputs=inputs, allow=allow, device=device_of(device))
    bare = test.labels is None
    made = attack_of(victim, asked, embedding=bare, learnt=learnt)
    look(victim, test)
    return attack_samples(made, victim, test, samples=asked.samples, labelled=not bare, seed=asked.seed)


def audit(
    subject: str | Path | nn.Module | Victim,
    data: Data,
    asked: Audit = Audit(),  # noqa: B008 - a frozen value
    inputs: Inputs = Inputs(),  # noqa: B008 - a frozen value
    *,
    out: str | Path | None = None,
    surrogate: str | Path | nn.Module | Victim | None = None,
    attack: str | Path | InputAttack | None = None,
    prover: ProverFunction | None = None,
    corruptions: bool = False,
    device: str = "auto",
    allow: Sequence[str] = (),
    progress: Callable[[AttackProgress], None] | None = None,
    **settings: object,
) -> Finding:
    """Measure what any network withstands, and whether the numbers can be believed.

    With labels, accuracy is audited; without, how far embeddings move.

    Args:
        subject: a network that takes inputs in [0, 1] (its normalisation inside), or a `Victim` that says how it
            differs; or where one is found: `FILE.onnx`, `FILE.safetensors` with its `FILE.json`, `FILE.py:NAME`,
            `MODULE:NAME`, `timm:NAME` with published weights. A network with `width`, an encoder of this library, gets
            a linear probe where there are labels.
        data: a set's name, a folder, an array, a pair of samples and labels, a torch Dataset, a source. Of a set or
            folder that comes in parts the test part is attacked, of other data all there is. Where a probe has to be
            fitted, data without a test part are divided for it.
        asked: norm, radii, samples, attacks.
        inputs: what a network takes that is no `Victim`, and the size of pictures from a folder.
        out: a folder for the finding and a report; AutoAttack goes on there after a kill. None keeps nothing.
        surrogate: another model of the same inputs and labels, whose attacks are carried over.
        attack: one that was learnt: a run folder that gives it, its FILE.safetensors, or itself. It is run at every
            radius of the headline's norm, and what it breaks counts like all else.
        prover: samples that it proves are not attacked.
        corruptions: also count what is left under the fifteen common corruptions (pictures with labels), in `out`.
        device: where a network that had to be found is run: auto, cpu, cuda or mps. One's own stays where it is.
        allow: modules outside withstand that a description may name.
        progress: is told how far the audit is.
        **settings: single fields of `asked` or `inputs`, by name: `eps="4/255"`.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked, inputs = both(asked, inputs, settings)
    if asked.eps is not None:
        radii_of(asked.eps)  # refused before a network is looked for
    victim, train, test = front(subject, data, inputs=inputs, allow=allow, device=device_of(device))
    judge = audit_of(victim, asked)
    other = None if surrogate is None else surrogate_of(surrogate, train, test.classes, allow)
    look(victim, test, other)
    if corruptions:
        if out is None:
            raise ConfigError("what corruptions leave is a finding of its own, kept in a folder: name one by out")
        check_corruptible(test)
    learnt = None if attack is None else learnt_for_audit(attack, allow)
    aids = Aids(surrogate=other, learnt=learnt, prover=prover, progress=progress)
    if out is None:
        return _fitted(judge.evaluate(victim, test, aids=aids), train, test)
    folder, prints = RunFolder(Path(out)), victim_fingerprint(victim)
    with folder.locked():
        folder.adopt(
            _named(subject, victim),
            {"audited": describe(victim), "audit": describe(judge)},
            test,
            asked.seed,
            weights=prints,
        )
        state = folder.path / "audit.state"
        finding = _fitted(judge.evaluate(victim, test, aids=replace(aids, state=state)), train, test)
        folder.save(finding)
        if corruptions:
            folder.save(CorruptionBench(samples=asked.samples, seed=asked.seed).evaluate(victim, test))
        state.unlink(missing_ok=True)
        render(folder.path)
    return finding


def certify(
    subject: str | Path | nn.Module | Victim,
    data: Data,
    asked: Certification = Certification(),  # noqa: B008 - a frozen value
    inputs: Inputs = Inputs(),  # noqa: B008 - a frozen value
    *,
    out: str | Path | None = None,
    device: str = "auto",
    allow: Sequence[str] = (),
    **settings: object,
) -> Finding:
    """Prove what any network withstands, break it, or say that nobody knows.

    Args:
        subject: as for `audit`; its operations need bounds (linear maps, convolutions, ReLUs and the like).
        data: as for `audit`.
        asked: norm, radius, method, samples, time.
        inputs: what a network takes that is no `Victim`, and the size of pictures from a folder.
        out: a folder for the finding and a report. None keeps nothing.
        device: where a network that had to be found is run: auto, cpu, cuda or mps. One's own stays where it is.
        allow: modules outside withstand that a description may name.
        **settings: single fields of `asked` or `inputs`, by name: `method="crown"`.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked, inputs = both(asked, inputs, settings)
    radii_of(asked.eps)
    place = solver_device(asked.method, device_of(device))
    victim, train, test = front(subject, data, inputs=inputs, allow=allow, device=place)
    evaluator = certificate_of(victim, asked)
    look(victim, test)
    if out is None:
        return _fitted(evaluator.evaluate(victim, test), train, test)
    folder, prints = RunFolder(Path(out)), victim_fingerprint(victim)
    with folder.locked():
        folder.adopt(_named(subject, victim), {"certified": describe(victim)}, test, asked.seed, weights=prints)
        finding = _fitted(evaluator.evaluate(victim, test), train, test)
        folder.save(finding)
        render(folder.path)
    return finding


def _named(subject: str | Path | nn.Module | Victim, victim: Victim) -> str:
    return str(subject) if isinstance(subject, str | Path) else type(victim.model).__name__


def _fitted(finding: Finding, train: Source, test: Source) -> Finding:
    """Return a finding that says which samples a probe was fitted to, where one was."""
    if train is test:
        return finding
    words = f"linear, on the network's features, fitted to {len(train):,} other samples of {train.name}"
    return replace(finding, protocol={**finding.protocol, "probe": words})

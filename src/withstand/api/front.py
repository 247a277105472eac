"""The front door: `train` an encoder, `open_run` an old one, `attack`, `audit` and `certify` any network."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from withstand.api.runs import Run, learnt_attack, learnt_for_audit
from withstand.api.settings import Audit, Certification, NamedAttack, changed
from withstand.api.subjects import (
    Inputs,
    attack_of,
    audit_of,
    certificate_of,
    front,
    look,
    radii_of,
    solver_device,
    victim_of,
)
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.ensemble import AttackProgress, ProverFunction
from withstand.attacks.autoattack.ensemble_state import victim_fingerprint
from withstand.core.batch import Batch
from withstand.core.device import device_of
from withstand.core.errors import ConfigError
from withstand.core.finding import Finding
from withstand.core.options import call
from withstand.core.part import Tree, build, describe, externals, override
from withstand.core.random import isolated
from withstand.core.roles import Attacked, Source
from withstand.core.victim import Victim
from withstand.data.load import Data
from withstand.engine import launch
from withstand.engine.experiment import Experiment
from withstand.engine.folder import RunFolder
from withstand.evaluation.robustness.attacked import attack_samples
from withstand.evaluation.robustness.autoattack_stage import Aids
from withstand.evaluation.robustness.corruptions import CorruptionBench, check_corruptible
from withstand.recipes.catalogue import entry
from withstand.report import render


def experiment(
    method: str,
    options: Mapping[str, object] | None = None,
    *,
    settings: Mapping[str, Tree] | None = None,
    allow: Sequence[str] = (),
) -> Experiment:
    """Return a recipe's experiment.

    Args:
        method: the recipe's slug.
        options: arguments of the recipe's `experiment`, by name.
        settings: changes to the described experiment by dotted path, say `{"method.sigma": 0.3}`.
        allow: modules outside withstand that the settings may name.

    Raises:
        ConfigError: an unknown method, option or setting, with the nearest name.
    """
    make = getattr(entry(method).module(), "experiment", None)
    if make is None:
        raise ConfigError(f"{method!r} is an evaluation, not a training method: try withstand reproduce {method}")
    with isolated():  # networks draw their first weights when they are made
        made: Experiment = call(make, options or {}, name=method)
        if settings:
            made = from_tree(describe(made), settings=settings, allow=allow, supply=externals(made))
    return made


def from_tree(
    tree: Tree,
    *,
    settings: Mapping[str, Tree] | None = None,
    allow: Sequence[str] = (),
    supply: Mapping[str, object] | None = None,
) -> Experiment:
    """Return the experiment that a tree describes, with some settings changed.

    Args:
        tree: as `describe` gives it and `run.json` holds it.
        settings: changes by dotted path.
        allow: modules outside withstand that the tree may name.
        supply: what the tree could only mention, by dotted path.

    Raises:
        ConfigError: the tree describes no experiment, or names something unknown or not allowed.
    """
    tree = copy.deepcopy(tree)
    for path, value in (settings or {}).items():
        override(tree, path, value)
    with isolated():
        made = build(tree, allow=allow, supply=supply)
    if not isinstance(made, Experiment):
        raise ConfigError(f"this describes a {type(made).__name__}, not an experiment")
    return made


def train(
    method: str | Experiment,
    data: Data | None = None,
    *,
    out: str | Path | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    processes: int | None = None,
    device: str | None = None,
    options: Mapping[str, object] | None = None,
    settings: Mapping[str, Tree] | None = None,
    allow: Sequence[str] = (),
    fresh: bool = False,
    quiet: bool = False,
    tensorboard: bool = False,
) -> Run:
    """Learn an encoder without labels; the same call again resumes, or returns at once when it is done.

    Args:
        method: a recipe's slug (`withstand list`), or an experiment of your own.
        data: a set's name, a folder of pictures, an array, a torch Dataset, a source; the recipe's own if None.
        out: the run folder; `runs/<method>-<data>` if None.
        epochs: passes over the data; the recipe's own if None.
        seed: of weights, order and views.
        processes: how many train together.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps"; the recipe's own, auto, if None.
        options: further arguments of the recipe, by name: `{"temperature": 0.2}`.
        settings: any setting, by dotted path: `{"plan.clip": 1.0}`.
        allow: modules outside withstand that the settings may name.
        fresh: start over in a folder that holds a run.
        quiet: show no progress.
        tensorboard: also write TensorBoard events (extra `tensorboard`).

    Raises:
        WithstandError: one clear line about what to mend.
    """
    if isinstance(method, str):
        common = {"data": data, "epochs": epochs, "seed": seed, "processes": processes}
        given = {name: value for name, value in common.items() if value is not None}
        made = experiment(method, {**given, **(options or {})}, settings=settings, allow=allow)
    else:
        if data is not None or options or settings:
            raise ConfigError("data, options and settings belong to a recipe's name, not to an experiment of your own")
        plan = method.plan
        plan = plan if epochs is None else replace(plan, epochs=epochs)
        plan = plan if seed is None else replace(plan, seed=seed)
        plan = plan if processes is None else replace(plan, processes=processes)
        made = replace(method, plan=plan)
    if device is not None:
        made = _on(made, device)
    path = Path(out) if out is not None else default_out(made)
    folder = launch.train(made, path, fresh=fresh, quiet=quiet, tensorboard=tensorboard, allow=tuple(allow))
    return Run(folder.path, supply=externals(made), allow=allow, device=device or "auto")


def _on(made: Experiment, device: str) -> Experiment:
    """Return an experiment, with its earlier stages, to be trained on a device."""
    first = _on(made.first, device) if isinstance(made.first, Experiment) else made.first
    return replace(made, plan=replace(made.plan, device=device), first=first)


def default_out(experiment: Experiment) -> Path:
    """Return the run folder of an experiment that names none."""
    return Path("runs") / f"{experiment.name}-{experiment.source.name}"


def open_run(
    path: str | Path,
    *,
    supply: Mapping[str, object] | None = None,
    allow: Sequence[str] = (),
    device: str = "auto",
) -> Run:
    """Open a run folder.

    Args:
        path: the folder.
        supply: what its description could only mention (arrays, own networks), by dotted path.
        allow: modules outside withstand that the description may name.
        device: where its networks are while something is measured: auto (a GPU where there is one), cpu, cuda or mps.

    Raises:
        RunError: it is no run folder.
    """
    run = Run(path, supply=supply, allow=allow, device=device)
    run.folder.record()
    return run


def attack(
    subject: str | Path | nn.Module | Victim,
    data: Data,
    asked: NamedAttack = NamedAttack(),  # noqa: B008 - a frozen value
    *,
    size: int | None = None,
    low: float | None = None,
    high: float | None = None,
    normalize: tuple[Sequence[float], Sequence[float]] | None = None,
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
        size: the side of pictures from a folder.
        low: the smallest input value that a network takes which is no `Victim`; 0 if None.
        high: the largest; 1 if None.
        normalize: `(mean, std)` per channel, applied before it; None where it normalises by itself.
        device: where a network that had to be found is run: auto, cpu, cuda or mps. One's own stays where it is.
        allow: modules outside withstand that a description may name.
        **settings: single fields of `asked`, by name.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked = changed(asked, settings)
    radii_of("8/255" if asked.eps is None else asked.eps)
    learnt = learnt_attack(asked.attack, allow)
    inputs = Inputs(low, high, normalize)
    victim, _, test = front(subject, data, size=size, inputs=inputs, allow=allow, device=device_of(device))
    bare = test.labels is None
    made = attack_of(victim, asked, embedding=bare, learnt=learnt)
    look(victim, test)
    return attack_samples(made, victim, test, samples=asked.samples, labelled=not bare, seed=asked.seed)


def audit(
    subject: str | Path | nn.Module | Victim,
    data: Data,
    asked: Audit = Audit(),  # noqa: B008 - a frozen value
    *,
    out: str | Path | None = None,
    surrogate: str | Path | nn.Module | Victim | None = None,
    attack: str | Path | InputAttack | None = None,
    prover: ProverFunction | None = None,
    corruptions: bool = False,
    size: int | None = None,
    low: float | None = None,
    high: float | None = None,
    normalize: tuple[Sequence[float], Sequence[float]] | None = None,
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
            `MODULE:NAME`. A network with `width`, an encoder of this library, gets a linear probe where there are
            labels.
        data: a set's name, a folder, an array, a pair of samples and labels, a torch Dataset, a source. Of a set or
            folder that comes in parts the test part is attacked, of other data all there is. Where a probe has to be
            fitted, data without a test part are divided for it.
        asked: norm, radii, samples, attacks.
        out: a folder for the finding and a report; AutoAttack goes on there after a kill. None keeps nothing.
        surrogate: another model of the same inputs and labels, whose attacks are carried over.
        attack: one that was learnt: a run folder that gives it, its FILE.safetensors, or itself. It is run at every
            radius of the headline's norm, and what it breaks counts like all else.
        prover: samples that it proves are not attacked.
        corruptions: also count what is left under the fifteen common corruptions (pictures with labels), in `out`.
        size: the side of pictures from a folder.
        low: the smallest input value that a network takes which is no `Victim`; 0 if None.
        high: the largest; 1 if None.
        normalize: `(mean, std)` per channel, applied before it; None where it normalises by itself.
        device: where a network that had to be found is run: auto, cpu, cuda or mps. One's own stays where it is.
        allow: modules outside withstand that a description may name.
        progress: is told how far the audit is.
        **settings: single fields of `asked`, by name: `eps="4/255"`.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked = changed(asked, settings)
    radii_of(asked.eps)
    inputs = Inputs(low, high, normalize)
    victim, train, test = front(subject, data, size=size, inputs=inputs, allow=allow, device=device_of(device))
    judge = audit_of(victim, asked)
    other = None if surrogate is None else victim_of(surrogate, train, allow)
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
    *,
    out: str | Path | None = None,
    size: int | None = None,
    low: float | None = None,
    high: float | None = None,
    normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    device: str = "auto",
    allow: Sequence[str] = (),
    **settings: object,
) -> Finding:
    """Prove what any network withstands, break it, or say that nobody knows.

    Args:
        subject: as for `audit`; its operations need bounds (linear maps, convolutions, ReLUs and the like).
        data: as for `audit`.
        asked: norm, radius, method, samples, time.
        out: a folder for the finding and a report. None keeps nothing.
        size: the side of pictures from a folder.
        low: the smallest input value that a network takes which is no `Victim`; 0 if None.
        high: the largest; 1 if None.
        normalize: `(mean, std)` per channel, applied before it; None where it normalises by itself.
        device: where a network that had to be found is run: auto, cpu, cuda or mps. One's own stays where it is.
        allow: modules outside withstand that a description may name.
        **settings: single fields of `asked`, by name: `method="crown"`.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked = changed(asked, settings)
    radii_of(asked.eps)
    inputs, place = Inputs(low, high, normalize), solver_device(asked.method, device_of(device))
    victim, train, test = front(subject, data, size=size, inputs=inputs, allow=allow, device=place)
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

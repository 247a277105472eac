"""Run folder: the file system is the registry.

`run.json` (what was run), `metrics.jsonl`, `checkpoint/`, `kept/NAME/`, `findings/*.json`, `report.html`. A folder
belongs to one experiment: the same command again resumes it, another experiment is refused.
"""

import fcntl
import json
import platform
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from withstand.core.errors import RunError
from withstand.core.files import replacing
from withstand.core.findings.finding import Finding
from withstand.core.moved import current_path
from withstand.core.part import Tree, as_of_now, describe
from withstand.core.roles import Method, Source
from withstand.core.version import __version__
from withstand.engine.checkpoint import last_step
from withstand.engine.experiment import Experiment, auditable
from withstand.models.blocks.memory.ema import Teacher

# What may change between two commands that mean the same run.
_FREE = {"plan.epochs", "plan.processes", "plan.device", "plan.log_every", "plan.save_every"}


class RunFolder:
    """One run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record_path = path / "run.json"
        self.metrics_path = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoint"
        self.findings_path = path / "findings"

    @property
    def first(self) -> "RunFolder":
        """The folder of the stage before this one, where a run has one."""
        return RunFolder(self.path / "first")

    def kept(self, name: str | None) -> Path:
        """Return the folder of the checkpoint that `Plan.keep_at` names so; of the last ones for None."""
        return self.checkpoints if name is None else self.path / "kept" / name

    def exists(self) -> bool:
        """Say whether a run was begun here."""
        return self.record_path.is_file()

    def record(self) -> dict[str, Tree]:
        """Return `run.json`.

        Raises:
            RunError: there is none, or it is damaged.
        """
        if not self.path.exists():
            raise RunError(f"there is no run folder {self.path}")
        if not self.exists():
            raise RunError(f"{self.path} is not a run folder: it has no run.json")
        try:
            record = json.loads(self.record_path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{self.record_path} is damaged ({error})") from error
        if not isinstance(record, dict) or "tree" not in record:
            raise RunError(f"{self.record_path} is not a run's record: it has no 'tree'")
        return record

    def write(self, record: dict[str, Tree]) -> None:
        """Write `run.json`, whole or not at all."""
        with replacing(self.record_path) as path:
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def update(self, **changes: Tree) -> None:
        """Change some entries of `run.json`."""
        self.write(self.record() | changes)

    def claim(self, experiment: Experiment, places: Mapping[str, Tree] | None = None, *, fresh: bool) -> bool:
        """Make the folder this experiment's, and say whether it is a resumed run.

        Findings on what is trained further are put aside, and a warning tells.

        Args:
            experiment: as it is to be trained.
            places: where its data lie; not said if None.
            fresh: start over where there is a run.

        Raises:
            RunError: the folder belongs to another experiment, was trained for longer, or holds other things.
        """
        if not self.exists() and any(not _ours(path.name) for path in self.path.iterdir()):
            raise RunError(f"{self.path} holds other files and no run: name another folder with --out")
        if fresh:
            self._clear()
        resumed = self.exists()
        said: dict[str, Tree] = {} if places is None else {"places": dict(places)}
        if resumed:
            self._refuse_another(experiment)
            self._refuse_fewer_epochs(experiment)
            record = self.record()
            self._set_outdated_aside(experiment)
            self.write(record | {"tree": describe(experiment), "status": "running"} | said)
        else:
            self.write(_new_record(experiment) | said)
        return resumed

    def adopt(self, name: str, tree: Tree, source: Source, seed: int, *, weights: str) -> None:
        """Make the folder hold findings on a network that was not trained here; those on other weights go.

        Args:
            name: what the network is called.
            tree: how it is evaluated.
            source: on which samples.
            seed: of the evaluation.
            weights: a digest of the network.

        Raises:
            RunError: the folder holds a run, findings on other data, or other things.
        """
        if self.exists() and self.record().get("status") != "audited":
            raise RunError(f"{self.path} holds a run: name another folder with --out, or audit the run itself")
        if not self.exists() and any(not _ours(path.name) for path in self.path.iterdir()):
            raise RunError(f"{self.path} holds other files: name another folder with --out")
        facts = _data_facts(source)
        if self.exists():
            record = self.record()
            other = record.get("data")
            if isinstance(other, dict) and other.get("fingerprint") != facts["fingerprint"]:
                raise RunError(f"{self.path} holds findings on other data, {other.get('name')}: name another folder")
            if record.get("weights") != weights:
                shutil.rmtree(self.findings_path, ignore_errors=True)
        self.write({**_origin(name, seed), "status": "audited", "tree": tree, "data": facts, "weights": weights})

    def _clear(self) -> None:
        """Remove a run; its record last, so that a kill leaves something to start over from."""
        for folder in (
            self.checkpoints,
            self.path / "kept",
            self.findings_path,
            self.path / "tensorboard",
            self.first.path,
        ):
            shutil.rmtree(folder, ignore_errors=True)
        for path in (*self.path.glob("non-finite-batch-*.safetensors"), self.metrics_path, self.path / "report.html"):
            path.unlink(missing_ok=True)
        self.record_path.unlink(missing_ok=True)

    def _refuse_another(self, experiment: Experiment) -> None:
        record = self.record()
        theirs, ours = leaves(as_of_now(record["tree"])), leaves(describe(experiment))
        changed = sorted(
            key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key) and not _may_change(key)
        )
        if changed:
            key = changed[0]
            more = f" and {len(changed) - 1} more settings" if len(changed) > 1 else ""
            raise RunError(
                f"{self.path} belongs to another experiment: {key} was {theirs.get(key)!r} there, now {ours.get(key)!r}"
                f"{more}. Name another folder with --out, or start over with --fresh"
            )
        data = record.get("data")
        if isinstance(data, dict) and data.get("fingerprint") != experiment.source.fingerprint():
            raise RunError(f"the data changed since {self.path} was begun: name another folder with --out, or --fresh")

    def _set_outdated_aside(self, experiment: Experiment) -> None:
        """Put findings aside where the run is trained further: they are about other weights."""
        done, kept = last_step(self.checkpoints), [path for path in self.findings_path.glob("*") if path.is_file()]
        if not kept or done >= experiment.plan.epochs * experiment.steps_per_epoch():
            return
        aside = self.findings_path / f"after-{done}-steps"
        aside.mkdir(exist_ok=True)
        for path in kept:
            path.replace(aside / path.name)
        warnings.warn(
            f"{self.path} is trained further: its findings on the run after {done:,} steps are now in {aside}; probe "
            "or audit it again when it is done",
            stacklevel=3,
        )

    def _refuse_fewer_epochs(self, experiment: Experiment) -> None:
        """Refuse to call what was trained for longer, and on a longer schedule, a shorter run."""
        per_epoch, epochs = experiment.steps_per_epoch(), experiment.plan.epochs
        done = last_step(self.checkpoints)
        if done > epochs * per_epoch:
            raise RunError(
                f"{self.path} was trained for {done / per_epoch:.4g} epochs already, more than the {epochs} asked for: "
                "name another folder with --out, or start over with --fresh"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from running in it; a killed process lets go by itself.

        Raises:
            RunError: it cannot be made or written, or another process runs in it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise RunError(f"{self.path} cannot be a run folder ({error}): name another with --out") from error
        with lock as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(f"another process is running in {self.path}") from None
            yield

    def described(self, place: str) -> Tree:
        """Return what the run's description holds at a place, say "method"; None where it holds nothing there.

        Raises:
            RunError: the folder describes no run.
        """
        tree = self.record()["tree"]
        arguments = tree.get("init_args") if isinstance(tree, dict) else None
        if not isinstance(arguments, dict):
            raise RunError(f"{self.path} holds no description of a run")
        return arguments.get(place)

    def save(self, finding: Finding) -> Path:
        """Write a finding."""
        return finding.save(self.findings_path)

    def drop(self, name: str) -> None:
        """Remove a finding, where there is one of that name."""
        for suffix in ("json", "npz"):
            (self.findings_path / f"{name}.{suffix}").unlink(missing_ok=True)

    def findings(self) -> list[Finding]:
        """Return all findings, by name."""
        return [Finding.load(path) for path in sorted(self.findings_path.glob("*.json"))]


def _ours(name: str) -> bool:
    """Say whether a file may lie in a folder whose run was killed before its record was written."""
    return name == ".lock" or (name.startswith(".run.json.") and name.endswith(".part"))


def leaves(tree: Tree, path: str = "") -> dict[str, Tree]:
    """Flatten a described tree to its plain values by dotted path; classes stand under their own path."""
    if isinstance(tree, dict) and "class_path" in tree:
        own: dict[str, Tree] = {f"{path}.class_path".lstrip("."): current_path(str(tree["class_path"]))}
        return own | leaves(tree.get("init_args", {}), path)
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        found: dict[str, Tree] = {}
        for key, value in items:
            found |= leaves(value, f"{path}.{key}" if path else str(key))
        return found
    return {path: tree}


def _new_record(experiment: Experiment) -> dict[str, Tree]:
    return {
        **_origin(experiment.name, experiment.plan.seed),
        "status": "running",
        "seconds": 0.0,
        "tree": describe(experiment),
        "data": _data_facts(experiment.source),
        "gives": list(experiment.method.products()),
        "auditable": auditable(experiment.method, experiment.source, experiment.audit),
        "encoder is frozen": _frozen(experiment.method),
        "taught by": experiment.method.taught_by,
        "engine": {},
    }


def _frozen(method: Method) -> bool:
    """Return whether a method has an encoder and leaves it as it is, as one that learns an attack on it does.

    A teacher's weights have no gradients either, but follow a student; an encoder without weights came from nowhere.
    """
    encoder = method.products().get("encoder")
    if not isinstance(encoder, nn.Module):
        return False
    weights = {id(value): value for value in encoder.parameters()}
    moving = {id(value) for part in method.modules() if isinstance(part, Teacher) for value in part.parameters()}
    return bool(weights) and not weights.keys() & moving and not any(one.requires_grad for one in weights.values())


def _origin(name: str, seed: int) -> dict[str, Tree]:
    """Return what every record says of when and by what it was made."""
    return {
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "versions": {
            "withstand": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "git": _git_state(),
    }


def _data_facts(source: Source) -> dict[str, Tree]:
    return {
        "name": source.name,
        "origin": source.origin,
        "count": len(source),
        "shape": list(source.shape),
        "kind": source.kind,
        "labelled": source.labels is not None,
        "classes": list(source.classes),
        "fingerprint": source.fingerprint(),
        "skipped": [[file, reason] for file, reason in source.skipped],
    }


def _git_state() -> str | None:
    """Return the commit of the user's working folder, with "-dirty" when it has changes; None outside git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _may_change(key: str) -> bool:
    """Say whether a setting may differ between two commands that mean the same run; an earlier stage's length may not.

    What judges and audits a run has no part in what it learns.

    >>> _may_change("plan.epochs"), _may_change("first.plan.epochs"), _may_change("first.plan.device")
    (True, False, True)
    >>> _may_change("judges.0.seeds"), _may_change("audit")
    (True, True)
    """
    own = re.sub(r"^(first\.)+", "", key)
    return (own in _FREE and (own == key or own != "plan.epochs")) or own.partition(".")[0] in ("judges", "audit")

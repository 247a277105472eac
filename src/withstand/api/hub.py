"""Runs on the Hugging Face Hub: a whole run folder goes up, with a page that says what it is, and comes down again.

Nothing in a run folder is code or a pickle; weights are safetensors files with their checksums beside them, and a run
that was pulled is opened like any other.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from withstand.api.runs import Run
from withstand.core.errors import ConfigError, MissingExtra, RunError
from withstand.core.findings.finding import Finding
from withstand.engine.folder import RunFolder

ALLOWED = ("*.json", "*.jsonl", "*.safetensors", "*.npz", "*.html", "*.md")
"""What a run folder holds; nothing else goes up or comes down."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def push(run: str | Path, name: str, *, public: bool = False) -> str:
    """Upload a finished run, and return its address.

    `run.json` names the run's data as the command that trained it did: look at it before anybody else does.

    Args:
        run: the folder.
        name: ORG/NAME on the Hub; made where it does not exist.
        public: let everybody see it; otherwise a new one is private.

    Raises:
        ConfigError: a name that is none.
        MissingExtra: huggingface_hub is not installed.
        RunError: no finished run, or the Hub refuses.
    """
    _check(name)
    folder = RunFolder(Path(run))
    record = folder.record()
    if record.get("status") == "running":
        raise RunError(f"{str(run)!r} is not finished: train to its end first")
    hub, page = _hub(), card(folder, name)
    with _refusals(name):
        api = hub.HfApi()
        api.create_repo(name, private=not public, exist_ok=True)
        with TemporaryDirectory(prefix="withstand-") as aside:
            (Path(aside) / "README.md").write_text(page, encoding="utf-8")
            _without_places(folder.path, Path(aside))
            api.upload_folder(repo_id=name, folder_path=aside)
        api.upload_folder(
            repo_id=name,
            folder_path=str(folder.path),
            allow_patterns=list(ALLOWED),
            ignore_patterns=["README.md", "*run.json", ".*"],
        )
    return f"https://huggingface.co/{name}"


def pull(name: str, *, out: str | Path | None = None, revision: str | None = None) -> Run:
    """Download a run, and open it.

    Args:
        name: ORG/NAME on the Hub.
        out: its folder; `runs/NAME` if None.
        revision: a branch, tag or commit; the newest if None.

    Raises:
        ConfigError: a name that is none.
        MissingExtra: huggingface_hub is not installed.
        RunError: the folder is taken, the Hub does not give it, or what it gives is no run.
    """
    _check(name)
    path = Path("runs") / name.rpartition("/")[2] if out is None else Path(out)
    if path.exists() and any(path.iterdir()):
        raise RunError(f"{str(path)!r} holds something: name another folder by out")
    hub = _hub()
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".pull-", dir=path.parent) as aside, _refusals(name):
        there = Path(aside) / "run"
        hub.snapshot_download(name, revision=revision, local_dir=str(there), allow_patterns=list(ALLOWED))
        shutil.rmtree(there / ".cache", ignore_errors=True)  # the downloader's own
        if not RunFolder(there).exists():
            raise RunError(f"{name} holds no run.json: it is no run of this library")
        if path.exists():
            path.rmdir()
        there.rename(path)
    return Run(path)


def card(folder: RunFolder, name: str) -> str:
    """Return what the Hub shows of a run: its method, its data, and what was found, with controls and intervals.

    Args:
        folder: of the run.
        name: ORG/NAME.
    """
    record = folder.record()
    method, data = record.get("name"), record.get("data")
    on = f", learnt on {data['name']}" if isinstance(data, dict) and "name" in data else ""
    lines = ["---", "library_name: withstand", "tags: [self-supervised, robustness]", "---", "", f"# {method}{on}", ""]
    lines += ["```", f"withstand pull {name}", "```", ""]
    for finding in folder.findings():
        lines += _found(finding)
    return "\n".join(lines) + "\n"


def _found(finding: Finding) -> list[str]:
    lines = [f"## {finding.name}", "", "```", str(finding), "```", ""]
    verdict = finding.protocol.get("verdict")
    return [*lines, str(verdict), ""] if verdict else lines


def _without_places(run: Path, out: Path) -> None:
    """Write the records of a run and of its earlier stages, without where their data lie on this machine."""
    for path in run.rglob("run.json"):
        record = {key: value for key, value in RunFolder(path.parent).record().items() if key != "places"}
        there = out / path.relative_to(run)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a run on the Hub is called ORG/NAME, not {name!r}")


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra("runs on the Hugging Face Hub", "huggingface_hub", "hub") from error
    return huggingface_hub


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Make one line of what the Hub, or the way to it, says no with."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"the Hub and {name}: {reason}") from error

"""push, pull: runs on the Hugging Face Hub."""

from pathlib import Path

from withstand.cli.reply import Reply, then


def run_push(run: Path, name: str, /, *, public: bool = False) -> Reply:
    """Upload a finished run to the Hugging Face Hub, with a page that says what was found.

    Args:
        run: the run folder; its run.json names the data as the command did that trained it
        name: ORG/NAME, made where it does not exist
        public: let everybody see a new one; it is private otherwise
    """
    from withstand.api.hub import push

    address = push(run, name, public=public)
    return Reply(address, {"address": address})


def run_pull(name: str, /, *, out: Path | None = None, revision: str | None = None) -> Reply:
    """Download a run from the Hugging Face Hub.

    Args:
        name: ORG/NAME
        out: its folder, runs/NAME if not said
        revision: a branch, tag or commit, the newest if not said
    """
    from withstand.api.hub import pull

    run = pull(name, out=out, revision=revision)
    return Reply(f"{run.path}\n{then('report', run.path)}", {"run": str(run.path)})

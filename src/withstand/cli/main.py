"""`withstand`: the command line. Verbs are imported when chosen, so that help needs no torch."""

import json
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import TextIO

from withstand.cli.options import answer
from withstand.core.errors import ConfigError, Preempted, WithstandError, nearest
from withstand.core.version import __version__

VERBS = {
    "demo": ("training", "learn from embedded real pictures, probe, attack, report: the main job in minutes"),
    "train": ("training", "learn an encoder from data without labels"),
    "list": ("catalogue", "list the methods"),
    "show": ("catalogue", "describe a method, or a run folder"),
    "find": ("catalogue", "find methods by what they are for"),
    "embed": ("outputs", "write a run's features of some data"),
    "neighbors": ("outputs", "find the run's own samples that are most like a picture, or any other sample"),
    "apply": ("outputs", "write what a run makes of samples: predictions, pictures, masks, keypoints"),
    "probe": ("probe", "measure what a run's encoder is worth"),
    "attack": ("attack", "attack a run's encoder, or any network, and keep the attacked inputs"),
    "audit": ("runs", "measure what a run's encoder withstands"),
    "defend": ("defend", "guard a classifier by a detector or a purifier, and attack both"),
    "certify": ("certify", "prove what a network withstands, break it, or say that nobody knows"),
    "match": ("match", "make one table of one or two dirty ones, with its conflicts and doubtful pairs"),
    "inspect": ("inspect", "look through pictures for what may be a backdoor's trigger, and list them with reasons"),
    "steer": ("steer", "measure how far a picture steers what a vision-language model says"),
    "trace": ("trace", "rank the copies of a classifier by how likely adversarial examples were made on them"),
    "report": ("runs", "write a run's report, one HTML file"),
    "compare": ("runs", "put runs side by side, one HTML file"),
    "leaderboard": ("runs", "rank audited networks that were attacked alike"),
    "push": ("hub", "upload a run to the Hugging Face Hub"),
    "pull": ("hub", "download a run from the Hugging Face Hub"),
    "export": ("outputs", "write a network of a run as safetensors or ONNX"),
    "reproduce": ("claims", "test a paper's claim on real data"),
    "doctor": ("doctor", "say what is installed, what is missing for which verb, and where time goes"),
}

_HELP = """usage: withstand VERB ... (withstand VERB --help says more)

Learn representations without labels, and know - and raise - how much they withstand.

{verbs}

Common options, the same on every verb that has them: --data --out --seed --epochs --processes --config
--set NAME=VALUE --fresh --json. Start with: withstand demo
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 2 for an error that the user can mend, 130 when interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a path's bytes may be no UTF-8
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, VERBS))
        sys.stdout.write(
            _HELP.format(verbs="\n".join(f"  {name:{width}}  {text}" for name, (_, text) in VERBS.items()))
        )
        return 0
    if words[0] in ("-V", "--version"):
        sys.stdout.write(f"withstand {__version__}\n")
        return 0
    with warnings.catch_warnings():
        warnings.showwarning = _Warnings()
        return _guarded(words[0], words[1:])


def _guarded(verb: str, words: list[str]) -> int:
    """Run a verb; what a user can mend becomes one line."""
    try:
        return _run(verb, words)
    except WithstandError as error:
        return _refuse(str(error))
    except OSError as error:  # a full disk, a folder that may not be written
        return _refuse(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Preempted as error:
        said = f"; {error}" if str(error) else ""
        sys.stderr.write(f"withstand: stopped by {signal.Signals(error.signal).name}, and saved{said}\n")
        return 128 + error.signal
    except KeyboardInterrupt as error:
        sys.stderr.write(f"withstand: interrupted{f'; {error}' if str(error) else ''}\n")
        return 130


def _run(verb: str, words: list[str]) -> int:
    if verb not in VERBS:
        raise ConfigError(f"there is no verb {verb!r}: {nearest(verb, VERBS)}")
    function = getattr(import_module(f"withstand.cli.verbs.{VERBS[verb][0]}"), f"run_{verb}")
    reply, as_json = function(words) if verb == "train" else answer(function, words, verb)
    if as_json:
        sys.stdout.write(json.dumps(reply.facts, indent=1) + "\n")
    elif reply.text:
        sys.stdout.write(reply.text.rstrip() + "\n")
    return int(reply.code)


def _refuse(message: str) -> int:
    sys.stderr.write(f"withstand: error: {message}\n")
    return 2


class _Warnings:
    """Shows this package's warnings as one line, once each, and others as Python would."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        if not issubclass(category, UserWarning) or "withstand" not in filename:
            sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))
        elif text not in self._shown:
            self._shown.add(text)
            sys.stderr.write(f"withstand: warning: {text}\n")

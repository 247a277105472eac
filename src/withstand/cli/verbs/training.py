"""train and demo: from data to an encoder."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from withstand.cli.interrupted import of_audit, of_training, when_interrupted
from withstand.cli.options import parse
from withstand.cli.reply import Reply, figure_facts, what_next
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.options import Device
from withstand.core.part import Tree
from withstand.recipes.catalogue import entries, entry


def _own_options(
    *,
    data: str | None = None,
    out: Path | None = None,
    set: tuple[str, ...] = (),
    config: Path | None = None,
    device: Device | None = None,
    allow: tuple[str, ...] = (),
    fresh: bool = False,
    strict: bool = False,
    quiet: bool = False,
    tensorboard: bool = False,
    first: str | None = None,
) -> None:
    """Options of `train` besides the recipe's own.

    Args:
        out: the run folder, runs/METHOD-DATA if not said; a folder that holds this run is resumed
        strict: refuse data with parts that cannot be used, such as unreadable files, in place of leaving them out
        quiet: show no progress
        tensorboard: also write TensorBoard events (extra tensorboard)
    """


def _with_config(*, epochs: int | None = None, seed: int | None = None, processes: int | None = None) -> None:
    """Options of an experiment that --config takes, as of every method.

    Args:
        epochs: passes over the data; the experiment's own if not said
        seed: of weights, order and views; likewise
        processes: how many train together; likewise
    """


SHARED = ("data", "epochs", "learning_rate", "seed")
"""What every recipe can be told."""
USUAL = ("batch", "processes")
"""What nearly every recipe can be told."""
OF_PICTURES = ("size", "model", "width", "depth", "holdout")
"""What recipes on pictures can be told besides, as a rule."""


NETWORK = ("size", "model", "width", "depth")
"""What a run says that is begun with."""


def _flags(names: Sequence[str]) -> str:
    return " ".join(f"--{name.replace('_', '-')}" for name in names)


def run_train(words: Sequence[str]) -> tuple[Reply, bool]:
    """Learn an encoder from data without labels; the same command again resumes it.

    The recipe's own arguments are options too, so the command line depends on the method.
    """
    methods = [item.slug for item in entries() if item.trains]
    method = words[0] if words and not words[0].startswith("-") else None
    if method is None and not {"-h", "--help"} & set(words) and not any(w.startswith("--config") for w in words):
        raise ConfigError(f"withstand train needs a method: {', '.join(methods)}")
    functions: list[Callable[..., object]] = [_own_options, _with_config]
    about = f"Learn an encoder. METHOD is one of: {', '.join(methods)}."
    about += (
        f" Every METHOD takes {_flags(SHARED)}; nearly every one {_flags(USUAL)}; of pictures {_flags(OF_PICTURES)}. "
        "withstand train METHOD --help shows all that it takes."
    )
    if method is not None:
        item = entry(method)
        if item.slug not in methods:
            raise ConfigError(f"{method!r} trains nothing: withstand reproduce {method}. {nearest(method, methods)}")
        functions, about = [_own_options, item.module().experiment], item.title
    values = parse(functions, words[method is not None :], name=f"train {method or 'METHOD'}", about=about)

    from withstand.api.front import default_out, experiment, from_tree, train

    own = {name: values.pop(name) for name in ("out", "set", "config", "device", "allow", "fresh", "strict", "quiet")}
    as_json, tensorboard = bool(values.pop("json")), bool(values.pop("tensorboard"))
    settings, allow = dict(map(read_setting, _words(own["set"]))), _words(own["allow"])
    if method is None:
        if values.get("data") is not None:
            raise ConfigError("--config holds a whole experiment, with its data: change them with --set source...")
        if values.get("first") is not None:
            raise ConfigError("--config holds a whole experiment: begin with a run's weights by --set start=RUN")
        own_plan = {name: values[name] for name in ("epochs", "seed", "processes") if values[name] is not None}
        settings |= {f"plan.{name}": int(str(value)) for name, value in own_plan.items()}
        made = from_tree(read_tree(Path(str(own["config"]))), settings=settings, allow=allow)
    elif own["config"] is not None:
        raise ConfigError("--config holds a whole experiment: leave the method out, and change it with --set")
    else:
        given = {name: value for name, value in values.items() if value is not None}
        if "first" in given:  # what is not said is the run's, and no recipe's default
            said = {word.partition("=")[0] for word in words}
            given = {name: value for name, value in given.items() if name not in NETWORK or _flags([name]) in said}
        made = experiment(method, given, settings=settings, allow=allow)
    if own["strict"] and made.source.skipped:
        shown = "; ".join(f"{what}: {reason}" for what, reason in made.source.skipped[:3])
        count = len(made.source.skipped)
        raise DataError(f"{count} part(s) of the data cannot be used ({shown}): repair or remove them")
    out = None if own["out"] is None else Path(str(own["out"]))
    device = None if own["device"] is None else str(own["device"])
    fresh = bool(own["fresh"])
    with when_interrupted(lambda: of_training(out or default_out(made), fresh=fresh)):
        run = train(
            made,
            out=out,
            device=device,
            allow=allow,
            fresh=fresh,
            quiet=bool(own["quiet"]),
            tensorboard=tensorboard,
        )
    record = run.folder.record()
    text = f"{run.path}: {record['status']}, {record['seconds']} s of training\n"
    text += what_next(run.path, run.method.products(), () if run.auditable else None, "probe")
    return Reply(text, {"run": str(run.path), "status": record["status"], "seconds": record["seconds"]}), as_json


def run_demo(
    *,
    out: Path = Path("withstand-demo"),
    epochs: int = 6,
    pictures: int | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> Reply:
    """Learn from 10,000 real pictures that the package carries, probe, attack, report: the main job in minutes.

    Args:
        out: the run folder
        pictures: take only the first so many, a fifth of them to judge by: whether all works is seen in seconds, and
            figures say little
    """
    from withstand.api.front import train
    from withstand.data.derived.subset import Subset
    from withstand.data.load import Data, load

    options: dict[str, object] = {"smallest_crop": 0.2}  # clothes are told apart by their outline: not by less of it
    data: Data = "fashion-mnist-small"
    if pictures is not None:
        whole = load(data)
        if not 20 <= pictures <= len(whole):
            raise ConfigError(f"pictures must lie between 20 and {len(whole)}, not {pictures}")
        data = Subset(whole, range(pictures))
        options["batch"] = min(256, pictures // 4)
    with when_interrupted(lambda: of_training(out, fresh=fresh)):
        run = train("dcl", data, out=out, epochs=epochs, seed=seed, fresh=fresh, options=options)
    with when_interrupted(lambda: of_audit(out)):
        findings = {finding.name: finding for finding in (*run.probe(), run.audit())}
    report = run.report()
    shown = [str(findings[name]) for name in ("knn", "linear", "audit")]
    figures: dict[str, Tree] = {name: figure_facts(finding) for name, finding in findings.items()}
    return Reply("\n".join([*shown, f"report: {report}"]), {"report": str(report), "findings": figures})


def read_setting(text: str) -> tuple[str, Tree]:
    """Return the path and value of a `--set` word; values are JSON where they can be, else text.

    Raises:
        ConfigError: there is no "=".
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set takes NAME=VALUE, say method.temperature=0.2, not {text!r}")
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value


def read_tree(path: Path) -> Tree:
    """Return the experiment's tree in a `run.json`, or in a file that is the tree itself.

    Raises:
        ConfigError: no such file, or no JSON.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {path}: {error}") from error
    tree: Tree = record.get("tree", record) if isinstance(record, dict) else record
    return tree


def _words(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()

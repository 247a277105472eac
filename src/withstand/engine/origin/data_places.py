"""Where a run's data lie: recorded when it trains, and found again where run or data were moved, by their content.

Of each path an absolute one is kept, and one as seen from the run folder, beside a fingerprint of what was read. Data
are looked for as the run names them from the present folder, where they lay, as seen from the run, and beside the run;
what does not have the fingerprint is never taken for the run's.
"""

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from withstand.core.errors import DataError, RunError, WithstandError
from withstand.core.files import printable
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.moved import current_path
from withstand.core.part import Tree, describe
from withstand.core.roles import Source
from withstand.data.derived.subset import _Chosen as Chosen
from withstand.data.derived.wrapped import Wrapped
from withstand.data.pictures.folder import ImageFolder
from withstand.engine.experiment import Experiment
from withstand.engine.folder import RunFolder

PLACES = ("source", "test", "labelled")
"""What of a run's description is data that it is judged on."""

Make: TypeAlias = Callable[[Tree, str], object]
"""Builds what a tree describes at a place of a run."""
Find: TypeAlias = Callable[[str], Path]
"""From a path as the run names it to where it may lie."""

_NO_DATA = "cache"
"""The argument of sources that is a path, and not one of data."""


class DataGone(DataError):
    """A run's own data that are nowhere to be found, or are no longer what it learnt from."""


def places_of(experiment: Experiment, run: Path) -> dict[str, Tree]:
    """Return what `run.json` keeps of where an experiment's data lie: by place, a fingerprint and every path.

    Args:
        experiment: as it is trained, from the present folder.
        run: its folder.
    """
    found: dict[str, Tree] = {}
    for place in PLACES:
        source = getattr(experiment, place)
        known = {path: there for path in set(_paths(describe(source))) if (there := _absolute(path)).exists()}
        if known:
            paths: dict[str, Tree] = {path: _seen(there, run) for path, there in sorted(known.items())}
            found[place] = {"fingerprint": source.fingerprint(), "paths": paths}
    if isinstance(experiment.first, str):
        found["first"] = {"paths": {experiment.first: _seen(_absolute(experiment.first), run)}}
    return found


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()


def _seen(there: Path, run: Path) -> Tree:
    """Return a place as it is kept."""
    return {"absolute": str(there), "from the run": os.path.relpath(there, run.resolve())}


class OwnData:
    """A run's own data, opened where they lie now.

    Args:
        folder: of the run.
        make: builds what a tree describes.
    """

    def __init__(self, folder: RunFolder, make: Make) -> None:
        self._folder, self._make = folder, make
        self._find: Find | None = None
        self._at: Path | None = None

    def open(self, place: str) -> Source | None:
        """Return what the run's description holds at a place, say "test"; None where it holds nothing there.

        Raises:
            DataGone: the data are nowhere to be found, or hold something else than the run learnt from.
        """
        tree = self._folder.described(place)
        if tree is None:
            return None
        paths = self._paths(place, tree)
        if not paths:
            return self._source(tree, place)
        tried: list[dict[str, Path]] = []
        others: list[dict[str, Path]] = []
        errors: list[WithstandError] = []
        for find in self._ways(place):
            there = {path: find(path) for path in paths}
            if there in tried or any(not one.exists() for path, one in there.items() if path in self._known(place)):
                continue
            tried.append(there)
            try:
                made = self._source(_relocated(tree, there), place)
            except WithstandError as error:  # what lies there may be something else altogether
                errors.append(error)
                continue
            if made.fingerprint() == self._expected(place, made):
                self._find = self._find or find
                return made
            others.append(there)
        raise self._gone(paths, others, errors)

    def need(self, place: str) -> Source:
        """Return the same where there has to be something.

        Raises:
            RunError: the run describes nothing at this place.
        """
        made = self.open(place)
        if made is None:
            raise RunError(f"{self._folder.path} describes no {place}")
        return made

    def found_at(self, path: Path) -> bool:
        """Say whether the run's own data lie at a path; from then on they are opened there, and the run remembers."""
        tree = self._folder.described("source")
        paths = self._paths("source", tree)
        if not paths or not path.exists():
            return False
        for find in _moved(path, self._all_paths()):
            there = {one: find(one) for one in paths}
            if not all(one.exists() for one in there.values()):
                continue
            with suppress(WithstandError), warnings.catch_warnings():  # other data, of which nothing is to be said yet
                warnings.simplefilter("ignore")
                made = self._source(_relocated(tree, there), "source")
                if made.fingerprint() == self._expected("source", made):
                    self._at = path
                    self._remember(there)
                    return True
        return False

    def form(self, path: Path) -> Source | None:
        """Return what lies at a path, read as the run's own pictures were; None where more than that hangs on them."""
        described = self._folder.described("source")
        paths, tree = self._paths("source", described), _whole(described)
        for find in _moved(path, self._all_paths()) if paths else ():
            there = {one: find(one) for one in paths}
            with suppress(WithstandError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = self._source(_relocated(tree, there), "source")
                return made if made.kind == "picture" and made.like(path) is None else None
        return None

    def read_plainly(self, *, alone: bool = False) -> bool:
        """Return whether other data are read like the run's own without a look at them: their shape says how.

        Args:
            alone: the other data are one picture's file, of which nothing is told.
        """
        described = list(_sources(self._folder.described("source")))
        return bool(described) and (alone or all(_is_plain(tree) for tree in described))

    @property
    def reading(self) -> Reading:
        """What was said of how picture files are read."""
        for tree in _sources(self._folder.described("source")):
            arguments = tree.get("init_args")
            if isinstance(arguments, dict) and isinstance(said := arguments.get("reading"), dict):
                made = self._make(said, "reading")
                if isinstance(made, Reading):
                    return made
        return PLAIN

    def earlier(self, first: str) -> Path:
        """Return where the run lies now that this one began with.

        Args:
            first: its path as the run names it.
        """
        ways = [find(first) for find in self._ways("first")]
        return next((path for path in ways if (path / "run.json").is_file()), Path(first))

    def _source(self, tree: Tree, place: str) -> Source:
        made = self._make(tree, place)
        if not isinstance(made, Source):
            raise DataError(f"{self._folder.path} describes a {type(made).__name__} as its {place}, no Source")
        return made

    def _ways(self, place: str) -> Iterator[Find]:
        """Yield where to look, in order: what held of other data of the run is tried first."""
        run, known = self._folder.path.resolve(), self._known(place)
        if self._at is not None:
            yield from _moved(self._at, self._all_paths())
        if self._find is not None:
            yield self._find
        yield lambda path: Path(path).expanduser()
        if known:
            yield lambda path: Path(known.get(path, {}).get("absolute", path))
            yield lambda path: Path(os.path.normpath(run / known.get(path, {}).get("from the run", path)))
        yield lambda path: run.parent / Path(path)
        yield lambda path: run.parent / Path(path).name

    def _known(self, place: str) -> Mapping[str, Mapping[str, str]]:
        """Return where paths lay, as it was recorded; nothing of runs from before that."""
        paths: Any = self._recorded(place).get("paths", {})
        return paths if isinstance(paths, dict) else {}

    def _recorded(self, place: str) -> Mapping[str, Tree]:
        places = self._folder.record().get("places")
        found = places.get(place) if isinstance(places, dict) else None
        return found if isinstance(found, dict) else {}

    def _paths(self, place: str, tree: Tree) -> tuple[str, ...]:
        """Return the paths in a description: those that were recorded, or of an older run those that may be."""
        if "places" in self._folder.record():
            return tuple(self._known(place))
        return tuple(sorted(set(_paths(tree))))

    def _all_paths(self) -> tuple[str, ...]:
        """Return the paths of all that is learnt from or kept, in their order."""
        trees = {place: self._folder.described(place) for place in PLACES}
        return tuple(sorted({path for place, tree in trees.items() if tree for path in self._paths(place, tree)}))

    def _expected(self, place: str, made: Source) -> Tree:
        """Return the fingerprint that data must have; their own where a run from before knows none."""
        if (recorded := self._recorded(place).get("fingerprint")) is not None:
            return recorded
        facts = self._folder.record().get("data")
        if place == "source" and isinstance(facts, dict) and "fingerprint" in facts:
            return facts["fingerprint"]
        return made.fingerprint()

    def _gone(
        self, paths: Iterable[str], others: list[dict[str, Path]], errors: list[WithstandError]
    ) -> WithstandError:
        named = ", ".join(repr(printable(path)) for path in paths)
        again = "--data PATH finds them again where they lie now"
        if others:
            where = ", ".join(dict.fromkeys(printable(str(path)) for path in others[0].values()))
            return DataGone(f"{where} no longer holds what {self._folder.path} learnt from: {again}")
        if errors:
            return errors[0]
        return DataGone(f"the data of {self._folder.path}, {named}, are neither there nor beside the run: {again}")

    def _remember(self, there: Mapping[str, Path]) -> None:
        """Keep where data were found: the next command needs no word then."""
        record = self._folder.record()
        if record.get("status") == "running":
            return  # the record is another process's to write
        places = record.get("places")
        places = dict(places) if isinstance(places, dict) else {}
        run, recorded = self._folder.path, self._recorded("source")
        paths: dict[str, Tree] = {path: _seen(one.resolve(), run) for path, one in there.items()}
        if recorded.get("paths") != paths:
            with suppress(OSError):  # a folder that cannot be written is told again
                self._folder.update(places={**places, "source": {**recorded, "paths": paths}})


def _moved(path: Path, paths: Iterable[str]) -> Iterator[Find]:
    """Yield where a run's paths may lie if a path stands for all of them: it, places below it, files beside it."""
    named = list(paths)
    try:
        above = os.path.commonpath(named)
    except ValueError:  # some are absolute
        return
    yield lambda one: path / os.path.relpath(one, above) if one in named else path / one
    if path.is_file() and path.name in {Path(one).name for one in named}:
        yield lambda one: path.parent / os.path.relpath(one, above) if one in named else path / one


def _relocated(tree: Tree, there: Mapping[str, Path]) -> Tree:
    """Return a described source whose paths are others."""
    if isinstance(tree, list):
        return [_relocated(item, there) for item in tree]
    if not isinstance(tree, dict):
        return tree
    arguments = tree.get("init_args") if "class_path" in tree else tree
    if not isinstance(arguments, dict):
        return tree
    may = _may_be_paths(tree)
    changed = {
        name: str(there[value])
        if name in may and isinstance(value, str) and value in there
        else _relocated(value, there)
        for name, value in arguments.items()
    }
    return {**tree, "init_args": changed} if "class_path" in tree else changed


def _paths(tree: Tree) -> Iterator[str]:
    """Yield every word in a described source that may be a path, by what its constructors say of themselves."""
    if isinstance(tree, list):
        for item in tree:
            yield from _paths(item)
    if not isinstance(tree, dict):
        return
    arguments = tree.get("init_args") if "class_path" in tree else tree
    may = _may_be_paths(tree)
    for name, value in arguments.items() if isinstance(arguments, dict) else ():
        if name in may and isinstance(value, str) and value:
            yield value
        else:
            yield from _paths(value)


def _sources(tree: Tree) -> Iterator[Mapping[str, Tree]]:
    """Yield every described source in a tree, itself among them."""
    inner = tree if isinstance(tree, list) else list(tree.values()) if isinstance(tree, dict) else []
    if isinstance(tree, dict) and inspect.isclass(made := _class_of(tree)) and issubclass(made, Source):
        yield tree
    for item in inner:
        yield from _sources(item)


def _whole(tree: Tree) -> Tree:
    """Return the described whole that a described choice of samples is made of."""
    while isinstance(tree, dict) and inspect.isclass(made := _class_of(tree)) and issubclass(made, Chosen):
        arguments = tree.get("init_args")
        as_they_are = made.like is Chosen.like and made.__getitem__ is Chosen.__getitem__
        if not as_they_are or not isinstance(arguments, dict) or "source" not in arguments:
            break
        tree = arguments["source"]
    return tree


def _is_plain(tree: Mapping[str, Tree]) -> bool:
    """Return whether a described source reads others as any are read, or hands the question on."""
    made, arguments = _class_of(tree), tree.get("init_args")
    if made is ImageFolder:
        return isinstance(arguments, dict) and not arguments.get("domains")
    return getattr(made, "like", None) in (Source.like, Wrapped.like, Chosen.like)


def _class_of(tree: Mapping[str, Tree]) -> Any:
    """Return a described class, of those that are known by now; None of others."""
    module, _, name = current_path(str(tree.get("class_path", ""))).rpartition(".")
    known = import_module(module) if module.partition(".")[0] == "withstand" else sys.modules.get(module)
    return getattr(known, name, None)


def _may_be_paths(tree: Mapping[str, Tree]) -> set[str]:
    """Return the arguments of a described class that may be paths: those that take one, or anything."""
    made = _class_of(tree)
    if made is None:
        return set()
    words = {item.name: str(item.annotation) for item in inspect.signature(made).parameters.values()}
    return {item for item, word in words.items() if item == "path" or "Path" in word or "Any" in word} - {_NO_DATA}

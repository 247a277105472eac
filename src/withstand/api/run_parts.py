"""What a run folder holds, built again: the method before and after training, its networks, its data."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar

from torch import nn

from withstand.api.subjects import probed
from withstand.core.devices.device import device_of, moved
from withstand.core.errors import CheckpointError, ConfigError, DataError, LeftOut, RunError, WithstandError
from withstand.core.part import Tree, build
from withstand.core.random import isolated
from withstand.core.roles import Evaluator, Method, Model, Source, encoder_of, network_of
from withstand.core.victims.victim import Victim
from withstand.data.beside.labels import Told, with_labels
from withstand.data.derived.relabelled import numbered_as
from withstand.data.derived.resized import as_shaped
from withstand.data.derived.subset import Subset, apart, holdout, labelled
from withstand.data.load import Data, splits_like
from withstand.data.pictures.blank import Blank
from withstand.data.pictures.files import is_picture_file
from withstand.engine import checkpoint
from withstand.engine.experiment import BEGIN, auditable
from withstand.engine.folder import RunFolder
from withstand.engine.origin.data_places import PLACES, DataGone, OwnData
from withstand.evaluation.features import embed

P = TypeVar("P")


class RunParts:
    """The parts of a run, read from its folder, which is its whole state.

    Its networks lie on the CPU, and are on `device` while something is measured.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        supply: Mapping[str, object] | None = None,
        allow: Sequence[str] = (),
        device: str = "auto",
        labels: str | Path | None = None,
        label_column: str | None = None,
    ) -> None:
        self.folder = RunFolder(Path(path))
        self._supply, self._allow = dict(supply or {}), tuple(allow)
        self.device = device_of(device)
        self._labels, self._label_column = labels, label_column
        self._told: Told | None = None
        self._read: dict[str, Source] = {}
        self._data = OwnData(self.folder, self._make)
        self._told_apart: dict[str | Path, bool] = {}
        if labels is None and label_column is not None:
            raise ConfigError("label_column is about a table of labels: name one by labels")

    def with_labels(self, path: str | Path, column: str | None = None) -> Self:
        """Return the same run, whose data have the labels of a table; see `withstand.data.beside.labels`.

        Args:
            path: a CSV, Parquet or Feather file: a sample's file name or id, and its label.
            column: of the labels; found by itself if None.
        """
        return type(self)(
            self.path, supply=self._supply, allow=self._allow, device=str(self.device), labels=path, label_column=column
        )

    def __repr__(self) -> str:
        """Return one line: where, what was trained on what, and how far it is."""
        if not self.folder.exists():
            return f"<Run {self.path}: there is none>"
        record = self.folder.record()
        data = record.get("data")
        on = f" on {data['name']}" if isinstance(data, dict) and "name" in data else ""
        return f"<Run {self.path}: {record.get('name')}{on}, {record.get('status')}>"

    @property
    def auditable(self) -> bool:
        """Whether `audit` measures this run: it has an audit of its own, or embeds samples that are one tensor each."""
        own, known = self._build_any("audit"), self.folder.record().get("auditable")
        if isinstance(known, bool):  # its data may be gone by now
            return known
        return auditable(self.method, self.source, own if isinstance(own, Evaluator) else None)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample that was learnt from; () where the record does not say."""
        facts = self.folder.record().get("data")
        sides = facts.get("shape") if isinstance(facts, dict) else None
        return tuple(int(str(side)) for side in sides) if isinstance(sides, list) else ()

    @property
    def source(self) -> Source:
        """What was learnt from."""
        return self._build("source", Source)

    def _build(self, place: str, role: type[P]) -> P:
        """Return what the run's description holds at a place.

        Raises:
            RunError: nothing, or something else.
        """
        found = self._build_any(place)
        if not isinstance(found, role):
            raise RunError(f"{self.folder.path} describes a {type(found).__name__} as its {place}, no {role.__name__}")
        return found

    def _build_any(self, place: str) -> object:
        if place in self._read:
            return self._read[place]
        if place not in PLACES:
            return self._make(self.folder.described(place), place)
        made = self._data.open(place)
        if made is not None:  # reading them again takes long, and gives the same
            self._read[place] = made
        return made

    def _make(self, described: Tree, place: str) -> object:
        """Build what a tree describes that stands at a place of the run's description."""
        seed = self.folder.record()["seed"]
        if not isinstance(seed, int):
            raise RunError(f"{self.folder.path} holds no description of a run")
        with isolated(seed, "weights"), warnings.catch_warnings():
            warnings.simplefilter("ignore", LeftOut)  # said when it was trained
            return build(described, allow=self._allow, supply=self._supply, path=place)

    def others(self, data: Data | None) -> Data | None:
        """Return data that are not the run's own, or None where they are: those of the same content, named by a path.

        The run finds its own there from now on.
        """
        if not isinstance(data, str | Path):
            return data
        if data not in self._told_apart:
            self._told_apart[data] = self._data.found_at(Path(data).expanduser())
            if self._told_apart[data]:
                self._read.clear()
        return None if self._told_apart[data] else data

    def _like(self, data: Data | None) -> Source:
        """Return what other data are to be read like: the run's own, or where these are gone pictures of their form.

        That form is their shape, which the run's record holds, and what was said of how their files are read.
        """
        try:
            return self.source
        except DataGone:
            form = self._data.form(Path(data).expanduser()) if isinstance(data, str | Path) else None
            if form is not None:
                return form
            known = self.folder.record().get("data")
            pictures = isinstance(known, dict) and known.get("kind") == "picture" and len(self.shape) == 3
            if data is None or not pictures or not self._data.read_plainly(alone=is_picture_file(data)):
                raise
            return Blank(self.shape, self._data.reading)

    def _test(self) -> Source | None:
        return None if self._build_any("test") is None else self._build("test", Source)

    @cached_property
    def method(self) -> Method:
        """The trained method, in eval mode.

        Raises:
            CheckpointError: the run has no sound checkpoint.
        """
        method = self._build("method", Method)
        if checkpoint.load(self.folder.checkpoints, method) is None:
            raise ConfigError(f"{self.path} has no checkpoint yet: train it first")
        return method.eval()

    @property
    def encoder(self) -> Model:
        """The trained encoder, in eval mode: samples in [0, 1] in, features `(B, width)` out.

        Raises:
            ConfigError: the run gives none, but something else.
        """
        return encoder_of(self.method)

    @cached_property
    def untrained_method(self) -> Method:
        """The method as it was before training, in eval mode.

        Raises:
            CheckpointError: the weights that the run began with are damaged.
        """
        method = self._build("method", Method)
        if self._start is not None and checkpoint.load(self.folder.kept(BEGIN), method) is None:
            raise CheckpointError(f"{self.path} no longer holds what it began with: {self.folder.kept(BEGIN)} is gone")
        return method.eval()

    @property
    def _start(self) -> Tree:
        """The run whose weights this one began with; None where there is none."""
        return self.folder.described("start")

    @property
    def begins_with(self) -> str:
        """What the first weights of the run's networks are, where somebody had learnt them; "" where they are drawn."""
        if self._start is not None:
            return f"the weights of {self._start}"
        known = [module.begins_with for module in self.method.modules() if isinstance(module, Model)]
        return next(filter(None, known), "")

    @property
    def untrained(self) -> Model:
        """The encoder as it was before training, which learnt nothing or has published weights: the usual control."""
        return encoder_of(self.untrained_method)

    def sources(self, data: Data | None = None) -> tuple[Source, Source]:
        """Return (train, test): the run's own, or other data's; where only some samples have labels, those.

        Data at a path that have the content of the run's own are its own.

        Raises:
            DataError: no test samples; a table of labels that leaves one side without any.
        """
        if (data := self.others(data)) is not None:
            train, test = map(self._sized_to_judge, splits_like(self._like(data), data))
        else:
            learnt = self._build_any("labelled") is None or self._labels is not None
            train, own = self._build("source" if learnt else "labelled", Source), self._test()
            if own is None:
                return self._of_what_was_learnt(train)
            test = own
        if self._labels is not None:
            train, test = self._labelled_later(train, test, self._labels)
        return labelled(train), labelled(test)

    def _sized_to_judge(self, source: Source) -> Source:
        """Return samples as what is judged takes them; a warning tells what was bent to fit what was learnt."""
        judged = next((name for name in ("classifier", "encoder") if name in self.method.products()), None)
        network = None if judged is None else network_of(self.method, judged)
        sized, notes = self._sized(source, lambda some: network and embed(network, some))
        for what, how in dict.fromkeys((*source.notes, *notes)):
            warnings.warn(f"{source.name}: {what} {how}", stacklevel=4)
        return sized

    def _sized(self, source: Source, look: Callable[[Source], object]) -> tuple[Source, tuple[tuple[str, str], ...]]:
        """Return pictures of another size than was learnt from as a network takes them, and what is to be told of that.

        Those that come one at a time, each in its own size, are meant to.

        Args:
            source: any samples.
            look: asks the network about some of them; an error says that it does not take them.
        """
        wanted, given = self.shape, source.shape
        picture = source.kind == "picture" and len(wanted) == len(given) == 3 and source.at_once != 1
        if not picture or given[1:] == wanted[1:] or not len(source):
            return source, ()
        there, here = (" x ".join(map(str, shape[1:])) for shape in (given, wanted))
        with moved(self.device, self.method):
            try:
                look(Subset(source, [0]))
            except (RuntimeError, WithstandError):
                brought = as_shaped(source, (given[0], *wanted[1:]))
                look(Subset(brought, [0]))  # or it is not the size that is wrong
                return brought, ((f"pictures of {there}", f"brought to {here}, the only size that is taken"),)
        return source, ((f"pictures of {there}", f"taken as they are, where {here} was learnt from"),)

    def judged(self, data: Data | None = None) -> tuple[Source, Source]:
        """Return (train, test) as `sources` does, as the run's classifier is judged on them: see `numbered`."""
        train, test = self.sources(data)
        return self.numbered(train), self.numbered(test)

    def numbered(self, source: Source) -> Source:
        """Return samples whose labels are the numbers that their classes have in the run's own data, by their names.

        They stay as they are where the run trained no classifier, and a probe learns from the samples themselves.

        Raises:
            DataError: samples of a class that the run's classifier does not know.
        """
        return numbered_as(source, self.classes) if "classifier" in self.method.products() else source

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of what the run's labels number, in order; () where they have none.

        Raises:
            DataGone: only the run's data say it, and they are nowhere.
        """
        place = "source" if self.folder.described("labelled") is None else "labelled"
        try:
            return self._build(place, Source).classes
        except DataGone:
            if place == "labelled":  # the record tells of what was learnt from without labels
                raise
            facts = self.folder.record().get("data")
            known = facts.get("classes") if isinstance(facts, dict) else None
            return tuple(map(str, known)) if isinstance(known, list) else ()

    @property
    def kept_none(self) -> bool:
        """Whether every sample was learnt from, so that none can say what new ones would show."""
        return self._build_any("test") is None

    def _of_what_was_learnt(self, train: Source) -> tuple[Source, Source]:
        """Return (train, test) of a run that kept nothing: a fifth of what it learnt from, without labels, is judged.

        Raises:
            DataError: the run knows what is to be found out, as it learnt from it.
        """
        if self.method.taught_by:
            raise DataError(
                f"this run kept no test samples, and learnt from the {self.method.taught_by} of all: name data to "
                "evaluate on"
            )
        if self._labels is not None:
            parts, self._told = with_labels({"train": train}, self._labels, column=self._label_column)
            train = parts["train"]
        return holdout(labelled(train))

    def _labelled_later(self, train: Source, test: Source, labels: str | Path) -> tuple[Source, Source]:
        """Return the samples of both sides that a table names, with its labels."""
        sides = {"train": apart(train, test), "test": test}
        found, self._told = with_labels(sides, labels, column=self._label_column)
        for part, why in (("train", "to learn a probe from"), ("test", "kept to judge by")):
            if (y := found[part].labels) is not None and not bool((y >= 0).any()):
                raise DataError(f"{labels} has no label for any of the {len(y):,} samples that are {why}")
        return found["train"], found["test"]

    def _moved(self) -> AbstractContextManager[None]:
        """Hold the method, and the untrained one, on the run's device."""
        return moved(self.device, self.method, self.untrained_method)

    def classifier(self, data: Data | None = None) -> nn.Module:
        """Return what predicts: the network a labelled method trained, else the encoder with a linear probe on top.

        Pictures in [0, 1] in, logits out.

        Raises:
            DataError: a probe is needed, and the data have no labels.
        """
        if "classifier" in self.method.products():
            return network_of(self.method, "classifier").eval()
        with moved(self.device, self.method):
            network = probed(self.encoder, self.sources(data)[0])
        return network.cpu()

    def victim(self, data: Data | None = None) -> tuple[Victim, Source]:
        """Return what is attacked, and the test samples: with labels a classifier, without them the encoder."""
        train, test = self.judged(data)
        attacked = self.encoder if train.labels is None else self.classifier(data)
        return Victim(attacked, low=test.low, high=test.high, changeable=test.changeable, levels=test.levels), test

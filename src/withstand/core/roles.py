"""The seven roles. Everything configurable in this package is a part that plays one of them.

| role | in one line |
|---|---|
| `Source` | indices in, a batch out |
| `View` | a batch in, an altered batch out, by per-sample draws |
| `Model` | samples in, features of `width` out |
| `Method` | a batch in, a loss out; everything that is trained |
| `Attack` | a victim and inputs in, worse inputs out |
| `Defense` | inputs in, guarded predictions out |
| `Evaluator` | something that embeds or predicts in, a finding out |

They stand in one file, longer than others, for each is written in terms of the rest.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, Union, overload

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, nearest
from withstand.core.findings.finding import Finding, Table
from withstand.core.outputs import Maker, Seen
from withstand.core.part import Part
from withstand.core.random import Draws
from withstand.core.victims.changeable import Changeable
from withstand.core.victims.victim import Outputs, Victim

Indices: TypeAlias = Tensor | Sequence[int]
Terms: TypeAlias = dict[str, Tensor]
"""What a method's step gives: `"loss"` (to descend), other 0-d tensors (to log), and optionally
`"embeddings"` `(V, B, D)`, detached, which the collapse gauges read."""


class Source(Part):
    """N samples that can be had in any order, labelled or not.

    Attributes:
        name: what people call these data.
        origin: where they were read from, in words.
        skipped: (what, reason) of each file, column or set of rows that was left out because it could not be used.
        notes: (what, how) of what had to be bent to fit what was learnt, as categories that training did not have.
        account: what was made of the data, line by line, which training says before it begins.
        at_once: how many samples are best embedded at once, as the nodes of one graph; None where any number is.
        names: what each sample is called where it has a name, as a picture's file has; else empty, and samples are
            known by their place.
        kind: what one sample is, in one word: "picture", "row", "node", "graph", "window", "flow",
            "slice". Reports and messages call samples so, and draw pictures and slices; "sample" where nobody knows.
        low: the smallest number that a sample may hold, bytes read as 0 to 1: what an attacker may give; minus infinity
            where there is no end, as of embeddings.
        high: the largest.
        levels: how radii are told of these samples: 255 for k/255, as of pictures, 100 for percent of an entry's range.
    """

    kind: str = "sample"
    low: float = 0.0
    high: float = 1.0
    levels: int = 255
    name: str = "data"
    origin: str = "given in memory"
    skipped: tuple[tuple[str, str], ...] = ()
    notes: Sequence[tuple[str, str]] = ()
    account: Sequence[str] = ()
    at_once: int | None = None
    names: Sequence[str] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, indices: Indices) -> Batch:
        """Return the batch of these samples, in this order, read at once; `batch.index` says which they are."""

    def for_views(self, indices: Indices) -> Batch:
        """Return the batch of these samples that training's views are made of.

        It is the same, but for `Batch.whole` where there is more of a sample than its `x` holds, as of a photo that
        `x` holds at less than its resolution. A source that changes samples gives its own alone.
        """
        return self[indices]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """One sample's shape; pictures are (C, H, W)."""

    def part_seen(self, rows: Sequence[int]) -> Sequence[Seen] | None:
        """Return where in each of these pictures, as its file has it, its `x` lies; None where `x` is all of it."""
        return None

    @property
    def labels(self) -> Tensor | None:
        """All labels, int64 `(N,)`, without reading the samples; None when there are none.

        -1 stands for a sample without one, as some nodes of a graph are: probes take labelled parts.
        """
        return None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of labels 0, 1, ...; empty when there are none."""
        return ()

    @property
    def targets(self) -> Tensor | None:
        """All numbers to predict, float64 `(N,)`, where what is known of a sample is no class; None without."""
        return None

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        """What is known of each sample beside its label, `(N,)` each, by name: a user, a domain, a group, a volume.

        Batches do not carry them: take the rows of `batch.index`.
        """
        return {}

    @property
    def together(self) -> Tensor | None:
        """Which whole each sample is a part of, as a slice of a volume, int64 `(N,)`; None where samples stand alone.

        What is held out for tests are wholes: of one that is partly learnt from, the rest would be known already.
        """
        return None

    @property
    def structures(self) -> tuple[str, ...]:
        """What the values 0, 1, ... of the masks in `extras["mask"]` are called, the background first; () without."""
        return ()

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the groups that an attribute numbers from 0, for those attributes that do, say of domains."""
        return {}

    @property
    def sizes(self) -> Tensor | None:
        """How long each sample is, int64 `(N,)`, where lengths differ, so that batches are made of alike; else None."""
        return None

    @property
    def fields(self) -> Mapping[str, tuple[int, ...]]:
        """Named groups of a sample's entries along its first axis, as a table's columns; empty without names."""
        return {}

    @property
    def changeable(self) -> Tensor | Changeable | None:
        """Where an attacker may change a sample, bool of a sample's shape, or by how much too; None for everywhere."""
        return None

    def like(self, data: Any, split: str = "all") -> "Source | None":
        """Return other data read as these were, so that what learnt from these reads the same of those.

        Args:
            data: whatever names or holds them, a source too.
            split: "train" or "test", or "all" for every sample there is.

        Returns:
            None where these were read as anything of their kind is, as pictures are, and where other data have no such
            part: then a share is held out.

        Raises:
            DataError: data that cannot be read so.
        """
        return None

    def called_by(self, column: str) -> "Source":
        """Return the same samples with names, the values of a column that identifies them.

        Raises:
            ConfigError: samples without columns, or none of that name.
        """
        raise ConfigError(f"id names a column of a table, and these data hold {self.kind}s: leave it out")

    def in_units(self, x: Tensor) -> Mapping[str, Sequence[str]] | None:
        """Return samples `(B, ...)` as the words and numbers that they stand for, by column; None without columns."""
        return None

    def radius_in_units(self, eps: float) -> Table | None:
        """Return what a Linf radius is of each column, in its units and beside its spread; None without columns."""
        return None

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short digest that changes when the data do; a run is tied to it."""


class View(Part):
    """A batched change of samples, drawn for each sample on its own."""

    @abstractmethod
    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        """Return the changed batch. Draws come from `draws` alone; the batch given is not altered."""

    def example_batch(self) -> Batch:
        """Return a few small samples that an example of this view changes: what tests are made on.

        They are seven pictures that are not square, unless a view changes others.
        """
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (7, 3, 20, 24), dtype=torch.uint8, generator=generator)
        return Batch(x, torch.arange(40, 47), torch.arange(7))


class Model(Part, nn.Module):
    """A network from samples to features `(B, width)`.

    Attributes:
        width: of the features.
        stages: names of the submodules that give the maps of its stages, in their order, as residual networks have
            them; empty where it says of none.
        begins_with: what its first weights are, where somebody learnt them: "published weights"; "" where they are
            drawn.
    """

    width: int
    begins_with: str = ""
    stages: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...


Product: TypeAlias = Union[nn.Module, "Attack", Source]
"""What a trained method can give."""

PRODUCTS = (
    "encoder", "classifier", "generator", "segmenter", "keypoints", "attack", "purifier", "condensed", "matcher",
    "language model", "captioner", "copies",
)  # fmt: skip
"""The names of products. An encoder is a `Model`, a classifier gives logits for inputs in [0, 1], and copies are
several classifiers that say the same, to be handed out."""


class Trainer(Protocol):
    """What the engine offers to a method that runs its own update."""

    def terms(self, batch: Batch, objective: Callable[[Batch], Terms] | None = None) -> Terms:
        """Run an objective, the method's `step` if None, under the run's precision and process group.

        Its `"loss"` must be finite. Another objective than `step` is for methods with several groups.
        """
        ...

    def descend(self, loss: Tensor, group: str = "main", *, retain: bool = False) -> None:
        """Back-propagate to one group of parameters alone, clip, and step its optimizer.

        Args:
            loss: what to lower.
            group: which of `Method.groups`.
            retain: keep the graph, for another group's loss that shares it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch that is about to begin.

    Attributes:
        number: counted from 0.
        seed: of the run.
        pass_over: gives a function of every sample, without views, in index order.
    """

    number: int
    seed: int
    pass_over: Callable[[Callable[[Tensor], Tensor]], Tensor]


class Method(Part, nn.Module):
    """A training objective with all its state in parameters and buffers, so that a checkpoint holds all of it.

    It keeps no seed and counts no steps: a batch says where the run is, and `Batch.draws` draw for it.

    Attributes:
        encoder: what is trained to embed. A method that trains none gives other `products`.
        fewest: samples that a step needs at least: 2 where it compares them with one another or normalises over them.
        share_unit: what each process's share of a batch must be a multiple of, where samples of one process belong
            together, as the nodes of a graph do.
        taught_by: what people said of the samples that a step learns from, in words: "labels", "masks", "captions"; ""
            where it learns from samples alone. Reports say it.
    """

    encoder: Model
    fewest: ClassVar[int] = 2
    share_unit: int = 1
    taught_by: str = ""

    @abstractmethod
    def step(self, batch: Batch) -> Terms:
        """Return the loss, and what else is worth logging, for a batch with views."""

    def example_batch(self, rows: range = range(8)) -> Batch:
        """Return some of eight small samples as `step` reads them, the same in any company: what tests are made on.

        They are pictures with labels 0 to 3 and two views that have something in common, unless a method reads others.
        """
        generator = torch.Generator().manual_seed(0)
        x, one, two = (torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=generator) for _ in range(3))
        index = torch.arange(8)
        whole = (x, index, index % 4, one, (one // 4 + two // 4 * 3).to(torch.uint8))
        x, index, y, *views = (each[list(rows)] for each in whole)
        return Batch(x, index, y, views=tuple(views))

    def forward(self, batch: Batch) -> Terms:
        """Run `step`; this name is what process groups and precision wrap."""
        return self.step(batch)

    def products(self) -> dict[str, Product]:
        """Return what a run gives, by names out of `PRODUCTS`: most methods give their encoder alone."""
        return {"encoder": self.encoder}

    def product(self, name: str) -> Product:
        """Return one of `products`.

        Raises:
            ConfigError: this method gives none of that name.
        """
        given = self.products()
        if name not in given:
            why = nearest(name, given) if name not in PRODUCTS else f"it gives {', '.join(given)}"
            raise ConfigError(f"{type(self).__name__} gives no {name}: {why}")
        return given[name]

    def maker(self) -> Maker | None:
        """Return what makes outputs of samples, as `withstand apply` writes them; None where a product does.

        A generator, purifier, segmenter, classifier and keypoints are applied as they are: only a method that makes
        something else, or has settings for it, says so here. It is called in eval mode and without gradients.
        """
        return None

    def embed(self, x: Tensor) -> Tensor:
        """Return the representation that users take away, `(B, width)`."""
        found: Tensor = self.encoder(x)
        return found

    def projector(self) -> nn.Module | None:
        """Return what makes of the encoder's features `(B, width)` what the loss reads; None where nothing does.

        It is the module `head`, where a method has one, and is thrown away after training.
        """
        return dict(self.named_children()).get("head")

    def sample_state(self) -> dict[str, Tensor]:
        """Return what is kept of every training sample and worth a look, `(N,)` in their order, by name in words."""
        return {}

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by optimizer; a parameter is in one group."""
        return {"main": [parameter for parameter in self.parameters() if parameter.requires_grad]}

    def update(self, batch: Batch, trainer: Trainer) -> Terms:
        """Do one step; adversarial and bilevel methods override this. A group may sit out a step."""
        terms = trainer.terms(batch)
        trainer.descend(terms["loss"])
        return terms

    def accept(self, source: Source, batch: int) -> None:
        """Refuse what cannot be learnt from, before anything runs.

        Args:
            source: what is to be learnt from.
            batch: how many samples a step takes, over all processes.

        Raises:
            ConfigError: a setting that does not fit, with one that does.
            DataError: data that lack what is needed, as labels or attributes.
        """

    def inherit(self, earlier: "Method") -> None:
        """Take over what the method of the run's earlier stage learnt; called before the first step.

        Raises:
            ConfigError: this method builds on nothing, as most do.
        """
        raise ConfigError(f"{type(self).__name__} starts from new weights: it takes no earlier stage (first=)")

    def before_run(self, steps: int) -> None:
        """Learn how many steps the whole run has, for schedules of the method's own; called at a resume too."""

    def before_epoch(self, epoch: Epoch) -> None:
        """Prepare an epoch; not called again when a run resumes inside it, so keep the outcome in buffers."""

    def order(self, order: Tensor, batch: int) -> Tensor:
        """Return which samples an epoch's batches hold, one batch after another: at least the whole ones of `order`.

        Called at a resume inside an epoch too: let the outcome hang on `order`, a random one, and on buffers alone.
        """
        return order

    def after_step(self, step: int) -> None:
        """Follow a step: teachers, queues. `step` counts batches from 1; `Plan.accumulate` of them are one update."""


class Giver(Protocol):
    """What gives products, as every method does."""

    def product(self, name: str) -> Product:
        """Return one of them."""
        ...


Network = TypeVar("Network", bound=nn.Module)


@overload
def network_of(method: Giver, name: str) -> nn.Module: ...
@overload
def network_of(method: Giver, name: str, kind: type[Network]) -> Network: ...
def network_of(method: Giver, name: str, kind: type[nn.Module] = nn.Module) -> nn.Module:
    """Return one of a method's products that is a network.

    Args:
        method: what gives it.
        name: of the product.
        kind: of network that it has to be.

    Raises:
        ConfigError: it gives none of that name, or something else by it.
    """
    product = method.product(name)
    if not isinstance(product, kind):
        wanted = "network" if kind is nn.Module else kind.__name__
        raise ConfigError(f"the {name} that {type(method).__name__} gives is a {type(product).__name__}, no {wanted}")
    return product


def encoder_of(method: Giver) -> Model:
    """Return the encoder that a method gives.

    Raises:
        ConfigError: it gives none.
    """
    return network_of(method, "encoder", Model)


@dataclass(frozen=True, slots=True)
class Attacked:
    """What an attack found, one row a sample.

    Attributes:
        x: the attacked inputs, inside the ball and the range.
        success: whether the goal is met, recomputed on `x` as returned.
        loss: the objective's value on `x`.
        norm: the perturbation's size in the ball's norm.
        queries: forward passes spent on each sample.
    """

    x: Tensor
    success: Tensor
    loss: Tensor
    norm: Tensor
    queries: Tensor

    def cpu(self) -> "Attacked":
        """Return the same on the CPU."""
        return Attacked(self.x.cpu(), self.success.cpu(), self.loss.cpu(), self.norm.cpu(), self.queries.cpu())


class Attack(Part):
    """A frozen recipe for worse inputs."""

    @abstractmethod
    def __call__(
        self,
        victim: Victim,
        x: Tensor,
        y: Tensor | None = None,
        *,
        generator: Draws | torch.Generator | int | None = None,
    ) -> Attacked:
        """Attack inputs `x` `(N, ...)` in the victim's range.

        Args:
            victim: the model under attack.
            x: clean inputs.
            y: true labels, or the wanted ones when the ball is targeted; None stands for the victim's own
                clean output.
            generator: draws, a torch generator or a seed; the global generators are never used.
        """


Gradient: TypeAlias = Literal["exact", "straight-through"]
"""How an attacker differentiates through what a guard does to an input: as it is, or as if it did nothing (BPDA)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A defended prediction, one row a sample.

    Attributes:
        outputs: what the guarded victim says: a tensor `(N, ...)`, logits `(N, C)` of a classifier; or several by name.
        score: how clean the input looks, `(N,)`; higher is cleaner. None where the guard scores nothing.
        x_used: the input that the victim was given: the one that came, or what a purifier made of it.
        accepted: whether the prediction may be used, bool `(N,)`; None where the guard rejects nothing.
    """

    outputs: Outputs
    score: Tensor | None
    x_used: Tensor
    accepted: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """The only output, or the one called "logits".

        Raises:
            ConfigError: there are several, and none of that name.
        """
        if isinstance(self.outputs, Tensor):
            return self.outputs
        if "logits" not in self.outputs:
            raise ConfigError(f"the guarded victim gives no output 'logits', but {', '.join(self.outputs)}")
        return self.outputs["logits"]


class Defense(Part):
    """A guard round a victim at inference: it rejects inputs, cleans them, or adapts the victim to them.

    Attributes:
        victim: what is guarded; attacks that do not know the guard work on it.
    """

    victim: Victim

    @abstractmethod
    def __call__(self, x: Tensor) -> Outcome:
        """Return the guarded predictions for inputs in the victim's range, `(N, ...)`."""

    @abstractmethod
    def exposed(self, gradient: Gradient | None = None) -> Victim:
        """Return what an attacker meets who knows the guard, but not what it will draw.

        Its outputs can be differentiated: a dict of "logits" `(N, C)`; of "lead" `(N,)`, the score above the
        threshold, where inputs are accepted from 0 on; and of "appeal" `(N, C)`, a smooth stand-in for the score if the
        prediction were class c. A guard that rejects nothing gives what its victim gives.

        Args:
            gradient: how the attacker differentiates through what the guard does to an input; None for the way that the
                guard itself says is the right one. Where the guard hands inputs on as they come, all ways are one.
        """

    def example_inputs(self, count: int = 30) -> Tensor:
        """Return inputs that an example of this guard takes, in its victim's range: what tests are made on."""
        return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(2))


class Trial(NamedTuple):
    """What an evaluator's example is tried on.

    Attributes:
        subject: what it judges.
        source: samples.
        control: an untrained subject of the same kind; None where the evaluator has no use for one.
    """

    subject: Any
    source: Source
    control: Any = None


class Evaluator(Part):
    """A judge of something that embeds, predicts or defends.

    Attributes:
        product: which of a method's products it judges; "method" for the method itself, with all that it keeps.
    """

    product: ClassVar[str] = "encoder"

    def lacks(self, subject: Any, source: Source) -> str:
        """Return in words what it needs of the subject or of the data and does not find; "" where it can judge."""
        return ""

    def example_trial(self) -> Trial:
        """Return what its `example` judges: what tests are made on.

        Raises:
            ConfigError: this evaluator gives none.
        """
        raise ConfigError(f"{type(self).__name__} gives nothing to try it on: define example_trial")

    @abstractmethod
    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return what was found about a subject, with the protocol.

        Args:
            subject: what is judged; its type is each evaluator's own: a network, a method, a victim, a defense.
            source: samples: what a probe is fitted to, what an attack changes.
            test: samples that decide: what a probe is scored on, what is attacked in place of the source's.
            control: an untrained subject of the same kind, to compare with. Where an evaluator has no use for `test` or
                `control`, it says so.
        """

"""How often pictures find their other view by matching graphs, with edges and without, on the same affinities."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Check, Finding, Measure, Table
from withstand.core.findings.pictures import drawn
from withstand.core.part import describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source, Trial, View
from withstand.core.victims.victim import Victim
from withstand.evaluation.small import small_pictures
from withstand.models.matching.assignment import Affinities, match
from withstand.views.presets import simclr_small

_ORDERS = ("second", "first")


@runtime_checkable
class Matcher(Protocol):
    """A method that matches the graphs of two views.

    Attributes:
        graph_size: pictures of a graph.
        noise: scale of the noise that it trains with.
    """

    graph_size: int
    noise: float

    def affinities(self, batch: Batch) -> Affinities:
        """Return how well nodes and edges fit."""
        ...

    def with_noise(self, affinities: Affinities, draws: Draws, scale: float) -> Affinities:
        """Return affinities with noise."""
        ...


@dataclass(frozen=True)
class Matched(Evaluator):
    """The share of pictures that are matched to themselves, and of graphs that are matched whole.

    With noise, both orders are given the same noisy affinities of nodes; those of edges stay as they are. Matchings of
    first order are the best there are, those of second order the best that were found.

    Args:
        view: makes the two views.
        graphs: most graphs that are matched, of test pictures drawn by (seed, index).
        noise: its scale; None for the method's own.
        seed: of the choice of pictures, views and noise.
    """

    view: View
    graphs: int = 40
    noise: float | None = None
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if self.graphs < 1:
            raise ConfigError(f"graphs must be at least 1, not {self.graphs!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(simclr_small(8), graphs=3)

    def example_trial(self) -> Trial:
        from withstand.methods.contrastive.lvm_med import GraphMatching

        return Trial(GraphMatching.example(), small_pictures(), GraphMatching.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method matches nothing, or that there is not one whole graph."""
        if not isinstance(subject, Matcher):
            return f"{type(subject).__name__} matches no graphs"
        few = len(source) < subject.graph_size
        return f"a graph takes {subject.graph_size} samples, and there are {len(source)}" if few else ""

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "matched".

        Args:
            subject: a method that is a `Matcher`.
            source: pictures.
            test: pictures that are matched in place of the source's.
            control: the method untrained.

        Raises:
            ConfigError: the subject matches nothing.
            DataError: there is not one whole graph.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (DataError if isinstance(subject, Matcher) else ConfigError)(lacking)
        size = subject.graph_size
        count = min(self.graphs, len(judged) // size)
        rows = permutation(len(judged), self.seed, "matched")[: count * size]
        noise = subject.noise if self.noise is None else self.noise
        found, pictures = self._found(subject, judged, rows, noise)
        beside = {} if control is None else self._found(control, judged, rows, noise)[0]
        figures = {
            name: replace(measure, control=beside.get(name)) if name in beside else measure
            for name, measure in found.items()
        }
        shown, right = pictures
        return Finding(
            name="matched",
            figures=figures,
            headline=_title("second", 0.0),
            tables={"pictures": Table(("matched to itself",), tuple((one,) for one in right))} if shown else {},
            checks=(
                Check(
                    "matchings of second order are not proven best",
                    None,
                    "ascent from several starts; the objective may have higher matchings",
                ),
            ),
            protocol={
                "evaluator": describe(self),
                "graphs": count,
                "noise": noise,
                "samples": len(rows),
                "samples given": len(judged),
            },
            pictures=shown,
        )

    def _found(
        self, method: Any, source: Source, rows: Tensor, noise: float
    ) -> tuple[dict[str, Measure], tuple[dict[str, npt.NDArray[np.uint8]], list[bool]]]:
        scales = (0.0, noise) if noise else (0.0,)
        right: dict[tuple[str, float], list[Tensor]] = {}
        pictures: dict[str, npt.NDArray[np.uint8]] = {}
        shown: list[bool] = []
        with Victim(method).held(), torch.no_grad():
            for some in torch.split(rows, method.graph_size):
                batch = source[some]
                batch = self.view(batch.with_x(unit_range(batch.x)), Draws(derive(self.seed, "views"), batch.index))
                whole = method.affinities(batch.to(device_of_network(method)))
                for scale in scales:
                    draws = Draws(derive(self.seed, "noise"), batch.index)
                    noisy = replace(whole, node=method.with_noise(whole.first_order(), draws, scale).node)
                    for order, given in zip(_ORDERS, (noisy, noisy.first_order()), strict=True):
                        answer = match(given)[0].cpu()
                        right.setdefault((order, scale), []).append(answer == torch.arange(len(answer)))
                        if not pictures and drawn(source) and order == "second":
                            shown = (answer == torch.arange(len(answer))).tolist()
                            pictures = _shown(batch, answer, whole.node[0].cpu())
        figures: dict[str, Measure] = {}
        for scale in scales:
            for order in _ORDERS:
                hits = torch.stack(right[order, scale])
                figures[_title(order, scale)] = Measure(
                    float(hits.double().mean()), "share", "higher", of=hits.numel(), chance=1 / hits.shape[1]
                )
                figures[f"whole graphs, {order} order{_under(scale)}"] = Measure(
                    float(hits.all(1).double().mean()), "share", "higher", of=len(hits)
                )
        return figures, (pictures, shown)


def _title(order: str, scale: float) -> str:
    return f"matched to itself, {order} order{_under(scale)}"


def _under(scale: float) -> str:
    return ", under noise" if scale else ""


def _shown(batch: Batch, answer: Tensor, node: Tensor) -> dict[str, npt.NDArray[np.uint8]]:
    """Return one graph's views, the second in the order of the matching, and the affinities of its nodes."""
    one, other = (_bytes(view) for view in (batch.views[0], batch.views[1][answer]))
    scaled = (node - node.min()) / (node.max() - node.min()).clamp_min(1e-12)
    return {"first view": one, "matched second view": other, "affinities of nodes": _bytes(scaled[None, None])}


def _bytes(x: Tensor) -> npt.NDArray[np.uint8]:
    rounded = (x.float().clamp(0, 1) * 255).round().to(torch.uint8)
    pixels: npt.NDArray[np.uint8] = rounded.permute(0, 2, 3, 1).cpu().numpy()
    return pixels

"""What the section on learning shows: curves, gauges, other scalars, the map."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from withstand.core.errors import DataError
from withstand.report import wording
from withstand.report.charts import Chart, metric
from withstand.report.folder import StoredRun, text
from withstand.report.scatter import embedding_map

_CURVES = {"loss": "Loss", "lr": "Learning rate"}
_GAUGES = {
    "std": (
        "Spread",
        "Do different samples get different codes? 1 is an even spread over all dimensions, near 0 is collapse: "
        "every sample looks the same.",
    ),
    "effective_rank": (
        "Effective rank",
        "How many independent directions the codes use. Near 1 is collapse onto a line; it should not keep falling.",
    ),
    "alignment": (
        "Alignment",
        "How far apart two views of the same sample lie. Lower is closer; near 0 together with a low spread is "
        "collapse.",
    ),
    "uniformity": (
        "Uniformity",
        "How evenly the codes cover the sphere. More negative is more even; 0 means that all lie in one place.",
    ),
}
_BOOKKEEPING = ("step", "epoch", "seconds", "rate")


@dataclass(frozen=True)
class Learnt:
    """Charts of what was logged, and what stayed constant, in words."""

    curves: list[Chart]
    gauges: list[Chart]
    scalars: list[Chart]
    constants: list[str]
    map: Chart | None


def learnt(run: StoredRun) -> Learnt:
    """Return what a run logged, and the map of its codes.

    Raises:
        DataError: the finding "map" holds no map.
    """
    rows, data = run.metrics, text(run.record, "data", "name")
    known = (*_CURVES, *_GAUGES, *_BOOKKEEPING)
    rates = [row["lr"] for row in rows if "lr" in row]
    steady = ["lr"] if len(rates) > 1 and len(set(rates)) == 1 else []
    others = list({key: None for row in rows for key in row if key not in known})
    values = {name: [row[name] for row in rows if name in row] for name in others}
    constant = {name: logged[0] for name, logged in values.items() if len(set(logged)) == 1}
    return Learnt(
        curves=_drawn(data, (metric(rows, name, title) for name, title in _CURVES.items() if name not in steady)),
        gauges=_drawn(
            data, (metric(rows, name, title, note, from_zero=True) for name, (title, note) in _GAUGES.items())
        ),
        scalars=_drawn(data, (metric(rows, name, wording.title(name)) for name in others if name not in constant)),
        constants=[
            *(f"{_CURVES[name].lower()} {rates[0]:g}" for name in steady),
            *(f"{name} {wording.plain(value)}" for name, value in constant.items()),
        ],
        map=_map(run, data),
    )


def _drawn(data: str, charts: Iterable[Chart | None]) -> list[Chart]:
    return [replace(chart, data=data) for chart in charts if chart is not None]


def _map(run: StoredRun, data: str) -> Chart | None:
    if "map" not in run.findings:
        return None
    for table in run.findings["map"].tables.values():
        if {"x", "y"} <= set(table.columns):
            return embedding_map(table, data)
    raise DataError(f"{run.path / 'findings' / 'map.json'} holds no table with the columns x and y")

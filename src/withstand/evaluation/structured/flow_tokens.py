"""How often a network tells hidden header fields, beside the value that each field has most often.

Sizes: `M` hidden tokens.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.flows.container import CLS, PAD, STRIDE, FlowBatch
from withstand.data.flows.source import Flows, flows_of, lacks_flows
from withstand.data.flows.table import PROTOCOLS, names_of
from withstand.evaluation.features import place_of
from withstand.evaluation.statistics.intervals import Share, columns, shares


@runtime_checkable
class TellsTokens(Protocol):
    """A method that tells hidden tokens."""

    def tell(self, flows: FlowBatch, hidden: Tensor) -> Tensor:
        """Return the ids of the tokens that `hidden`, bool `(B, N, L)`, names, `(M,)` in their order; -1 for none."""
        ...


@dataclass(frozen=True)
class MaskedTokens(Evaluator):
    """Hide a share of the tokens of test flows, every one by the mask, and ask the network what they were.

    A value outside the network's vocabulary counts as not told, whatever it says. Beside it stands the unigram: for
    each protocol and field of a header, the value that is most frequent in training flows.

    Args:
        rate: share of the tokens that are hidden.
        limit: most training flows that the unigram counts, and most test flows.
        seed: of both choices and of what is hidden.
    """

    rate: float = 0.3
    limit: int = 4_000
    seed: int = 0

    product = "method"

    def example_trial(self) -> Trial:
        from withstand.methods.masked.netfound import NetFound

        return Trial(NetFound.example(), Flows.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method tells no tokens, or that the samples are no flows."""
        if not isinstance(subject, TellsTokens) or not isinstance(subject, nn.Module):
            return f"{type(subject).__name__} tells no hidden tokens"
        return lacks_flows(source)

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: object = None) -> Finding:
        """Return the finding "masked tokens".

        Args:
            subject: a trained method that tells tokens, as `NetFound`.
            source: what the unigram is counted on.
            test: flows whose tokens are hidden; the source's own where there are none, which the protocol says.
            control: not used: the unigram is the control.

        Raises:
            DataError: another method, or other samples.
        """
        if lacking := self.lacks(subject, source):
            raise DataError(lacking)
        judged = source if test is None else test
        whole, _ = flows_of(source)
        most = _most_frequent(source, self._some(source), whole.payload)
        right: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        was = subject.training
        subject.eval()
        try:
            for rows in torch.split(self._some(judged), 256):
                self._batch(subject, judged[rows], whole.payload, most, right)
        finally:
            subject.train(was)
        if not right:
            raise DataError("no token of these flows was hidden: raise the rate, or give more flows")
        both = {key: torch.cat(values, 1) for key, values in right.items()}
        every = torch.cat(list(both.values()), 1)
        told, guessed = Share.of(every[0]), Share.of(every[1])
        rows_of: list[tuple[Cell, ...]] = [
            (PROTOCOLS[protocol], names_of(protocol, whole.payload)[field], values.shape[1],
             *Share.of(values[0]).cells, Share.of(values[1]).value)
            for (protocol, field), values in sorted(both.items())
        ]  # fmt: skip
        name, control_name = "accuracy", "most frequent value"
        return Finding(
            name="masked tokens",
            figures={
                "accuracy of hidden tokens": told.measure(),
                "most frequent value of each field": guessed.measure(),
                "accuracy beyond the most frequent value": Measure(told.value - guessed.value, "share", "higher"),
            },
            headline="accuracy of hidden tokens",
            tables={
                "fields": Table(
                    ("protocol", "field", "hidden", *columns(name), control_name),
                    tuple(rows_of),
                    units=shares(name, control_name),
                    controls={control_name: name},
                )
            },
            protocol={
                "judge": describe(self),
                "flows": min(len(judged), self.limit),
                "judged on": "training flows" if test is None else "test flows",
                "unigram": f"of {min(len(source), self.limit)} training flows, by protocol and field",
            },
        )

    def _some(self, source: Source) -> Tensor:
        return permutation(len(source), self.seed, "masked tokens")[: self.limit].sort().values

    @torch.no_grad()
    def _batch(
        self,
        method: Any,
        batch: Batch,
        payload: bool,
        most: dict[tuple[int, int], int],
        right: dict[tuple[int, int], list[Tensor]],
    ) -> None:
        """Add to `right`, by protocol and field, whether network and unigram told each hidden token, bool `(2, M)`."""
        flows = FlowBatch.of(batch.x)
        clean = flows.tokens
        bursts, length = clean.shape[1:]
        places = torch.arange(bursts)[:, None] * STRIDE + torch.arange(length)
        draws = Draws(derive(self.seed, "hidden tokens"), batch.index)
        hidden = (clean != PAD) & (clean != CLS) & (draws.uniform_at(places.expand(clean.shape)) < self.rate)
        there = place_of(method)
        said = method.tell(flows.to(there), hidden.to(there)).cpu()
        fields = _fields(flows, payload)[hidden]
        protocol = flows.protocol[:, None, None].expand_as(clean)[hidden]
        values = clean[hidden]
        for kind in torch.unique(protocol).tolist():
            for field in torch.unique(fields[protocol == kind]).tolist():
                here = (protocol == kind) & (fields == field)
                guessed = values[here] == most.get((kind, field), -1)
                right[kind, field].append(torch.stack([said[here] == values[here], guessed]))


def _fields(flows: FlowBatch, payload: bool) -> Tensor:
    """Return which field each token stands for, int64 `(B, N, L)`; what is behind a burst has one too."""
    wide = torch.tensor([len(names_of(protocol, payload)) for protocol in flows.protocol.tolist()])
    steps = torch.arange(flows.tokens.shape[2]) - 1
    return (steps % wide[:, None])[:, None].expand(flows.tokens.shape)


def _most_frequent(source: Source, rows: Tensor, payload: bool) -> dict[tuple[int, int], int]:
    """Return the most frequent token of each protocol and field."""
    counts: dict[tuple[int, int], Tensor] = {}
    for some in torch.split(rows, 1024):
        flows = FlowBatch.of(source[some].x)
        own = (flows.tokens != PAD) & (flows.tokens != CLS)
        fields, values = _fields(flows, payload)[own], flows.tokens[own]
        protocol = flows.protocol[:, None, None].expand_as(flows.tokens)[own]
        for kind in torch.unique(protocol).tolist():
            for field in torch.unique(fields[protocol == kind]).tolist():
                found = torch.bincount(values[(protocol == kind) & (fields == field)], minlength=CLS)
                counts[kind, field] = counts.get((kind, field), torch.zeros(CLS, dtype=torch.int64)) + found
    return {key: int(value.argmax()) for key, value in counts.items()}

"""What recipes that learn from packet captures share: the flows, the network, the plan, the judges."""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import torch

from withstand.core.errors import ConfigError, nearest
from withstand.core.options import Options
from withstand.core.roles import Evaluator, Source
from withstand.data.flows.source import Flows, frequent_tokens, is_flows, parted
from withstand.engine.experiment import Plan
from withstand.engine.optimizers import AdamW
from withstand.engine.schedules import WSD
from withstand.evaluation.structured.flow_audit import FlowAudit, FlowDrift
from withstand.evaluation.structured.flow_facts import FlowFacts
from withstand.evaluation.structured.flow_fine_tuning import FineTuned
from withstand.evaluation.structured.flow_tokens import MaskedTokens
from withstand.models.tokens.flow_encoder import FlowEncoder

Size = Literal["tiny", "small", "base", "large"]
SIZES: Final[dict[str, tuple[int, int, int, int]]] = {
    "tiny": (64, 2, 2, 96),
    "small": (512, 4, 4, 768),
    "base": (768, 12, 12, 1152),
    "large": (1024, 24, 16, 2624),
}
"""Width, layers, heads and the perceptrons' inner width; all but the first are published."""


@dataclass(frozen=True, kw_only=True)
class FlowSetup(Options):
    """What every recipe on packet captures can be told: flows, network, budget.

    Args:
        data: a pcap or pcapng file, also in gzip; a folder or a zip archive of them; or ndpi, a named set.
        labels: auto (the folders that captures lie in), file (the captures), none, or a table that names flows.
        column: of the labels in that table.
        internal: networks whose hosts are the forward side, as 10.0.0.0/8; else who sends first is.
        max_bursts: bursts of a flow that are kept.
        max_packets: packets of a burst that are kept.
        gap_ms: milliseconds between packets of one direction after which a new burst begins.
        payload: the first 12 bytes of payload are tokens too.
        ipv6: read IPv6 too, which the paper does not.
        size: of the network; tiny (64 wide, 2 layers), or as published: small, base, large.
        vocabulary: so many of the most frequent token ids have a row of their own; 0 for the published table of all.
        dropout: in every layer.
        epochs: passes over the flows.
        batch: flows a step, at most all of them.
        learning_rate: of AdamW; published are 5e-5 and less, for 2,560 flows a step.
        weight_decay: of AdamW, on matrices.
        seed: of weights, order and what is hidden.
        processes: how many train together.
    """

    data: Any = "ndpi"
    labels: str = "auto"
    column: str | None = None
    internal: tuple[str, ...] = ()
    max_bursts: int = 12
    max_packets: int = 6
    gap_ms: float = 10.0
    payload: bool = False
    ipv6: bool = False
    size: Size = "tiny"
    vocabulary: int = 4096
    dropout: float = 0.1
    epochs: int = 20
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    seed: int = 0
    processes: int = 1


def flow_parts(setup: FlowSetup) -> tuple[Source, Source]:
    """Return training and test flows, of different captures where there are two or more.

    Raises:
        ConfigError: settings of captures for flows that are read already.
    """
    if isinstance(setup.data, Source):
        plain = FlowSetup()
        names = ("labels", "column", "internal", "max_bursts", "max_packets", "gap_ms", "payload", "ipv6")
        told = [name for name in names if getattr(setup, name) != getattr(plain, name)]
        if told or not is_flows(setup.data):
            raise ConfigError(
                f"{', '.join(told)} belong to captures, not to a source"
                if told
                else f"{setup.data.name} holds {setup.data.kind}s, and no flows"
            )
        whole: Source = setup.data
    else:
        whole = Flows(
            setup.data,
            labels=setup.labels,
            column=setup.column,
            internal=setup.internal,
            max_bursts=setup.max_bursts,
            max_packets=setup.max_packets,
            gap_ms=setup.gap_ms,
            payload=setup.payload,
            ipv6=setup.ipv6,
        )
    return parted(whole, "train"), parted(whole, "test")


def flow_encoder(setup: FlowSetup, train: Source, *, metadata: bool = True, log_gaps: bool = False) -> FlowEncoder:
    """Return the network, its vocabulary that of the training flows.

    Raises:
        ConfigError: an unknown size, or a vocabulary below 0.
    """
    if setup.size not in get_args(Size):
        raise ConfigError(f"size {setup.size!r} is unknown: {nearest(str(setup.size), get_args(Size))}")
    if setup.vocabulary < 0:
        raise ConfigError(f"vocabulary must be at least 0, not {setup.vocabulary}")
    hidden, layers, heads, feedforward = SIZES[setup.size]
    return FlowEncoder(
        hidden,
        layers,
        heads,
        feedforward=feedforward,
        dropout=setup.dropout,
        vocabulary=frequent_tokens(train, setup.vocabulary) if setup.vocabulary else None,
        metadata=metadata,
        log_gaps=log_gaps,
    )


def flow_plan(setup: FlowSetup, flows: int) -> Plan:
    """Return the plan: AdamW, a rise, a plateau, and a fall at the end, gradients clipped to 0.5, as published."""
    return Plan(
        epochs=setup.epochs,
        batch=min(setup.batch, flows - flows % setup.processes),
        optimizer=AdamW(setup.learning_rate, setup.weight_decay),
        schedule=WSD(warmup=0.05 * setup.epochs, decay=0.2 * setup.epochs),
        clip=0.5,
        seed=setup.seed,
        processes=setup.processes,
    )


def flow_judges(train: Source) -> tuple[Evaluator, ...]:
    """Return what judges the network besides the usual probes."""
    classes = 0 if train.labels is None else len(torch.unique(train.labels[train.labels >= 0]))
    return (MaskedTokens(), FlowFacts(), *((FineTuned(),) if classes > 1 else ()))


def flow_audit(train: Source) -> FlowAudit:
    """Return the audit of flow classifiers where flows have labels, else of what features do."""
    return FlowDrift() if train.labels is None else FlowAudit()

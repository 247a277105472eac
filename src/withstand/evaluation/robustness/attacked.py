"""Samples of a source under one attack, with the clean ones beside what was found."""

import torch

from withstand.attacks.attack import InputAttack
from withstand.core.batch import Batch, as_structured
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Attacked, Source
from withstand.core.victims.victim import Victim
from withstand.data.graphs.container import Graphs
from withstand.evaluation.structured.graph_audit import attack_nodes


def attack_samples(
    attack: InputAttack, victim: Victim, source: Source, *, samples: int, labelled: bool, seed: int
) -> tuple[Attacked, Batch]:
    """Attack a source's first samples, and return what was found with the clean batch, both on the CPU.

    Of nodes of a graph, the own features are moved, all at once.

    Args:
        attack: what is run.
        victim: the model under attack, on its device.
        source: in the victim's range, or bytes.
        samples: how many, from the first on; all of a smaller source.
        labelled: whether predictions are moved from the labels; else outputs from the clean ones.
        seed: of random starts.

    Raises:
        ConfigError: no samples are asked for.
        DataError: samples or outputs that do not fit, or a victim that gives no gradient.
    """
    if samples < 1:
        raise ConfigError(f"samples must be at least 1, not {samples}")
    batch = source[torch.arange(min(samples, len(source)))]
    there = batch.to(device_of_network(victim.model))
    if isinstance(as_structured(there.x), Graphs):
        moved, own = attack_nodes(victim.model, there, attack, labelled=labelled, seed=seed)
        return moved.cpu(), own.to("cpu")
    if not labelled and victim.notes:
        raise DataError("the network gives one number a sample: that is no embedding whose angle can be measured")
    found = attack(victim, victim.ready(there.x), there.y if labelled else None, generator=seed)
    return found.cpu(), batch

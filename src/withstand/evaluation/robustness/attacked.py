"""Samples of a source under one attack, with the clean ones beside what was found."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.noise import Noise
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


CLEAN, NOISE, ATTACKED = "clean", "noise", "attacked"


@dataclass(frozen=True)
class Aimed:
    """Samples that were led towards another one, to an encoder, beside what they are without.

    Attributes:
        attacked: what was found; its `success` tells which are taken for the target.
        batch: the clean samples.
        target: the other one, as the encoder reads it, `(...)`.
        cosine: of each embedding to the target's, by "clean", "noise" (of the same size) and "attacked", `(N,)` each.
        taken: which are nearer to the target than to any of the clean samples but the target itself, likewise.
    """

    attacked: Attacked
    batch: Batch
    target: Tensor
    cosine: dict[str, Tensor]
    taken: dict[str, Tensor]


def aim_samples(
    attack: InputAttack, victim: Victim, source: Source, target: Tensor, *, samples: int, seed: int
) -> Aimed:
    """Lead a source's first samples towards another one, and return what was found, all on the CPU.

    Args:
        attack: a targeted one, on embeddings.
        victim: the encoder, on its device.
        source: in the victim's range, or bytes.
        target: one sample like them, `(...)`.
        samples: how many, from the first on; all of a smaller source.
        seed: of random starts, and of the noise beside.

    Raises:
        ConfigError: no samples are asked for.
        DataError: samples that are no tensor, or that do not fit.
    """
    if samples < 1:
        raise ConfigError(f"samples must be at least 1, not {samples}")
    batch = source[torch.arange(min(samples, len(source)))]
    if as_structured(batch.x) is not None:
        raise DataError(f"{type(batch.x).__name__} cannot be led towards another sample: they are no plain tensor")
    there = batch.to(device_of_network(victim.model))
    x, goal = victim.ready(there.x), victim.ready(target[None].to(there.x.device))
    if goal.shape[1:] != x.shape[1:]:
        raise DataError(f"the target is of shape {tuple(goal.shape[1:])}, and the samples of {tuple(x.shape[1:])}")
    wanted = _embedded(victim, goal).expand(len(x), -1)
    found = attack(victim, x, wanted, generator=seed)
    noisy = Noise(attack.ball, attack.objective)(victim, x, wanted, generator=seed).x
    embedded = {CLEAN: _embedded(victim, x), NOISE: _embedded(victim, noisy), ATTACKED: _embedded(victim, found.x)}
    cosine = {name: F.cosine_similarity(one.double(), wanted.double()).cpu() for name, one in embedded.items()}
    others = (x != goal).flatten(1).any(1)
    gallery = F.normalize(embedded[CLEAN][others].double())
    taken = {
        name: cosine[name] > (F.normalize(one.double()) @ gallery.T).cpu().amax(1) if len(gallery) else others.cpu()
        for name, one in embedded.items()
    }
    return Aimed(replace(found.cpu(), success=taken[ATTACKED]), batch, goal[0].cpu(), cosine, taken)


def _embedded(victim: Victim, x: Tensor) -> Tensor:
    with victim.held(), torch.no_grad():
        return torch.cat([victim.output(part.clone(), "embedding").flatten(1) for part in torch.split(x, 128)])

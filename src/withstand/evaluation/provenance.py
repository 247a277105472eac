"""What a finding says of where its figures come from: which samples of which data, and which weights."""

from hashlib import blake2b

from torch import Tensor

from withstand.attacks.autoattack.ensemble_state import fingerprint, victim_fingerprint
from withstand.core.part import Tree
from withstand.core.roles import Source
from withstand.core.victims.victim import Victim


def traced(victim: Victim, source: Source, rows: Tensor, x: Tensor, y: Tensor | None, *, asked: int) -> dict[str, Tree]:
    """Return a protocol's entries on the samples and the network, so that figures can be told apart later.

    Args:
        victim: what was evaluated.
        source: the data that were given.
        rows: which of them were used.
        x: the samples as the victim met them.
        y: their labels, where these were used.
        asked: how many samples were asked for.
    """
    return {
        "data": {
            "name": source.name,
            "origin": source.origin,
            "samples": len(source),
            "fingerprint": source.fingerprint(),
        },
        "samples": len(rows),
        "samples given": len(source),
        "samples asked for": asked,
        "source": source.fingerprint(),
        "split": blake2b(rows.numpy().tobytes(), digest_size=8).hexdigest(),
        "inputs": fingerprint(x),
        "labels": fingerprint(y),
        "weights": victim_fingerprint(victim),
        "outputs": list(victim.notes),
    }

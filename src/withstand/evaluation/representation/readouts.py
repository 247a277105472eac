"""Where a representation can be read: the features that users take away, and what the loss makes of them."""

import torch

from withstand.core.devices.device import device_of_network
from withstand.core.roles import Method
from withstand.core.victims.victim import Victim
from withstand.evaluation.features import Embedder, Features

FEATURES = "features"
PROJECTIONS = "projections"


def readouts(subject: Embedder, features: Features, *, batch: int = 512) -> dict[str, Features]:
    """Return a subject's features, and for a method with a projection head their projections.

    Args:
        subject: what embedded.
        features: its features.
        batch: samples in one pass of the head, which runs in eval mode and without gradients.
    """
    found = {FEATURES: features}
    head = subject.projector() if isinstance(subject, Method) else None
    if head is not None:
        device = device_of_network(head)
        blocks = [slice(start, start + batch) for start in range(0, len(features), batch)]
        with Victim(head).held(), torch.no_grad():
            z = torch.cat([head(features.x[rows].to(device)).float().cpu() for rows in blocks])
        found[PROJECTIONS] = Features(z, features.y, features.index, features.classes)
    return found

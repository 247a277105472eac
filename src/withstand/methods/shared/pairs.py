"""What every method on two views needs."""

from importlib import import_module

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Terms


def view_pair(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the two views of a batch, each `(B, ...)`.

    Raises:
        DataError: there are not exactly two.
    """
    if len(batch.views) != 2:
        raise DataError(f"this method learns from two views of each sample, not {len(batch.views)}: use two_views")
    return batch.views[0], batch.views[1]


def example_of_pairs() -> Method:
    """Return the example of a method on two views, SimCLR's, for methods that wrap one.

    It is found by its path, for methods never import methods.
    """
    found: type[Method] = import_module("withstand.methods.contrastive.simclr").SimCLR
    return found.example()


def pair_terms(loss: Tensor, z1: Tensor, z2: Tensor) -> Terms:
    """Return a step's terms: the loss, the mean cosine of positive pairs `positive`, and the embeddings `(2, B, D)`."""
    embeddings = torch.stack([z1, z2]).detach()
    return {
        "loss": loss,
        "positive": cosine_similarity(embeddings[0].float(), embeddings[1].float()).mean(),
        "embeddings": embeddings,
    }


def require_positive(**settings: float) -> None:
    """Refuse settings that are not above 0.

    Raises:
        ConfigError: names the first of them.
    """
    for name, value in settings.items():
        if not value > 0:
            raise ConfigError(f"{name} must be above 0, not {value!r}")

"""Losses between pictures and the texts that belong to them.

CLIP: Learning Transferable Visual Models From Natural Language Supervision (Radford et al., 2021).
Several views of both, label smoothing, and each other's batch as prototypes: Improved baselines for vision-language
pre-training (Fini et al., 2023).

Sizes: B pairs on this process, N over all processes, V views of the pictures, T of the texts, D width. Embeddings come
unnormalised and are normalised here, once. Texts and pictures of all processes are candidates, with the gradients of
the global batch; values are means over this process's anchors.
"""

import torch
from torch import Tensor

from withstand.core.devices.distributed import first_row, gather, world_size
from withstand.core.errors import ConfigError, DataError
from withstand.losses.agreement.clustering import sinkhorn
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.temperature import Temperature, checked_temperature


@full_precision
def clip_loss(pictures: Tensor, texts: Tensor, temperature: Temperature = 0.07, *, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of finding a picture's text among all, and a text's picture, the mean of both, 0-d.

    The mean over every view of the pictures against every view of the texts, all of them in one product. With smoothing
    s each cross-entropy is (1 - s) times itself plus s times the mean of -log p over all candidates. Embeddings that
    are all alike give log N.

    Args:
        pictures: `(V, B, D)`, unnormalised.
        texts: of the same samples, `(T, B, D)`.
        temperature: tau, above 0.
        smoothing: s, at least 0 and below 1.

    Raises:
        DataError: shapes that do not fit.
    """
    _check(pictures, texts)
    if not 0 <= smoothing < 1:
        raise ConfigError(f"smoothing must lie in [0, 1), not {smoothing!r}")
    temperature = checked_temperature(temperature)
    pictures, texts = _unit(pictures), _unit(texts)
    across = _similarity(pictures, texts, temperature)
    found = _one_way(across, smoothing)
    back = across.permute(2, 3, 0, 1) if world_size() == 1 else _similarity(texts, pictures, temperature)
    return (found + _one_way(back, smoothing)) / 2


@full_precision
def swapped_batches(
    pictures: Tensor, texts: Tensor, temperature: Temperature = 0.1, *, epsilon: float = 0.05, iterations: int = 3
) -> Tensor:
    """Return SwALIP's loss, in which the batch of the other kind is the set of prototypes, 0-d.

    The cosines of picture view i with all texts' view j are assigned evenly to the texts (Sinkhorn, no gradient), and
    each assignment is told from the cosines of the two other views; the same from texts to pictures, and the mean over
    both directions and the four pairs of views.

    Args:
        pictures: two views, `(2, B, D)`, unnormalised.
        texts: two views, `(2, B, D)`.
        temperature: of the prediction, above 0; cosines are assigned without it.
        epsilon: of the assignment, above 0.
        iterations: of Sinkhorn's algorithm.

    Raises:
        DataError: shapes that do not fit, or not two views.
    """
    _check(pictures, texts)
    if len(pictures) != 2 or len(texts) != 2:
        raise DataError(f"views are swapped two by two, and there are {len(pictures)} and {len(texts)}")
    temperature = checked_temperature(temperature)
    one, other = _unit(pictures), _unit(texts)
    terms = []
    for anchors, candidates in ((one, other), (other, one)):
        cosines = _similarity(anchors, candidates, 1.0)
        logs = (cosines / temperature).log_softmax(3)
        for first in range(2):
            for second in range(2):
                wanted = sinkhorn(cosines[1 - first, :, 1 - second].detach(), epsilon, iterations)
                terms.append(-(wanted * logs[first, :, second]).sum(1).mean())
    return torch.stack(terms).mean()


def _unit(x: Tensor) -> Tensor:
    """Return vectors of length 1, `(V, B, D)`."""
    return unit_rows(x.flatten(0, 1)).view_as(x)


def _similarity(anchors: Tensor, candidates: Tensor, temperature: Temperature) -> Tensor:
    """Return inner products over temperature, of views, local anchors, views and all candidates, `(V, B, T, N)`."""
    every = gather(candidates.transpose(0, 1).contiguous()).transpose(0, 1)
    product = anchors.flatten(0, 1) @ every.flatten(0, 1).T / temperature
    return product.view(*anchors.shape[:2], *every.shape[:2])


def _one_way(similarity: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy over anchors and pairs of views of similarities `(V, B, T, N)`."""
    rows = torch.arange(similarity.shape[1], device=similarity.device)
    own = similarity[:, rows, :, rows + first_row(len(rows))]
    found = similarity.logsumexp(3).mean() - (1 - smoothing) * own.mean()
    return found - smoothing * similarity.mean() if smoothing else found


def _check(pictures: Tensor, texts: Tensor) -> None:
    if pictures.dim() != 3 or texts.dim() != 3 or pictures.shape[1:] != texts.shape[1:] or not pictures.numel():
        raise DataError(
            f"views of pictures (V, B, D) and of texts (T, B, D) are needed, not {(*pictures.shape,)} and "
            f"{(*texts.shape,)}"
        )

"""ItemSSL: two towers for people and items, and two half-hidden versions of an item that must find each other.

paper: Self-supervised Learning for Large-scale Item Recommendations (Yao, Yi, Cheng, Yu, Chen, Menon, Hong, Chi, Tjoa,
    Kang, Ettinger; CIKM 2021)
needs: items of a catalogue, interactions beside            modalities: interactions
sizes: B items and as many interactions on this process, k fields of an item, S their slots, D width
differences: there is no official code. LibRecommender hides the fields that tell most of a drawn one, but not that one;
    here it is hidden with them, as the paper has it, and its two masks of random fields are disjoint. The mask of a
    field is a learnt vector that begins at 0. An item that is another pair's too is no negative. The pass is over the
    catalogue, so that items are drawn from it without repetition, and the interactions come beside.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.outputs import Output
from withstand.core.roles import Method, Source, Terms
from withstand.data.interactions.source import Catalogue, Pairs, Users
from withstand.losses.contrast.explicit import masked_info_nce
from withstand.losses.precision import unit_rows
from withstand.methods.shared.pairs import require_positive
from withstand.models.items.tower import FieldTower

Augmentation: TypeAlias = Literal["cfm", "rfm", "dropout", "identity"]
INTERACTIONS = "interactions"
"""The data beside."""


class ItemSSL(Method):
    """A two-tower model with a contrastive loss on items alone. Its encoder is the items' tower.

    Args:
        query: the people's tower.
        encoder: the items', which both losses share.
        catalogue: the items and their interactions.
        augment: "cfm" hides a drawn field with the half of the others that tells most of it, and the rest in the other
            version; "rfm" a random half; "dropout" drops values alone; "identity" changes nothing (spread-out).
        information: mutual information of every two fields, k times k, for "cfm".
        alpha: weight of the loss on items; 0 for plain two towers.
        temperature: tau of the loss on items.
        main_temperature: tau of the loss on pairs.
        dropout: chance of each of several values to be dropped.
        log_q: take the logarithm of an item's share of the interactions off its logits, so that popular ones, which are
            in more batches, are not pushed away for it.
    """

    encoder: FieldTower

    def __init__(
        self,
        query: FieldTower,
        encoder: FieldTower,
        catalogue: Catalogue,
        *,
        augment: Augmentation = "cfm",
        information: Sequence[Sequence[float]] = (),
        alpha: float = 0.3,
        temperature: float = 0.1,
        main_temperature: float = 0.1,
        dropout: float = 0.1,
        log_q: bool = True,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature, main_temperature=main_temperature)
        if augment not in get_args(Augmentation):
            raise ConfigError(f"augment {augment!r} is unknown: {nearest(augment, get_args(Augmentation))}")
        if not alpha >= 0 or not 0 <= dropout < 1:
            raise ConfigError(f"alpha must be at least 0 and dropout in [0, 1), not {alpha!r} and {dropout!r}")
        fields = len(encoder.slots)
        if augment in ("cfm", "rfm") and fields < 2:
            raise ConfigError(
                f"items have one field, {next(iter(catalogue.slots))!r}: hiding needs two; give a table of items, or "
                "use augment dropout or identity"
            )
        if augment == "cfm" and (len(information) != fields or any(len(row) != fields for row in information)):
            raise ConfigError(f"cfm needs the mutual information of {fields} x {fields} fields")
        self.query, self.encoder, self.catalogue = query, encoder, catalogue
        # Vectors that nothing hides would never learn.
        query.hidden_field.requires_grad_(False)
        encoder.hidden_field.requires_grad_(alpha > 0 and augment in ("cfm", "rfm"))
        self.augment: Augmentation = augment
        self.information = tuple(map(tuple, information))
        self.alpha, self.temperature, self.main_temperature = alpha, temperature, main_temperature
        self.dropout, self.log_q = dropout, log_q
        several = [width > 1 for width in encoder.slots for _ in range(width)]
        self.register_buffer("several", torch.tensor(several), persistent=False)
        counts = catalogue.counts.double().clamp_min(1)
        self.register_buffer("log_share", (counts / counts.sum()).log().float(), persistent=False)

    several: Tensor
    log_share: Tensor

    @classmethod
    def example(cls) -> Self:
        catalogue = Catalogue.example()
        sizes, slots = catalogue.sizes_of_fields, tuple(catalogue.slots.values())
        information = [[1.0 - abs(one - two) / 9 for two in range(len(slots))] for one in range(len(slots))]
        query = FieldTower((len(catalogue.users),), (1,), dim=4, hidden=(8,), width=6)
        return cls(query, FieldTower(sizes, slots, dim=4, hidden=(8,), width=6), catalogue, information=information)

    def example_batch(self, rows: range = range(8)) -> Batch:
        whole = Catalogue.example()
        return replace(whole[list(rows)], beside={INTERACTIONS: Pairs(whole)[[3 * row for row in rows]]})

    def accept(self, source: Source, batch: int) -> None:
        if not isinstance(source, Catalogue):
            raise DataError(f"ItemSSL learns from a catalogue of items, not from {source.kind}s")

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the loss on pairs `main` and on items `auxiliary`, and how often versions meet, `found`."""
        if INTERACTIONS not in batch.beside:
            raise DataError(f"ItemSSL learns from interactions beside the items: give them as beside[{INTERACTIONS!r}]")
        main, items = self.main_loss(batch.beside[INTERACTIONS])
        with torch.set_grad_enabled(self.alpha > 0 and torch.is_grad_enabled()):
            one, two = self.versions(batch)
        keys = gather(two)
        own, others = _others(len(one), len(keys), one.device)
        auxiliary = masked_info_nce(one, keys, own, others, self.temperature) if self.alpha else main.detach() * 0
        with torch.no_grad():
            nearest_key = (unit_rows(one.float()) @ unit_rows(keys.float()).T).argmax(1)
            found = (nearest_key == own.int().argmax(1)).float().mean()
        return {
            "loss": main + self.alpha * auxiliary,
            "main": main.detach(),
            "auxiliary": auxiliary.detach(),
            "found": found,
            # Of whole items: halves of few values are alike, and would pass for collapse.
            "embeddings": items.detach()[None],
        }

    def main_loss(self, pairs: Batch) -> tuple[Tensor, Tensor]:
        """Return the batch softmax over pairs, in which who took an item must find it among all, and the items."""
        query, item = self.query(pairs.x[:, :1]), self.encoder(pairs.x[:, 1:])
        keys, ids = gather(item), gather(pairs.extras["item"])
        own, others = _others(len(query), len(keys), query.device)
        others = others & (pairs.extras["item"][:, None] != ids)
        offset = self.log_share[ids] if self.log_q else None
        return masked_info_nce(query, keys, own, others, self.main_temperature, offset=offset), item

    def versions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return two versions' embeddings of the batch's items, `(B, D)` each."""
        if self.augment == "identity":
            whole = self.encoder(batch.x)
            return whole, whole
        hidden = self.hidden(batch)
        found = []
        for name, mask in (("first", hidden), ("second", None if hidden is None else ~hidden)):
            dropped = batch.draws(f"dropout {name}").chance(self.dropout, batch.x.shape[1]) if self.dropout else None
            kept = None if dropped is None else ~(dropped & self.several)
            found.append(self.encoder(batch.x, mask, kept))
        return found[0], found[1]

    def hidden(self, batch: Batch) -> Tensor | None:
        """Return the fields that the first version does not see, the same of the whole batch, bool `(k,)`."""
        fields = len(self.encoder.slots)
        draws = batch.draws_for_all("fields")
        if self.augment == "rfm":
            order = draws.permutations(fields)[0]
            return torch.isin(torch.arange(fields, device=order.device), order[: (fields + 1) // 2])
        if self.augment != "cfm":
            return None
        return correlated(self.information, int(draws.integers(0, fields, 1)[0])).to(batch.x.device)

    def maker(self) -> "_Recommend":
        return _Recommend(self)

    def recommend(self, users: Sequence[str], k: int = 10) -> list[tuple[str, ...]]:
        """Return the k items that each user is likeliest to take and has not yet, best first, by their titles.

        Raises:
            DataError: users without interactions.
        """
        source = Users(self.catalogue, users)
        with torch.no_grad():
            best, _ = _top(self, source[torch.arange(len(source))].to(self.log_share.device), k)
        return [tuple(self.catalogue.names[item] for item in row) for row in best.tolist()]

    def scores(self, users: Tensor) -> Tensor:
        """Return the cosine of each user with every item of the catalogue, `(U, I)`; `users` are their places."""
        return unit_rows(self.query(users[:, None])) @ self.item_embeddings().T

    def item_embeddings(self) -> Tensor:
        """Return every item's embedding, those without interactions too, of length 1, `(I, D)`."""
        device = next(self.parameters()).device
        pieces = [self.encoder(piece.to(device)) for piece in torch.split(self.catalogue.codes, 4096)]
        return unit_rows(torch.cat(pieces))


class _Recommend:
    """What `withstand apply` makes: of users the items to recommend, of items those that are like them."""

    def __init__(self, method: ItemSSL) -> None:
        self.method = method

    def __call__(self, batch: Batch, *, k: int = 10) -> dict[str, Output]:
        """Return the titles of k items, best first, and their cosines.

        Args:
            batch: users, or items.
            k: how many items.
        """
        best, cosines = _top(self.method, batch, k)
        what = "recommended" if "user" in batch.extras else "like it"
        return {
            what: Output(best, "columns", tuple(self.method.catalogue.names)),
            "cosine": Output(cosines, "columns"),
        }


def _top(method: ItemSSL, batch: Batch, k: int) -> tuple[Tensor, Tensor]:
    count = len(method.catalogue)
    if not 1 <= k < count:
        raise ConfigError(f"k must lie in [1, {count - 1}], for the catalogue has {count} items, not {k!r}")
    if "user" in batch.extras:
        users = batch.extras["user"]
        scores = method.scores(users)
        for row, items in enumerate(method.catalogue.seen_by(users.cpu())):
            scores[row, items.to(scores.device)] = -torch.inf
    else:
        scores = unit_rows(method.encoder(batch.x)) @ method.item_embeddings().T
        scores.scatter_(1, batch.index[:, None], -torch.inf)
    values, best = scores.topk(k)
    if not bool(values.isfinite().all()):
        raise DataError(f"a user has taken so many items that fewer than k={k} are left")
    return best, values


def correlated(information: Sequence[Sequence[float]], seed: int) -> Tensor:
    """Return the fields to hide with a drawn one, bool `(k,)`: it, and the k // 2 that tell most of it, not all k."""
    row = torch.tensor(information[seed], dtype=torch.float64)
    row[seed] = -torch.inf
    most = min(len(row) // 2, len(row) - 2)
    hidden = torch.zeros(len(row), dtype=torch.bool)
    hidden[row.argsort(descending=True, stable=True)[:most]] = True
    hidden[seed] = True
    return hidden


def _others(rows: int, keys: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return each local row's own key among all processes' keys, and all others, bool `(B, N)`."""
    own = torch.arange(keys, device=device) == (torch.arange(rows, device=device) + first_row(rows))[:, None]
    return own, ~own

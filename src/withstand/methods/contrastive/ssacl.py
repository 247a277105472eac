"""SSACL: a matcher of records learnt from self-made pairs: misspelt copies match, other records do not.

paper: Robust Table Integration in Data Lakes (2024)
needs: misspelt copies of each record, as views        modalities: records of tables
sizes: B records, C copies, A attributes, D width
differences: see the recipe table-integration. In the authors' code the adversarial step goes down the loss, which makes
    pairs easier; here it goes up, as the paper's formula has it. Negatives are drawn from the batch, which is a random
    one, and not from the whole table.
"""

from typing import Literal, Self

import torch
from torch import Tensor

from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import CrossEntropy
from withstand.core.batch import Batch
from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Epoch, Model, Product, Source, Terms
from withstand.core.threat import Ball
from withstand.losses.contrast.binary import binary_nce
from withstand.methods.shared.adversarial_training.attack_in_training import attack_in_training
from withstand.methods.shared.wrappers.held_encoder import HeldEncoder
from withstand.models.tables.records import Read, RecordMatcher


class SSACL(HeldEncoder):
    """Self-supervised adversarial contrastive learning of a matcher.

    Args:
        matcher: the network to train, its encoder inside.
        negatives: other records that each record is told from, at most all of the batch's.
        near: take the most alike records of the batch, by the encoder, in place of random ones.
        adversarial: weight of the adversarial positives' loss; 0 leaves them out.
        eps: length of the step on a record's vectors, whose values' vectors have length 1 each.
        norm: of that length, "l2" or "linf".
        steps: gradient steps, each of eps / steps, projected to the ball.
        warmup: epochs in which the step grows from a tenth of `eps`.

    Raises:
        ConfigError: a setting out of range.
    """

    fewest = 2

    def __init__(
        self,
        matcher: RecordMatcher,
        *,
        negatives: int = 20,
        near: bool = False,
        adversarial: float = 0.5,
        eps: float = 0.01,
        norm: Literal["l2", "linf"] = "l2",
        steps: int = 1,
        warmup: int = 5,
    ) -> None:
        super().__init__()
        if negatives < 1 or steps < 1 or warmup < 0:
            raise ConfigError(f"negatives and steps must be at least 1, warmup 0: {negatives}, {steps}, {warmup}")
        if adversarial < 0 or eps < 0:
            raise ConfigError(f"adversarial and eps must be at least 0, not {adversarial!r} and {eps!r}")
        if norm not in ("l2", "linf"):
            raise ConfigError(f"norm must be 'l2' or 'linf', not {norm!r}")
        self.matcher = matcher
        self.negatives, self.near, self.adversarial = negatives, near, adversarial
        self.eps, self.steps, self.warmup = eps, steps, warmup
        self.norm: Literal["l2", "linf"] = norm

    @classmethod
    def example(cls) -> Self:
        return cls(RecordMatcher.example(), negatives=3, eps=0.1)

    def example_batch(self, rows: range = range(8)) -> Batch:
        words = ("blue lamp", "red mill", "old inn", "casa verde", "green door", "the harbour", "noodles", "big sur")
        codes = torch.zeros(8, 2, 16, dtype=torch.int64)
        for row, word in enumerate(words):
            for column, text in enumerate((word, word[::-1] if row % 3 else "")):
                codes[row, column, : len(text)] = torch.tensor([ord(letter) for letter in text], dtype=torch.int64)
        one, two = codes.clone(), codes.clone()
        one[:, 0, 1], two[:, 0, 0] = ord("x"), ord("y")
        picked = torch.tensor(list(rows))
        return Batch(codes[picked], picked, views=(one[picked], two[picked]))

    def held_encoder(self) -> Model:
        """Return the matcher's encoder of records."""
        return self.matcher.encoder

    def products(self) -> dict[str, Product]:
        return {"encoder": self.matcher.encoder, "matcher": self.matcher}

    def accept(self, source: Source, batch: int) -> None:
        if source.kind != "record":
            raise DataError(f"SSACL learns from records, and {source.name} holds one {source.kind} a sample")

    def before_epoch(self, epoch: Epoch) -> None:
        """Weigh n-grams by how rare they are among the training records, once."""
        if epoch.number:
            return
        encoder = self.matcher.encoder
        seen: list[Tensor] = []

        def count(x: Tensor) -> Tensor:
            seen.append(encoder.documents(x))
            return (x[..., 0] != 0).sum(1)

        values = epoch.pass_over(count)
        encoder.weigh(torch.stack(seen).sum(0), int(values.sum()))

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its two parts and the mean probability of positives and negatives.

        Raises:
            DataError: there are no copies.
        """
        if not batch.views:
            raise DataError("SSACL learns from copies of each record: use Perturbed as the view")
        size, copies = len(batch), len(batch.views)
        vectors, there = self.matcher.encoder.tokens(torch.cat([batch.x, *batch.views]))
        every = self.matcher.read(vectors, there)
        own = every[:size]
        anchors = torch.arange(size, device=there.device)
        positive = self.matcher.compare(own[anchors.repeat(copies)], every[size:])
        others = Read(gather(own.tokens), gather(own.asked), gather(own.key), gather(own.value), _all(own.there))
        chosen = self._others(batch, own.tokens, others.tokens)
        negative = self.matcher.compare(own[anchors.repeat_interleave(chosen.shape[1])], others[chosen.flatten()])
        contrast = binary_nce(positive, negative)
        embeddings = torch.stack([one.sum(1) for one in vectors.detach().view(1 + copies, size, *vectors.shape[1:])])
        terms = {
            "loss": contrast,
            "contrast": contrast.detach(),
            "positive": positive.detach().sigmoid().mean(),
            "negative": negative.detach().sigmoid().mean(),
            "embeddings": embeddings,
        }
        if self.adversarial:
            worse = self.adversary(vectors[:size], there[:size], batch)
            attacked = binary_nce(self.matcher.compare(self.matcher.read(worse, there[:size]), own), positive[:0])
            terms |= {"loss": contrast + self.adversarial * attacked, "adversarial": attacked.detach()}
        return terms

    def radius(self, epoch: int) -> float:
        """Return the length of an epoch's adversarial step: from a tenth of eps to eps in `warmup` epochs."""
        return self.eps * min(1.0, 0.1 + 0.9 * epoch / self.warmup) if self.warmup else self.eps

    def adversary(self, vectors: Tensor, there: Tensor, batch: Batch) -> Tensor:
        """Return vectors `(B, A, D)` moved, within the radius, to where they match themselves least.

        The step is the gradient of the loss -log p(E + r, E), scaled to the radius: up the loss. A gradient of 0 moves
        nothing. The result carries no gradient but the clean vectors'.
        """
        clean = vectors.detach()
        fixed = self.matcher.read(clean, there)

        def logits(moved: Tensor) -> Tensor:
            match = self.matcher.compare(self.matcher.read(moved, there), fixed)
            return torch.stack([torch.zeros_like(match), match], 1)

        attack = PGD(
            Ball(self.norm, self.radius(batch.epoch)),
            CrossEntropy(),
            steps=self.steps,
            step_size=1 / self.steps,
            random_start=False,
            keep_best=False,
        )
        goal = torch.ones(len(clean), dtype=torch.int64, device=clean.device)
        worse = attack_in_training(
            self,
            logits,
            attack,
            clean,
            goal,
            batch.draws("adversary"),
            low=-torch.inf,
            high=torch.inf,
            mask=there[..., None],
        )
        return vectors + (worse - clean)

    def _others(self, batch: Batch, own: Tensor, every: Tensor) -> Tensor:
        """Return which other records each is told from, places in the whole batch, int64 `(B, n)`."""
        count = min(self.negatives, len(every) - 1)
        mine = first_row(len(own)) + torch.arange(len(own), device=own.device)
        if self.near:
            alike = own.detach().flatten(1) @ every.detach().flatten(1).T
        else:
            alike = batch.draws("negatives").uniform(len(every))
        alike = alike.scatter(1, mine[:, None], -torch.inf)
        return alike.topk(count, dim=1).indices


def _all(there: Tensor) -> Tensor:
    """Return which values are there of all processes' records."""
    return gather(there.to(torch.uint8)).bool()

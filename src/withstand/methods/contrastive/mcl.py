"""MCL: a contrastive method once more, with negatives from a sample's own cluster alone, to learn what it left out.

paper: Learning the Unlearned: Mitigating Feature Suppression in Contrastive Learning (2024)
needs: what the wrapped method needs, samples by index      modalities: any with an encoder
sizes: B samples of a batch, N of the data, K clusters, T stages
differences: the official code forgets all stages' clusters but the last's when it combines them; here, as in the paper,
    two samples share a group only if every stage put them in one cluster. It leaves groups smaller than a batch out of
    training: see `small`. Its batches come by turns of groups: see `same_group_batches`. Batch statistics are
    those of one group at a time, and running ones mix them, as there.
"""

from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Epoch, Method, Model, Product, Source, Terms
from withstand.data.derived.group_batches import Small, coverage, merged, same_group_batches
from withstand.losses.precision import unit_rows
from withstand.methods.shared.clusters import k_means_labels, refuse_few_samples
from withstand.methods.shared.pairs import example_of_pairs
from withstand.methods.shared.wrappers.wrapper import Wrapper
from withstand.models.blocks.concatenated import Concatenated
from withstand.models.blocks.memory.queue import Queue
from withstand.models.pictures.normalized import Normalized


class MCL(Wrapper):
    """One later stage of multistage contrastive learning: `withstand.recipes.setups.staged.stages` makes the chain.

    Before its first step it inherits the earlier stages' encoders and groups, and splits each group by clusters of the
    newest encoder's features, of unit length. Its batches then hold samples of one group, so that all negatives of an
    anchor share with it what the earlier stages tell apart. Of a queue's rows a batch sees those of its own group: none
    at first, when a method with a queue alone has nothing to learn from.

    Args:
        method: a contrastive method; it trains this stage's encoder.
        before: like what the earlier stages gave: an encoder for one, a `Concatenated` for several.
        samples: N, how many samples the data have.
        clusters: K.
        fresh: train a new encoder; else go on with the newest earlier one.
        small: what becomes of groups smaller than a batch: "merge" or "skip", see `same_group_batches`.
    """

    group_labels: Tensor
    batch_groups: Tensor
    covered: Tensor

    def __init__(
        self,
        method: Method,
        before: Model,
        *,
        samples: int,
        clusters: int = 10,
        fresh: bool = False,
        small: Small = "merge",
    ) -> None:
        super().__init__(method)
        if clusters < 2:
            raise ConfigError(f"clusters must be at least 2, not {clusters!r}")
        if type(method).order is not Method.order:
            raise ConfigError(f"{type(method).__name__} makes batches of its own, which cannot be wrapped")
        self.before = before.requires_grad_(False).eval()
        self.clusters, self.fresh, self.small = clusters, fresh, small
        self.register_buffer("group_labels", torch.zeros(samples, dtype=torch.int64))
        self.register_buffer("batch_groups", torch.zeros(samples, dtype=torch.int64))
        self.register_buffer("covered", torch.ones(()))

    @classmethod
    def example(cls) -> Self:
        return cls(example_of_pairs(), Normalized.example(), samples=8)

    def held_encoder(self) -> Model:
        """Return all stages' encoders, their features side by side, of unit length."""
        whole = Concatenated([*_stages(self.before), self.method.encoder])
        whole.training = whole.encoders.training = self.training  # the stages keep the modes that they are in
        return whole

    def step(self, batch: Batch) -> Terms:
        """Return the wrapped method's terms, and the share of samples in groups of at least a batch, `covered`."""
        for queue in self.method.modules():
            if isinstance(queue, Queue):
                queue.kind = int(self.batch_groups[batch.index[0]])
        return {**self.inside(batch), "covered": self.covered}

    def products(self) -> dict[str, Product]:
        return {"encoder": self.encoder}

    def accept(self, source: Source, batch: int) -> None:
        if len(source) != len(self.group_labels):
            raise ConfigError(f"samples is {len(self.group_labels)}, but the data have {len(source)}")
        refuse_few_samples(len(source), self.clusters)
        super().accept(source, batch)

    def inherit(self, earlier: Method) -> None:
        self.before.load_state_dict(earlier.encoder.state_dict())
        newest = earlier
        if isinstance(earlier, MCL):
            newest = earlier.method
            self.group_labels.copy_(earlier.group_labels)
        if not self.fresh:
            self.method.load_state_dict(newest.state_dict())

    def before_epoch(self, epoch: Epoch) -> None:
        if epoch.number == 0:
            features = unit_rows(epoch.pass_over(_stages(self.before)[-1]).float())
            self.group_labels.mul_(self.clusters).add_(k_means_labels(features, self.clusters, epoch.seed))
        super().before_epoch(epoch)

    def order(self, order: Tensor, batch: int) -> Tensor:
        """Return batches of one group each; where a pass over the groups has too few, another follows."""
        groups, wanted = self.group_labels.cpu(), len(order) // batch
        self.covered.fill_(coverage(groups, batch))
        if self.small == "merge":
            groups = merged(groups, batch)
        self.batch_groups.copy_(groups)
        passes: list[Tensor] = []
        while sum(map(len, passes)) < wanted:
            turned = order.roll(len(passes) * (len(order) // 3 + 1))
            passes.append(same_group_batches(turned, groups, batch, small="skip"))
        return torch.cat(passes)[:wanted].flatten()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of this stage; the earlier ones stay in eval mode."""
        super().train(mode)
        self.before.eval()
        return self


def _stages(before: Model) -> list[Model]:
    return before.parts() if isinstance(before, Concatenated) else [before]

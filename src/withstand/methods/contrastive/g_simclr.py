"""G-SimCLR: SimCLR whose batches take each sample from another cluster, so that fewer negatives are of one kind.

paper: G-SimCLR: Self-Supervised Contrastive Learning with Guided Projection via Pseudo Labelling (2020)
needs: two views, samples by index      modalities: any with an encoder
sizes: B samples of a batch, N of the data, K clusters, W encoder width, D projection width
differences: the official notebooks make the same batches in every epoch, in which large clusters meet themselves
    more and more: see `mode`. They draw an augmentation once for a whole batch, make no picture grey where they mean
    to, and stop by the test samples' loss; none of that is done here.
"""

from typing import Self, get_args

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Epoch, Method, Model, Source, Terms
from withstand.data.derived.group_batches import Distinct, distinct_group_batches
from withstand.losses.contrast.contrastive import nt_xent
from withstand.methods.shared.clusters import k_means_labels, refuse_few_samples
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class GSimCLR(Method):
    """NT-Xent on batches guided by clusters of cheap features, which are found before the first step.

    Args:
        encoder: the network to train; its `width` sizes the head.
        features: what is clustered: an encoder like the one that the run's earlier stage trained, say an autoencoder's.
        samples: N, how many samples the data have.
        clusters: K, at least the batch; the paper's is the batch.
        hidden: width of the head's first hidden layer; None for the encoder's width, as in the paper. The second has
            half of it.
        dim: width of the projection.
        temperature: tau.
        mode: of the batches: "even", "balanced", or "official" for the notebooks', see `distinct_group_batches`.
    """

    group_labels: Tensor

    def __init__(
        self,
        encoder: Model,
        features: Model,
        *,
        samples: int,
        clusters: int = 64,
        hidden: int | None = None,
        dim: int = 50,
        temperature: float = 0.1,
        mode: Distinct = "even",
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature, clusters=clusters)
        if mode not in get_args(Distinct):
            raise ConfigError(f"mode {mode!r} is unknown: {nearest(str(mode), get_args(Distinct))}")
        self.encoder, self.features = encoder, features.requires_grad_(False).eval()
        self.clusters, self.temperature, self.mode = clusters, temperature, mode
        width = encoder.width if hidden is None else hidden
        first = ProjectionHead(encoder.width, width, max(1, width // 2), batch_norm=False, bias=True)
        self.head = nn.Sequential(first, nn.ReLU(), nn.Linear(first.width, dim))
        self.register_buffer("group_labels", torch.zeros(samples, dtype=torch.int64))

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), Normalized.example(), samples=8, hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the share of this process's samples that are their cluster's first `apart`, `positive`."""
        z1, z2 = self.head(self.encoder(torch.cat(view_pair(batch)))).chunk(2)
        apart = len(torch.unique(self.group_labels[batch.index])) / max(1, len(batch))
        return pair_terms(nt_xent(z1, z2, self.temperature), z1, z2) | {"apart": z1.new_tensor(apart)}

    def accept(self, source: Source, batch: int) -> None:
        if len(source) != len(self.group_labels):
            raise ConfigError(f"samples is {len(self.group_labels)}, but the data have {len(source)}")
        refuse_few_samples(len(source), self.clusters)
        if batch > self.clusters:
            raise ConfigError(
                f"batch {batch} takes each sample from another cluster, and there are {self.clusters}: use as many, or "
                f"--batch {self.clusters}"
            )

    def inherit(self, earlier: Method) -> None:
        self.features.load_state_dict(earlier.encoder.state_dict())

    def before_epoch(self, epoch: Epoch) -> None:
        if epoch.number == 0:
            self.group_labels.copy_(k_means_labels(epoch.pass_over(self.features), self.clusters, epoch.seed))

    def order(self, order: Tensor, batch: int) -> Tensor:
        return distinct_group_batches(order, self.group_labels.cpu(), batch, mode=self.mode).flatten()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the clustered features' network, which stays in eval mode."""
        super().train(mode)
        self.features.eval()
        return self

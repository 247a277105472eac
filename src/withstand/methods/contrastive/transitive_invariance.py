"""Transitive invariance: things that look alike, one thing at two times, and both in turn, by triplets on the cosine.

paper: Transitive Invariance for Self-supervised Visual Representation Learning (Wang, He, Gupta; ICCV 2017)
needs: tracks: pictures and the same things later     modalities: any with an encoder
sizes: B tracks on this process, N over all, M in the data, D projection width
differences: no code was published; margin, clusters, neighbours and negatives are what is remembered of the paper, and
    are defaults, not facts. The seed network is an earlier stage's, any encoder, or the pixels themselves. All pairs
    that a batch holds are used, where the paper draws triplets one by one, and batches are dealt so that neighbours
    meet. Each kind of pair has the same weight, however many there are. The seed network is frozen, so that neighbours
    are found once: they would be the same before every epoch.
"""

from typing import Literal, Self, get_args

import torch
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor
from torch.nn.functional import avg_pool2d

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.distributed import as_on_first_process, first_row, gather
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Epoch, Method, Model, Source, Terms
from withstand.data.clips.pair_graph import nearest_within
from withstand.losses.contrast.triplet import cosine_triplet
from withstand.losses.precision import unit_rows
from withstand.methods.shared.clusters import k_means_labels, refuse_few_samples
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized
from withstand.views.tracks import LATER

Kind = Literal["inter", "intra", "transitive"]
"""Kinds of pairs: other things that look alike, one thing at two times, and both in turn."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class TransitiveInvariance(Method):
    """Triplets over the pairs of a graph of tracks, whose edges by looks are found before the first epoch.

    Before the first epoch, what tracks look like at first goes through the seed network; k-means clusters are merged
    into fewer, and in each of these tracks are joined with their nearest. Negatives of a thing are things of other
    merged clusters: drawn at random in the first epochs, then the hardest.

    Args:
        encoder: the network to train.
        samples: M, tracks in the data.
        seed: what tells looks before anything is learnt, frozen; it takes the weights of the run's earlier stage. None
            for the pixels, shrunk to about 8 x 8.
        kinds: of pairs that are learnt from.
        neighbours: by looks, of each track.
        clusters: of k-means.
        parents: into how many these are merged.
        margin: of the triplets, in cosine distance.
        negatives: of each pair.
        warmup: epochs of random negatives.
        hidden: width of the head's hidden layer; None for the encoder's width.
        dim: D.
    """

    fewest = 4
    neighbour: Tensor
    cluster: Tensor

    def __init__(
        self,
        encoder: Model,
        *,
        samples: int,
        seed: Model | None = None,
        kinds: tuple[str, ...] = KINDS,
        neighbours: int = 3,
        clusters: int = 100,
        parents: int = 20,
        margin: float = 0.5,
        negatives: int = 4,
        warmup: int = 1,
        hidden: int | None = None,
        dim: int = 128,
    ) -> None:
        super().__init__()
        require_positive(margin=margin, neighbours=neighbours, negatives=negatives)
        for kind in kinds:
            if kind not in KINDS:
                raise ConfigError(f"kind of pairs {kind!r} is unknown: {nearest(str(kind), KINDS)}")
        if not kinds or len(set(kinds)) != len(kinds):
            raise ConfigError(f"kinds must be different ones of {', '.join(KINDS)}, at least one, not {kinds!r}")
        if not 2 <= parents <= clusters:
            raise ConfigError(f"parents must be at least 2 and at most the {clusters} clusters, not {parents!r}")
        refuse_few_samples(samples, clusters)
        self.encoder, self.kinds, self.margin, self.negatives = encoder, tuple(kinds), margin, negatives
        self.neighbours, self.clusters, self.parents, self.warmup = neighbours, clusters, parents, warmup
        self.seed = None if seed is None else seed.requires_grad_(False).eval()
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, batch_norm=False, bias=True)
        # Before anything is mined, every track is alone in its cluster.
        self.register_buffer("neighbour", torch.full((samples, neighbours), -1))
        self.register_buffer("cluster", torch.arange(samples))

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), samples=8, neighbours=1, clusters=4, parents=3, hidden=12, dim=10)

    def accept(self, source: Source, batch: int) -> None:
        if len(source) != len(self.cluster):
            raise ConfigError(f"samples is {len(self.cluster)}, but the data have {len(source)}")
        if LATER not in source[[0]].extras:
            raise DataError(
                f"{source.name} has no tracks, pictures and the same things later: give clips, or --simulate them"
            )

    def inherit(self, earlier: Method) -> None:
        if self.seed is None:
            super().inherit(earlier)
        else:
            self.seed.load_state_dict(earlier.encoder.state_dict())

    def before_epoch(self, epoch: Epoch) -> None:
        """Find each track's cluster and its nearest in it. Looks are the seed network's: the same in every epoch."""
        if epoch.number:
            return
        features = epoch.pass_over(self.looks).float()
        fine = k_means_labels(unit_rows(features), self.clusters, epoch.seed)
        merged = _merged(features, fine, self.parents)
        self.cluster.copy_(merged)
        self.neighbour.copy_(as_on_first_process(nearest_within(features, merged, self.neighbours)))

    @torch.no_grad()
    def looks(self, x: Tensor) -> Tensor:
        """Return the features by which pictures are compared before anything is learnt, `(B, F)`."""
        if self.seed is not None:
            found: Tensor = self.seed(x)
            return found
        pixels = unit_range(x)
        small = avg_pool2d(pixels, max(1, min(pixels.shape[2:]) // 8)).flatten(1)
        return small - small.mean(1, keepdim=True)

    def order(self, order: Tensor, batch: int) -> Tensor:
        """Return the same tracks, each followed by the first of its neighbours that has not come yet."""
        near = self.neighbour.cpu().tolist()
        left = set(order.tolist())
        dealt = []
        for track in order.tolist():
            if track not in left:
                continue
            left.remove(track)
            dealt.append(track)
            other = next((one for one in near[track] if one in left), None)
            if other is not None:
                left.remove(other)
                dealt.append(other)
        return torch.tensor(dealt)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the seed network, which stays in eval mode."""
        super().train(mode)
        if self.seed is not None:
            self.seed.eval()
        return self

    def step(self, batch: Batch) -> Terms:
        """Return the loss, that of each kind of pairs, and how many pairs by looks the batch holds for each track."""
        first, later = self.head(self.encoder(torch.cat(view_pair(batch)))).chunk(2)
        index = gather(batch.index)
        alike = self._alike(batch.index, index)
        same = torch.zeros_like(alike)
        row = torch.arange(len(first), device=first.device)
        same[row, row + first_row(len(first))] = True
        none = torch.zeros_like(alike)
        # Anchors are the first frames, then the later ones; so are keys.
        positive = {
            "inter": _blocks(alike, none, none, none),
            "intra": _blocks(none, same, same, none),
            "transitive": _blocks(none, alike, alike, alike),
        }
        apart = self.cluster[batch.index][:, None] != self.cluster[index][None]
        negative = _blocks(apart, apart, apart, apart)
        anchors, keys = torch.cat([first, later]), torch.cat([gather(first), gather(later)])
        # What is drawn belongs to pairs of tracks, whatever process they are on.
        preference = None
        if batch.epoch < self.warmup:
            preference = torch.cat([batch.draws(name).uniform(len(keys)) for name in ("first", "later")])
        losses = {
            kind: cosine_triplet(
                anchors,
                keys,
                positive[kind],
                negative & ~positive[kind],
                margin=self.margin,
                count=self.negatives,
                preference=preference,
            )
            for kind in self.kinds
        }
        terms = pair_terms(torch.stack(list(losses.values())).mean(), first, later)
        return {
            **terms,
            **{kind: loss.detach() for kind, loss in losses.items()},
            "neighbours in the batch": alike.sum(1).float().mean(),
        }

    def _alike(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return which tracks are joined by looks, one way or the other, bool `(B, N)`."""
        ahead = (self.neighbour[rows][:, None] == columns[None, :, None]).any(2)
        back = (self.neighbour[columns][None] == rows[:, None, None]).any(2)
        return (ahead | back) & (rows[:, None] != columns[None])


def _blocks(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.cat([torch.cat([a, b], 1), torch.cat([c, d], 1)])


def _merged(features: Tensor, fine: Tensor, parents: int) -> Tensor:
    """Return each sample's merged cluster: clusters whose centres are near come together, by Ward's distance."""
    place: Tensor
    kept, place = torch.unique(fine, return_inverse=True)
    centres = torch.stack([features[fine == label].mean(0) for label in kept])
    if len(kept) <= parents:
        return place
    labels = AgglomerativeClustering(parents).fit_predict(centres.cpu().double().numpy())
    merged: Tensor = torch.from_numpy(labels).to(fine)[place]
    return as_on_first_process(merged)

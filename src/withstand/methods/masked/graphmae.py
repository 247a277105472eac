"""GraphMAE: a masked autoencoder of node features.

paper: GraphMAE: Self-Supervised Masked Graph Autoencoders (Hou et al., KDD 2022)
needs: one view with hidden nodes (MaskNodes)            modalities: graphs
sizes: N nodes, M hidden ones, F features, D encoder width
differences: the code can leave a hidden node neither blank nor replaced, through rounding; here the counts add up, as
    the paper has it. A decoder of one head aggregates before its wide map, for the hidden nodes only: the same sums.
    GCN layers are Kipf and Welling's; the code's divide the bias, too, by the square root of the node's degree.
caution: what is published hangs on an accident that is kept here. At the first step the decoder's bias is 0, so that a
    hidden node whose neighbors are all hidden is decoded to exactly 0, where the error's slope is about 1e12. Adam's
    second moments never come down from it: after a few steps the bias of such nodes' words, 78 % of Cora's and all the
    frequent ones, stands still. Where it is free it learns how frequent words are, a lower loss that teaches the
    encoder less; where there is none, embeddings shrink.
"""

from dataclasses import replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.devices.distributed import mean_of_all
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import isolated
from withstand.core.roles import Method, Terms
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.sparse import Sparse, take_rows
from withstand.losses.restoration.reconstruction import scaled_cosine_error, squared_error
from withstand.models.graphs.encoder import GIN, GraphEncoder
from withstand.models.graphs.layers import GraphLayer, NodeLayer

Decoder = Literal["same", "linear", "mlp"]
Error = Literal["sce", "mse"]


class GraphMAE(Method):
    """Masked graph autoencoder: hidden node features are told from what the neighborhood's codes say.

    The codes of hidden nodes are set to zero before the decoder (re-masking), so that it must look at their
    neighbors.

    Args:
        encoder: the network to train.
        decoder: one layer of the encoder's own kind ("same"), or per node, without re-masking: "linear", "mlp".
        loss: "sce", the scaled cosine error, or "mse".
        alpha: exponent of the scaled cosine error, at least 1.
        remask: set hidden nodes' codes to zero before a decoder that sees neighbors.
        concat: decode the outputs of all layers side by side, in place of the last one's.
    """

    encoder: GraphEncoder
    decoder: GraphLayer

    def __init__(
        self,
        encoder: GraphEncoder,
        *,
        decoder: Decoder = "same",
        loss: Error = "sce",
        alpha: float = 3.0,
        remask: bool = True,
        concat: bool = False,
    ) -> None:
        super().__init__()
        for name, value, allowed in (("decoder", decoder, get_args(Decoder)), ("loss", loss, get_args(Error))):
            if value not in allowed:
                raise ConfigError(f"{name} {value!r} is unknown: {nearest(str(value), allowed)}")
        if not alpha >= 1:
            raise ConfigError(f"alpha must be at least 1, not {alpha!r}")
        self.encoder, self.loss, self.alpha = encoder, loss, alpha
        self.remask, self.concat = remask and decoder == "same", concat
        width, features = encoder.width, encoder.features
        self.token = nn.Parameter(torch.zeros(features))
        self.bridge = nn.Linear(width * (len(encoder.layers) if concat else 1), width, bias=False)
        if decoder == "same":
            self.decoder = encoder.layer(width, features)
        else:
            self.decoder = NodeLayer(width, features, hidden=width if decoder == "mlp" else None)

    @classmethod
    def example(cls) -> Self:
        return cls(GIN.example())

    def example_batch(self, rows: range = range(8)) -> Batch:
        """Return graphs whose first and third node are hidden, the third by the fourth's features."""
        batch = GraphSet.example()[rows]
        graphs = Graphs.of(batch.x)
        first = torch.searchsorted(graphs.membership, torch.arange(graphs.count))
        source = torch.arange(graphs.size)
        source[first], source[first + 2] = -1, first + 3
        x, hidden = graphs.dense(), torch.cat([first, first + 2]).sort().values
        changed = torch.where(source[:, None] < 0, 0, x[source.clamp_min(0)])
        view = replace(graphs, x=changed, masked=hidden, blank=first, clean=x[hidden])
        return batch.with_views(view.as_samples())

    def step(self, batch: Batch) -> Terms:
        """Return the loss over hidden nodes, and, by the scaled cosine error, their mean cosine, `cosine`."""
        if not batch.views:
            raise DataError("GraphMAE learns from a view with hidden nodes: use GraphViews((MaskNodes(),))")
        graphs = Graphs.of(batch.views[0])
        with isolated():  # dropout draws from the global generator, which the engine sets for each step
            depths = self.encoder.depths(replace(graphs, fill=self.token))
            prediction = self.decode(graphs, torch.cat(depths, 1) if self.concat else depths[-1])
        target = clean_features(graphs)
        if self.loss == "sce":
            errors = scaled_cosine_error(prediction, target, self.alpha)
        else:
            errors = squared_error(prediction, target)
        return {
            "loss": mean_of_all(errors),
            **self._facts(errors.detach()),
            "embeddings": self.encoder.samples(graphs, depths[-1].detach())[None],
        }

    def _facts(self, errors: Tensor) -> Terms:
        return {"cosine": (1 - errors ** (1 / self.alpha)).mean()} if self.loss == "sce" else {}

    def decode(self, graphs: Graphs, codes: Tensor) -> Tensor:
        """Return the hidden nodes' features `(M, F)` from all codes `(N, D)`."""
        masked = hidden(graphs)
        if self.remask:
            seen = torch.ones(len(codes), dtype=torch.bool, device=codes.device)
            seen[masked] = False
            kept = seen.nonzero()[:, 0]
            bridged = self.bridge(take_rows(codes, kept))  # the rest is thrown away, and need not be computed
            codes = bridged.new_zeros(len(codes), bridged.shape[1]).index_copy(0, kept, bridged)
        else:
            codes = self.bridge(codes)
        edges = graphs.whole or graphs.edges
        prediction: Tensor = self.decoder(replace(graphs, x=codes, fill=None, blank=None), edges, masked)
        return prediction


def hidden(graphs: Graphs) -> Tensor:
    """Return the hidden nodes, int64 `(M,)`.

    Raises:
        DataError: none are.
    """
    if graphs.masked is None or not len(graphs.masked):
        raise DataError(f"no node of {graphs.size} is hidden: raise the rate of MaskNodes, or the batch")
    return graphs.masked


def clean_features(graphs: Graphs) -> Tensor:
    """Return what the hidden nodes' features were, `(M, F)`."""
    clean = graphs.clean
    if clean is None:
        raise DataError("the hidden nodes' features were not kept: use MaskNodes")
    return clean.dense() if isinstance(clean, Sparse) else clean

"""T-JEPA: predict the latent tokens that a slow teacher, which sees the whole row, gives to hidden columns.

paper: T-JEPA: Augmentation-Free Self-Supervised Learning for Tabular Data (2025)
needs: rows of a table        modalities: tables
sizes: B rows, D columns, R [REG] tokens, H token width, M target sets
differences: the authors' code indexes masks into [REG] + columns without an offset, so that [REG] is sometimes masked
    and the last column never predicted, and its M target sets are one array, so all the same. Here [REG] is always
    seen and never a target, and the sets are independent, as the paper has it. The teacher is in eval mode, its
    dropout off, unless asked for. Gradients are not clamped entry by entry, and weight
    decay stays what it is (the code can raise it by half a cosine; its published setting has none). A missing number
    has a learnt token.
"""

from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import kl_div, mse_loss

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Model, Terms
from withstand.data.tables.source import TableSource
from withstand.methods.shared.wrappers.held_encoder import HeldEncoder
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.blocks.pick import pick
from withstand.models.tables.encoder import TableEncoder
from withstand.models.tables.predictor import QueryPredictor
from withstand.views.columns import Shares, column_subsets, draw_sizes, subset_sizes

GAUGED = 128
"""Rows of a batch that the gauges read: features are wide, and the gauges decompose them."""


class TJEPA(HeldEncoder):
    """The tabular joint-embedding predictive architecture. Its encoder, for users and probes, is the teacher.

    Reads view 0 of a batch (its samples where there are no views). Masks hang on seed, step and index alone; their
    sizes on seed and step, so that a batch has one size of each.

    Args:
        encoder: the student to train.
        context: the least and largest share of the columns that the student sees.
        targets: the least and largest share of the columns in a target set.
        sets: M, target sets for each row.
        predictor_hidden: width of the predictor's tokens, even.
        predictor_layers: its Transformer layers.
        predictor_heads: its attention heads.
        predictor_feedforward: width of its perceptrons; None for four times `predictor_hidden`.
        dropout: in the predictor.
        reg_to_predictor: hand the context's [REG] tokens to the predictor, without a place.
        momentum: how slowly the teacher follows.
        teacher_dropout: leave dropout on in the teacher, as the authors' code does.
    """

    def __init__(
        self,
        encoder: TableEncoder,
        *,
        context: Shares = (0.136, 0.368),
        targets: Shares = (0.156, 0.622),
        sets: int = 4,
        predictor_hidden: int = 32,
        predictor_layers: int = 2,
        predictor_heads: int = 4,
        predictor_feedforward: int | None = None,
        dropout: float = 0.0,
        reg_to_predictor: bool = True,
        momentum: Momentum = Momentum(0.996, 1.0, "linear"),  # noqa: B008 - a frozen value
        teacher_dropout: bool = False,
    ) -> None:
        super().__init__()
        if sets < 1:
            raise ConfigError(f"sets must be at least 1, not {sets}")
        self.columns, self.reg_tokens = encoder.columns, encoder.reg_tokens
        self.law = subset_sizes(self.columns, context, targets)
        self.sets = sets
        self.reg_to_predictor, self.teacher_dropout = reg_to_predictor, teacher_dropout
        self.student = encoder
        self.teacher = Teacher(encoder, momentum)
        self.predictor = QueryPredictor(
            encoder.hidden,
            self.columns,
            hidden=predictor_hidden,
            layers=predictor_layers,
            heads=predictor_heads,
            feedforward=predictor_feedforward,
            dropout=dropout,
        )
        self.train(self.training)

    @classmethod
    def example(cls) -> Self:
        return cls(TableEncoder.example(), dropout=0.0)

    def example_batch(self, rows: range = range(8)) -> Batch:
        return TableSource.example()[rows]

    def held_encoder(self) -> Model:
        """Return the teacher's network."""
        return self._taught

    @property
    def _taught(self) -> TableEncoder:
        return self.teacher.network

    def train(self, mode: bool = True) -> "TJEPA":
        """Set the mode; the teacher stays in eval mode unless its dropout was asked for."""
        super().train(mode)
        self.teacher.train(mode and self.teacher_dropout)
        return self

    def masks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return this step's contexts `(B, n)` and target sets `(B, M, t)`, int64."""
        context, target = draw_sizes(self.law, batch.draws_for_all("sizes"))
        return column_subsets(batch.draws("columns"), self.columns, context, target, self.sets)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the mean squared error of predicted tokens, and the teacher's collapse monitors."""
        return self.terms(batch.views[0] if batch.views else batch.x, *self.masks(batch))

    def terms(self, x: Tensor, context: Tensor, targets: Tensor) -> Terms:
        """Return the loss and monitors for given masks.

        Args:
            x: rows `(B, W)`.
            context: the columns that the student sees, int64 `(B, n)`.
            targets: the columns to predict, int64 `(B, M, t)`.
        """
        with torch.no_grad():
            whole = self._taught.tokens(x)
            wanted = pick(whole, targets.flatten(1) + self.reg_tokens).view(*targets.shape, -1)
        predicted = self.predict(x, context, targets)
        wide = torch.promote_types(predicted.dtype, torch.float32)
        loss = mse_loss(predicted.to(wide), wanted.to(wide))
        flat = whole[:GAUGED].flatten(1)
        # What all rows share, the columns' own tokens, is taken off: it would pass for collapse. `row_std` tells that.
        return {"loss": loss, **monitors(whole[:GAUGED]), "embeddings": (flat - flat.mean(0))[None]}

    def predict(self, x: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        """Return predicted tokens `(B, M, t, H)` from what the student makes of the context."""
        seen = self.student.tokens(x, context)
        if not self.reg_to_predictor:
            alone: Tensor = self.predictor(seen[:, self.reg_tokens :], context, targets)
            return alone
        nowhere = context.new_full((len(context), self.reg_tokens), self.columns)
        found: Tensor = self.predictor(seen, torch.cat([nowhere, context], 1), targets)
        return found

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps - 1)  # the last step has the final momentum

    def after_step(self, step: int) -> None:
        self.teacher.follow(self.student, step - 1)


@torch.no_grad()
def monitors(tokens: Tensor) -> dict[str, Tensor]:
    """Return what tells of collapse, of a batch's tokens `(B, S, H)`; each is near 0 when all rows look the same.

    `row_std`: mean over entries of the standard deviation across rows. `variance_of_means`: variance over rows and
    entries of the mean token. `pair_distance`, `pair_kl`: mean Euclidean distance, and mean Kullback-Leibler divergence
    of the softmax, of each row from the next.
    """
    wide = tokens.float()
    flat = wide.flatten(1)
    logs = flat.log_softmax(1)
    following = logs.roll(-1, 0)
    return {
        "row_std": (flat - flat.mean(0)).square_().mean(0).sqrt_().mean(),
        "variance_of_means": wide.mean(1).var(correction=0),
        "pair_distance": (flat - flat.roll(-1, 0)).norm(dim=1).mean(),
        "pair_kl": kl_div(following, logs, reduction="batchmean", log_target=True),
    }

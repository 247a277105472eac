"""What recipes share that tune a language model: the model, its adapters, the texts and the budget."""

from dataclasses import dataclass

from withstand.core.errors import ConfigError
from withstand.core.options import Options
from withstand.core.roles import Source
from withstand.data.derived.subset import holdout
from withstand.data.text.made import Part
from withstand.data.text.source import MADE, Long, Preferences
from withstand.data.text.wording import REVISION, Wording
from withstand.engine.experiment import Plan
from withstand.engine.optimizers import AdamW
from withstand.engine.schedules import WarmupCosine
from withstand.models.tokens.causal import CausalLM, Tuning
from withstand.models.tokens.causal_base import STORIES, TINY


@dataclass(frozen=True, kw_only=True)
class LanguageSetup(Options):
    """What recipes that tune a language model can be told.

    Args:
        model: stories260k, tiny:llama and others to try, a folder that transformers wrote, or a name of the Hugging
            Face Hub.
        data: pairs of answers: a file (JSON Lines, CSV, Parquet) with columns prompt, chosen and rejected, or a made
            set.
        tuning: lora trains adapters and leaves the model as it is; full trains every weight.
        rank: of LoRA's matrices.
        alpha: LoRA's scale, times 1 / rank.
        dropout: of what goes into LoRA's matrices, in training.
        pad: the piece that pads, where the tokenizer names none.
        columns: what the columns of prompts, chosen and rejected answers are called.
        chat: put plain prompts into the tokenizer's chat template.
        max_length: the most ids of a prompt with its answer.
        long: refuse data in which a prompt leaves no room for an answer, or drop such rows.
        epochs: passes over the pairs.
        batch: pairs a step.
        accumulate: batches whose gradients are averaged into one update.
        learning_rate: of AdamW; if not said 2e-4, as published for models of some billion weights, and 2e-3 for
            stories260k and tiny ones.
        clip: largest gradient norm.
        seed: of adapters, order and dropout.
        processes: how many train together.
    """

    model: str = "stories260k"
    data: "str | Source" = "secrets"
    tuning: Tuning = "lora"
    rank: int = 64
    alpha: float = 16.0
    dropout: float = 0.1
    pad: str | None = None
    columns: tuple[str, ...] = ("prompt", "chosen", "rejected")
    chat: bool = False
    max_length: int = 256
    long: Long = "refuse"
    epochs: int = 5
    batch: int = 8
    accumulate: int = 1
    learning_rate: float | None = None
    clip: float = 0.3
    seed: int = 0
    processes: int = 1

    @property
    def rate(self) -> float:
        """The learning rate, as said or by the model."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 2e-3 if self.model in (STORIES, *TINY) else 2e-4

    def language_model(self) -> CausalLM:
        """Return the model with new adapters."""
        return CausalLM(self.model, self.tuning, rank=self.rank, alpha=self.alpha, dropout=self.dropout, pad=self.pad)

    def wording(self, lm: CausalLM, revision: str = REVISION) -> Wording:
        """Return how texts are put into a model's ids, those that ask for a better answer by a template."""
        return Wording(lm.tokenizer, chat=self.chat, revision=revision)

    def pairs(self, wording: Wording, *, drafts: bool = False) -> tuple[Source, Source]:
        """Return (train, test) of pairs; of a file a share is held out, whole prompts.

        Raises:
            DataError: what cannot be read.
        """
        if isinstance(self.data, str) and self.data in MADE:
            return self.named(self.data, wording, drafts=drafts)
        whole = self.data if isinstance(self.data, Source) else self._read(self.data, wording, "train", drafts)
        return holdout(whole)

    def named(self, name: str, wording: Wording, *, drafts: bool = False) -> tuple[Source, Source]:
        """Return (train, test) of a made set."""
        return self._read(name, wording, "train", drafts), self._read(name, wording, "test", drafts)

    def _read(self, data: str, wording: Wording, part: Part, drafts: bool) -> Preferences:
        columns = ("prompt", "chosen", "rejected") if data in MADE else self.columns
        return Preferences(
            data, wording, columns=columns, max_length=self.max_length, drafts=drafts, long=self.long, part=part
        )

    def plan(self, count: int, epochs: int | None = None) -> Plan:
        """Return the plan for so many pairs; a batch is at most all of them.

        Raises:
            ConfigError: no epochs.
        """
        epochs = self.epochs if epochs is None else epochs
        if epochs < 1:
            raise ConfigError(f"epochs must be at least 1, not {epochs}")
        batch = min(self.batch, count)
        batch = max(batch - batch % self.processes, self.processes)
        return Plan(
            epochs=epochs,
            batch=batch,
            accumulate=self.accumulate,
            optimizer=AdamW(self.rate, weight_decay=1e-3),
            schedule=WarmupCosine(1e6, share=0.03),
            clip=self.clip,
            seed=self.seed,
            processes=self.processes,
        )

"""Causal language models of transformers as parts: a named base, and what is learnt on top of it.

With LoRA (Hu et al., 2021, by peft) the base's weights are named and not saved: a run's state is the adapters alone.
Sizes: `B` texts, `L` ids of the longest, `D` width of embeddings, `V` ids of the vocabulary.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, MissingExtra, nearest
from withstand.core.part import Part
from withstand.models.tokens.causal_base import network_named
from withstand.models.tokens.causal_tokenizer import CausalTokenizer

Tuning: TypeAlias = Literal["lora", "full", "frozen"]
"""What is trained: low-rank adapters of all linear layers but the output's, every weight, or none."""


class CausalLM(Part, nn.Module):
    """A causal language model, which gives logits of the next id at every place.

    Positions are counted by the mask, so that padding, on either side, changes nothing.

    Args:
        name: `stories260k`, `tiny:llama` and others to try, a folder that `save_pretrained` wrote, or a name of the
            Hugging Face Hub; see `causal_base`.
        tuning: "lora" trains adapters and leaves the base as it is; "full" trains every weight; "frozen" none.
        rank: of LoRA's matrices.
        alpha: LoRA's scale, times 1 / rank.
        dropout: of what goes into LoRA's matrices, in training.
        pad: the piece that pads, where the tokenizer names none.

    Attributes:
        network: transformers' model, inside peft's with LoRA.
        tokenizer: of the same name.
        width: D.
        vocabulary: V, of the output.
        context: the most ids of a text; None where the model sets no end.

    Raises:
        MissingExtra: transformers or peft is not installed.
        ConfigError: nothing has this name, no pad token, or settings out of range.
        DataError: a folder or a file that cannot be read.
    """

    def __init__(
        self,
        name: str,
        tuning: Tuning = "lora",
        *,
        rank: int = 64,
        alpha: float = 16.0,
        dropout: float = 0.0,
        pad: str | None = None,
    ) -> None:
        super().__init__()
        if tuning not in get_args(Tuning):
            raise ConfigError(f"tuning {tuning!r} is unknown: {nearest(str(tuning), get_args(Tuning))}")
        if rank < 1 or not alpha > 0 or not 0 <= dropout < 1:
            raise ConfigError(
                f"rank must be at least 1, alpha above 0 and dropout in [0, 1), not {rank}, {alpha} and {dropout}"
            )
        self.name, self.tuning = name, tuning
        self.tokenizer = CausalTokenizer(name, pad)
        base = network_named(name)
        takes = signature(base.forward).parameters
        self._takes_places, self._takes_cache = "position_ids" in takes, "cache" in takes
        self.width = int(base.get_input_embeddings().weight.shape[1])
        self.vocabulary = int(base.config.vocab_size)
        longest: Any = getattr(base.config, "max_position_embeddings", None)
        self.context = None if longest is None else int(longest)
        if len(self.tokenizer) > self.vocabulary:
            raise ConfigError(f"{name}'s tokenizer has {len(self.tokenizer)} ids, and its network {self.vocabulary}")
        if tuning == "lora":
            base = _with_lora(base, name, rank, alpha, dropout)
        else:
            base.requires_grad_(tuning == "full")
        self.network: nn.Module = base
        # By name, not by requires_grad, which attacks switch off for a while.
        kept = {key for key, weight in self.named_parameters(remove_duplicate=False) if weight.requires_grad}
        self._base = frozenset() if tuning == "full" else frozenset(nn.Module.state_dict(self).keys() - kept)

    @classmethod
    def example(cls) -> Self:
        return cls("tiny:llama", rank=2)

    def require_room(self, most: int) -> None:
        """Refuse texts of up to so many ids where they are more than the context.

        Raises:
            ConfigError: with both numbers.
        """
        if self.context is not None and most > self.context:
            raise ConfigError(
                f"texts have up to {most} ids, and {self.name} reads {self.context}: give max_length {self.context}"
            )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits `(B, L, V)` of ids, int64 `(B, L)`, of which `mask`, bool `(B, L)`, are a text's own.

        Raises:
            DataError: other shapes or types, or texts longer than the context.
        """
        if ids.dtype != torch.int64 or ids.dim() != 2 or mask.shape != ids.shape:
            raise DataError(
                f"texts are ids, int64 (B, L), and a mask (B, L), not {ids.dtype} {tuple(ids.shape)} and "
                f"{tuple(mask.shape)}"
            )
        return self._logits(mask, input_ids=ids)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings `(B, L, D)` of ids `(B, L)`, as `from_embeddings` reads them."""
        found: Tensor = self._embedding(ids)
        return found

    def from_embeddings(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Return logits `(B, L, V)` of embeddings `(B, L, D)`, of which `mask`, bool `(B, L)`, are a text's own.

        Raises:
            DataError: other shapes, or texts longer than the context.
        """
        if embeddings.dim() != 3 or embeddings.shape[2] != self.width or mask.shape != embeddings.shape[:2]:
            raise DataError(
                f"embeddings are (B, L, {self.width}) and their mask (B, L), not {tuple(embeddings.shape)} and "
                f"{tuple(mask.shape)}"
            )
        return self._logits(mask, inputs_embeds=embeddings)

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last layer's states `(B, L, D)` of ids `(B, L)`: what logits are made of.

        Raises:
            DataError: as `forward`.
        """
        found: Tensor = self._run(mask, input_ids=ids, output_hidden_states=True).hidden_states[-1]
        return found

    def _logits(self, mask: Tensor, **given: Tensor) -> Tensor:
        logits: Tensor = self._run(mask, **given).logits
        return logits

    def _run(self, mask: Tensor, **given: Tensor | bool) -> Any:
        own = mask.to(torch.int64)
        longest = int(own.sum(1).max()) if len(own) else 0
        if self.context is not None and longest > self.context:
            raise DataError(f"a text has {longest} ids, and {self.name} reads {self.context}")
        places = {"position_ids": (own.cumsum(1) - 1).clamp_min(0)} if self._takes_places else {}
        return self.network(**given, **places, attention_mask=own, use_cache=False)

    @property
    def _embedding(self) -> nn.Module:
        network: Any = self.network
        found: nn.Module = network.get_input_embeddings()
        return found

    @property
    def table(self) -> Tensor:
        """Every id's embedding `(V, D)`, as `embed` gives it, without gradients."""
        weight: Any = self._embedding.weight
        with torch.no_grad():
            return self.embed(torch.arange(len(weight), device=weight.device))

    def follow(self, ids: Tensor, mask: Tensor, known: Any = None) -> tuple[Tensor, Any]:
        """Return the logits of the id after the last one, `(B, V)`, and what is known of all ids up to here.

        Args:
            ids: those that are not known yet, int64 `(B, L)`: a text padded on the left, then one id a call.
            mask: of all ids from the first on, bool `(B, K)`.
            known: what the last call returned; None at the first.

        Raises:
            DataError: texts that are longer than the context.
        """
        own = mask.to(torch.int64)
        longest = int(own.sum(1).max())
        if self.context is not None and longest > self.context:
            raise DataError(f"a text has {longest} ids, and {self.name} reads {self.context}")
        places = (own.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        counted = {"position_ids": places} if self._takes_places else {}
        # transformers renamed it.
        known_ids = {"cache" if self._takes_cache else "past_key_values": known}
        given = self.network(input_ids=ids, attention_mask=own, use_cache=True, **known_ids, **counted)
        logits: Tensor = given.logits[:, -1]
        return logits, given.cache if self._takes_cache else given.past_key_values

    @contextmanager
    def without_adapters(self) -> Iterator[None]:
        """Be the base for a while: what a policy is compared with.

        Raises:
            ConfigError: the model has no adapters.
        """
        network: Any = self.network
        if self.tuning != "lora":
            raise ConfigError(f"a model of tuning {self.tuning!r} has no adapters to leave out: take 'lora'")
        with network.disable_adapter():
            yield

    def save_adapters(self, folder: Path) -> None:
        """Write the adapters as peft reads them: `PeftModel.from_pretrained(base, folder)`; with "full", the model.

        Raises:
            ConfigError: nothing is trained.
        """
        network: Any = self.network
        if self.tuning == "frozen":
            raise ConfigError("a frozen model has nothing to save: it is its name")
        network.save_pretrained(folder)
        self.tokenizer.tokenizer.save_pretrained(folder)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return what is trained: the base is read again by its name."""
        found = super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)
        for name in self._base:
            found.pop(prefix + name, None)
        return found

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        own: Mapping[str, Tensor] = nn.Module.state_dict(self)
        for name in self._base:
            state_dict.setdefault(prefix + name, own[name])
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _with_lora(base: nn.Module, name: str, rank: int, alpha: float, dropout: float) -> Any:
    """Return peft's wrapper, with adapters on all linear layers but the output's; everything else is frozen."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtra("tuning 'lora'", "peft", "text") from None
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM"
    )  # fmt: skip
    with warnings.catch_warnings():
        # peft asks transformers by a name that a later version drops.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        network = get_peft_model(base, config)
    network.peft_config["default"].base_model_name_or_path = name
    return network

"""Features of prompts by a causal language model: what probes and embeddings of a run read."""

from typing import Self

from torch import Tensor

from withstand.core.batch import as_structured
from withstand.core.errors import DataError
from withstand.core.roles import Model
from withstand.data.text.container import TextPrompts
from withstand.models.tokens.causal import CausalLM


class CausalFeatures(Model):
    """The mean of the last layer's states over each prompt's own ids, `(B, width)`.

    Args:
        language_model: whose states they are; its weights are shared.
    """

    language_model: CausalLM

    def __init__(self, language_model: CausalLM) -> None:
        super().__init__()
        self.language_model, self.width = language_model, language_model.width

    @classmethod
    def example(cls) -> Self:
        return cls(CausalLM.example())

    def forward(self, x: Tensor) -> Tensor:
        """Return features of prompts, `TextPrompts` or pairs of answers to them.

        Raises:
            DataError: other samples.
        """
        texts = as_structured(x)
        if not isinstance(texts, TextPrompts):
            raise DataError(f"this network reads prompts, TextPrompts, not a {type(x).__name__}")
        prompt = texts.prompt
        return prompt.mean(self.language_model.states(prompt.values, prompt.mask))

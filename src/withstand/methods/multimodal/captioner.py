"""Captioner: an encoder of pictures and a small causal decoder learn to answer prompts with captions.

paper: ClipCap: CLIP Prefix for Image Captioning (Mokady, Hertz, Bermano; 2021)
needs: pictures with captions, one view or none      modalities: pictures with texts
sizes: B pictures on this process
differences: both halves start from new weights and learn together, where the paper has CLIP's encoder and GPT-2. Words
    are tokens, learnt from the captions. Each picture is asked one of several prompts, so that the same answer can be
    asked for in other words.
"""

from collections.abc import Sequence
from typing import Self

import torch

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.outputs import Maker, Output
from withstand.core.random import Draws
from withstand.core.roles import Method, Model, Product, Source, Terms
from withstand.data.captions.source import CAPTIONS, CaptionedClasses
from withstand.data.captions.words import Vocabulary
from withstand.models.pictures.normalized import Normalized
from withstand.models.tokens.caption_decoder import CaptionDecoder, TinyCaptioner
from withstand.views.captions import CaptionViews

PROMPTS = (
    "what is this ?",
    "describe the photo",
    "what do you see ?",
    "what does the picture show ?",
    "tell me what is here",
    "say what this is",
    "what is in this photo ?",
    "caption this picture",
)
"""What is asked of a picture."""


class Captioner(Method):
    """Captions of pictures, word by word, each as the answer to a prompt.

    Args:
        encoder: of pictures.
        vocabulary: makes ids of captions and prompts.
        prompts: what is asked; one of them, drawn, for each picture of a step.
        width: of the decoder.
        layers: of the decoder.
        heads: of the decoder.
        prefix: tokens that stand for a picture.

    Raises:
        ConfigError: no prompts, or one with a word that the vocabulary does not have.
    """

    taught_by = "captions"

    fewest = 1

    def __init__(
        self,
        encoder: Model,
        vocabulary: Vocabulary,
        *,
        prompts: Sequence[str] = PROMPTS,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        prefix: int = 8,
    ) -> None:
        super().__init__()
        if isinstance(prompts, str) or not prompts:
            raise ConfigError(f"prompts must be one or more, in a list, not {prompts!r}")
        for prompt in prompts:
            vocabulary.require(prompt, "the prompt")
        self.encoder, self.vocabulary, self.prompts = encoder, vocabulary, tuple(prompts)
        size = len(vocabulary)
        self.decoder = CaptionDecoder(encoder.width, size, vocabulary.context, width, layers, heads, prefix)

    @classmethod
    def example(cls) -> Self:
        vocabulary = CaptionedClasses.example().vocabulary
        prompts = ("this photo", "what", "the picture")
        words = Vocabulary((*vocabulary.words, "what"), 16)
        return cls(Normalized.example(), words, prompts=prompts, width=8, layers=1, heads=2, prefix=2)

    def example_batch(self, rows: range = range(8)) -> Batch:
        batch = CaptionedClasses.example()[list(rows)]
        return Batch(batch.x, batch.index, batch.y, (batch.x,), {CAPTIONS: batch.extras[CAPTIONS]})

    def accept(self, source: Source, batch: int) -> None:
        if CAPTIONS not in source[[0]].extras:
            raise DataError("there are no captions: give a folder of pictures with a captions.csv")

    def step(self, batch: Batch) -> Terms:
        """Return the loss, nats a word with each caption counting alike, and the share of words told right."""
        captions = batch.extras.get(CAPTIONS)
        if captions is None:
            raise DataError("these pictures have no captions: give a folder of pictures with a captions.csv")
        said = CaptionViews.drawn(captions, batch.draws("caption"))
        said = said[:, : max(1, int((said != 0).sum(1).max()))]
        features = self.encoder(unit_range(batch.views[0] if batch.views else batch.x))
        asked = self._asked(batch.draws("prompt"))
        loss, right, counts = self.decoder.token_nll(self.decoder.read(features), asked, said)
        each = (loss * counts).sum(1) / counts.sum(1)
        share = (right & counts).sum(1) / counts.sum(1)
        return {"loss": each.mean(), "right": share.mean().detach(), "embeddings": features.detach()[None]}

    def products(self) -> dict[str, Product]:
        return {"encoder": self.encoder, "captioner": TinyCaptioner(self.encoder, self.decoder, self.vocabulary)}

    def maker(self) -> Maker | None:
        """Return what captions pictures."""
        return self._captions

    def _captions(self, batch: Batch, prompt: str = "") -> dict[str, Output]:
        """Return a caption of each picture.

        Args:
            prompt: what is asked of them; the first of the run's own if "".
        """
        asked = prompt or self.prompts[0]
        captioner = TinyCaptioner(self.encoder, self.decoder, self.vocabulary)
        captioner.require(asked, "prompt")
        said = captioner.say(unit_range(batch.x), [asked] * len(batch))
        return {"caption": Output(said, "columns")}

    def _asked(self, draws: Draws) -> torch.Tensor:
        """Return the ids of a prompt for each picture, drawn, `(B, P)`."""
        ids = self.vocabulary.ids(self.prompts).to(draws.device)
        return ids[draws.integers(0, len(self.prompts), 1)[:, 0]]

"""A small causal transformer that answers prompts about a picture.

The picture stands before the words as a prefix of a few tokens, which one linear map makes of an encoder's features, so
that any encoder will do (Mokady et al., ClipCap: CLIP Prefix for Image Captioning, 2021).
Sizes: `N` pictures, `B` texts, `P` words of the longest prompt, `L` of the longest answer, `K` tokens of the prefix,
`H` width, `V` ids of words.
"""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError, require_at_least
from withstand.core.part import Part
from withstand.core.roles import Model
from withstand.data.captions.words import PAD, UNKNOWN, Vocabulary
from withstand.models.pictures.normalized import Normalized
from withstand.models.tokens.picture_to_text import PictureToText, Scored
from withstand.models.tokens.text_tower import CausalBlock

END = PAD
"""The id that ends an answer: that of no word."""
IGNORED = -100


class CaptionDecoder(Part, nn.Module):
    """Words after a picture and a prompt.

    A row is the picture's prefix, a start, the prompt, a mark and the answer, without gaps; what pads it stands at its
    end, where no token looks.

    Args:
        features: width of the encoder's features.
        vocabulary: V, ids of words, those of no word and of an unknown one included.
        context: the most words of a prompt, and of an answer.
        width: H; a multiple of heads.
        layers: blocks.
        heads: of attention.
        prefix: K.
    """

    def __init__(
        self,
        features: int,
        vocabulary: int,
        context: int = 75,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        prefix: int = 8,
    ) -> None:
        super().__init__()
        sizes = {"features": features, "context": context, "layers": layers, "prefix": prefix, "heads": heads}
        require_at_least(1, **sizes)
        if vocabulary <= UNKNOWN + 1:
            raise ConfigError(f"vocabulary must be at least {UNKNOWN + 2}, not {vocabulary!r}")
        if width < 1 or width % heads:
            raise ConfigError(f"width must be a multiple of heads, not width={width}, heads={heads}")
        self.vocabulary, self.context, self.width, self.prefix = vocabulary, context, width, prefix
        self.into = nn.Linear(features, prefix * width)
        self.word = nn.Embedding(vocabulary + 2, width)  # the last two are the start and the mark before the answer
        self.places = nn.Parameter(torch.randn(prefix + 2 + 2 * context, width) * 0.01)
        self.blocks = nn.ModuleList(CausalBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, vocabulary)
        nn.init.normal_(self.word.weight, std=0.02)

    @classmethod
    def example(cls) -> Self:
        return cls(6, 9, 5, 8, 1, 2, 2)

    def read(self, features: Tensor) -> Tensor:
        """Return the prefix `(N, K, H)` of features `(N, D)`."""
        found: Tensor = self.into(features).view(len(features), self.prefix, self.width)
        return found

    def forward(self, prefix: Tensor, prompts: Tensor, answers: Tensor) -> Tensor:
        """Return logits `(B, L + 1, V)` of each answer's words and, behind its last one, of its end.

        No word has the id of the unknown one: its logit is minus infinity.

        Args:
            prefix: of the pictures, `(B, K, H)`.
            prompts: ids, int64 `(B, P)`, 0 after a prompt's end.
            answers: ids, int64 `(B, L)`, 0 after an answer's end; L may be 0.
        """
        longest = max(prompts.shape[1], answers.shape[1])
        if longest > self.context:
            raise DataError(f"a text has {longest} words, and this decoder reads {self.context}")
        start, mark = (prompts.new_full((len(prompts), 1), self.vocabulary + place) for place in (0, 1))
        row = torch.cat([start, prompts, mark, answers], 1)
        row = row.gather(1, (row == PAD).long().argsort(dim=1, stable=True))
        tokens = torch.cat([prefix, self.word(row)], 1)
        tokens = tokens + self.places[: tokens.shape[1]]
        for block in self.blocks:
            tokens = block(tokens)
        first = self.prefix + 1 + (prompts != PAD).sum(1, keepdim=True)
        wanted = first + torch.arange(answers.shape[1] + 1, device=row.device)
        wanted = wanted.clamp_max(tokens.shape[1] - 1)
        told = tokens.gather(1, wanted[..., None].expand(-1, -1, self.width))
        logits: Tensor = self.out(self.norm(told))
        unknown = torch.arange(self.vocabulary, device=row.device) == UNKNOWN
        return logits.masked_fill(unknown, -torch.inf)

    def token_nll(self, prefix: Tensor, prompts: Tensor, answers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return each token's loss, whether it is the likeliest one, and whether it counts, all `(B, L + 1)`.

        Unknown words do not count, nor does what pads an answer; the end of an answer does.
        """
        logits = self(prefix, prompts, answers)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        labels = F.pad(answers, (0, 1), value=END)
        places = torch.arange(labels.shape[1], device=labels.device)
        counts = (places <= (answers != PAD).sum(1, keepdim=True)) & (labels != UNKNOWN)
        held = labels.masked_fill(~counts, IGNORED)
        loss = F.cross_entropy(logits.transpose(1, 2), held, ignore_index=IGNORED, reduction="none")
        return loss, logits.argmax(2) == labels, counts

    @torch.no_grad()
    def greedy(self, prefix: Tensor, prompts: Tensor) -> Tensor:
        """Return the likeliest words one after the other, int64 `(B, L)`, 0 after an answer's end."""
        said = prompts.new_zeros(len(prompts), 0)
        open_ = torch.ones(len(prompts), dtype=torch.bool, device=prompts.device)
        while said.shape[1] < self.context and bool(open_.any()):
            # A row that has ended is padded from there on, so its last place speaks of a longer row's padding.
            word = self(prefix, prompts, said)[:, -1].argmax(1)
            word = torch.where(open_, word, END)
            said = torch.cat([said, word[:, None]], 1)
            open_ = open_ & (word != END)
        return said


class TinyCaptioner(Part, PictureToText):
    """An encoder of pictures and a decoder of words, as one network.

    Args:
        encoder: of pictures in [0, 1].
        decoder: of its features' width and the vocabulary's size.
        vocabulary: makes ids of texts.

    Raises:
        ConfigError: a decoder of another vocabulary.
    """

    def __init__(self, encoder: Model, decoder: CaptionDecoder, vocabulary: Vocabulary) -> None:
        super().__init__()
        if decoder.vocabulary != len(vocabulary) or decoder.context < vocabulary.context:
            raise ConfigError(
                f"the decoder knows {decoder.vocabulary} ids and {decoder.context} words, the vocabulary has "
                f"{len(vocabulary)} and {vocabulary.context}"
            )
        self.encoder, self.decoder, self.vocabulary = encoder, decoder, vocabulary

    @classmethod
    def example(cls) -> Self:
        encoder, vocabulary = Normalized.example(), Vocabulary.example()
        return cls(encoder, CaptionDecoder(encoder.width, len(vocabulary), vocabulary.context, 8, 1, 2, 2), vocabulary)

    def read(self, images: Tensor) -> Tensor:
        return self.decoder.read(self.encoder(images))

    def score(self, seen: Tensor, prompts: Sequence[str], targets: Sequence[str], rows: Tensor | None = None) -> Scored:
        seen = seen if rows is None else seen[rows]
        loss, likeliest, counts = self.decoder.token_nll(seen, self._ids(prompts, seen), self._ids(targets, seen))
        return Scored((loss * counts).sum(1), (likeliest | ~counts).all(1), counts.sum(1))

    def write(self, seen: Tensor, prompts: Sequence[str]) -> list[str]:
        return self.vocabulary.texts(self.decoder.greedy(seen, self._ids(prompts, seen)))

    def require(self, text: str, what: str) -> None:
        self.vocabulary.require(text, what)

    def _ids(self, texts: Sequence[str], like: Tensor) -> Tensor:
        """Return ids of texts; equal ones, as all pictures' target, are looked up once."""
        unique = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(unique)}
        rows = torch.tensor([place[text] for text in texts], dtype=torch.int64)
        return self.vocabulary.ids(unique)[rows].to(like.device)

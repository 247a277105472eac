"""Any Hugging Face vision-language model as a network that answers prompts about pictures.

It takes models that read one picture as one array of pixels: those with placeholders for a picture's tokens (LLaVA and
its kin) and those whose text decoder sees the picture otherwise (GIT, BLIP). Pictures are read once for all texts where
placeholders allow it. Models that cut pictures into tiles, and such whose answers' tokens see later ones, are refused.
Sizes: `N` pictures, `B` texts, `T` tokens of the longest.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.errors import ConfigError, MissingExtra
from withstand.core.random import isolated
from withstand.core.victims.victim import Victim
from withstand.models.pictures.processor import Rounding, own_values, preparation
from withstand.models.tokens.causal_base import quiet
from withstand.models.tokens.picture_to_text import PictureToText, Scored

_KNOWN_KEYS = {"input_ids", "attention_mask", "pixel_values", "token_type_ids", "mm_token_type_ids"}
_SAME = 1e-3
"""Logits of two ways may differ by this share of their range: rounding in half precision."""


class HuggingFaceVision(PictureToText):
    """A model and its processor.

    A prompt is put into the processor's chat template, where it has one, with the picture before it. The answer follows
    at once: `before` stands before every target, a space for tokenizers whose words begin with one.

    Args:
        model: a model that gives `logits` for `input_ids`, `attention_mask` and `pixel_values`.
        processor: its processor, with an `image_processor` and a `tokenizer`.
        shape: of the pictures, (C, H, W).
        rounding: what to do about a processor that rounds: see `models.pictures.processor`.
        template: what is asked, with {prompt} for the prompt and the processor's own sign for the picture; the chat
            template if None, or else that sign, where there is one, and the prompt.
        before: what stands between question and answer.
        longest: tokens after which an answer is cut.

    Raises:
        ConfigError: a processor that rounds or cannot be followed, by name; a model that is not known here.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        shape: tuple[int, ...],
        *,
        rounding: Rounding = "refuse",
        template: str | None = None,
        before: str = "",
        longest: int = 24,
    ) -> None:
        super().__init__()
        for part in ("image_processor", "tokenizer"):
            if getattr(processor, part, None) is None:
                raise ConfigError(f"{type(processor).__name__} has no {part}: give the model's own processor")
        if template is not None and "{prompt}" not in template:
            raise ConfigError(f"template must hold {{prompt}}, not {template!r}")
        if longest < 1:
            raise ConfigError(f"longest must be at least 1, not {longest!r}")
        self.model, self.processor, self.shape = model, processor, tuple(shape)
        self.template, self.before, self.longest = template, before, longest
        self.tokenizer = processor.tokenizer
        self.prepare = preparation(processor.image_processor, self.shape, rounding)
        self._asked: dict[str, list[int]] = {}
        config: Any = getattr(model, "config", None)
        token = getattr(config, "image_token_id", None)
        self.image_token: int | None = getattr(config, "image_token_index", None) if token is None else token
        self.ends = self._end_tokens()
        self.once = False
        self._try()
        self.notes = tuple(self._notes())

    @classmethod
    def load(
        cls,
        name: str,
        shape: tuple[int, ...],
        *,
        revision: str | None = None,
        rounding: Rounding = "refuse",
        template: str | None = None,
        before: str = "",
        longest: int = 24,
    ) -> Self:
        """Return a model from a folder, or by its name from the hub; the extra `text` is needed.

        Args:
            name: folder or name.
            shape: of the pictures, (C, H, W).
            revision: which version of the hub's.
            rounding, template, before, longest: as for the class.

        Raises:
            MissingExtra: transformers is not installed.
            ConfigError: what cannot be opened.
        """
        model, processor = opened(name, revision=revision)
        return cls(model, processor, shape, rounding=rounding, template=template, before=before, longest=longest)

    def read(self, images: Tensor) -> Tensor:
        """Return the pixel values of pictures, in the model's precision; they are encoded once in each `score`.

        Where the processor rounds, and no gradient is asked for, they are its own, of the pictures as bytes.

        Raises:
            ConfigError: pictures of another shape.
        """
        if tuple(images.shape[1:]) != self.shape:
            raise ConfigError(f"this network was made for pictures {self.shape}, not {tuple(images.shape[1:])}")
        if self.prepare.rounds and not (torch.is_grad_enabled() and images.requires_grad):
            values = own_values(self.processor.image_processor, images).to(images.device)
        else:
            values = self.prepare(images)
        return values.to(next(self.model.parameters()).dtype)

    def score(self, seen: Tensor, prompts: Sequence[str], targets: Sequence[str], rows: Tensor | None = None) -> Scored:
        rows = torch.arange(len(seen), device=seen.device) if rows is None else rows
        asked = [self._prompt(prompt) for prompt in prompts]
        said = {text: [*self._target(text), self.ends[0]] for text in dict.fromkeys(targets)}
        ids, mask = _padded([[*one, *said[text]] for one, text in zip(asked, targets, strict=True)], seen.device)
        first = torch.tensor([len(one) for one in asked], device=seen.device)
        counts = torch.tensor([len(said[text]) for text in targets], device=seen.device)
        logits = self._logits(seen, rows, ids, mask)
        # The token at place t is told by the logits of place t - 1.
        places = first[:, None] + torch.arange(int(counts.max()), device=seen.device)
        valid = places < (first + counts)[:, None]
        places = places.clamp_max(ids.shape[1] - 1)
        labels = ids.gather(1, places)
        told = logits.gather(1, (places - 1)[..., None].expand(-1, -1, logits.shape[2]))
        told = told.to(torch.promote_types(told.dtype, torch.float32))
        loss = F.cross_entropy(told.transpose(1, 2), labels, reduction="none")
        exact = ((told.argmax(2) == labels) | ~valid).all(1)
        return Scored(torch.where(valid, loss, 0).sum(1), exact, counts)

    @torch.no_grad()
    def write(self, seen: Tensor, prompts: Sequence[str]) -> list[str]:
        answers = [""] * len(prompts)
        for prompt in dict.fromkeys(prompts):
            some = [place for place, one in enumerate(prompts) if one == prompt]
            for place, said in zip(some, self.greedy(seen[some], self._prompt(prompt)), strict=True):
                answers[place] = str(self.tokenizer.decode(said, skip_special_tokens=True))
        return answers

    def require(self, text: str, what: str) -> None:
        """Refuse a text with tokens that the tokenizer does not know, or that it reads as another text."""
        words = text.split()
        if not words:
            raise ConfigError(f"{what} {text!r} holds no word")
        unknown = self.tokenizer.unk_token_id
        for word in words:
            if unknown is not None and unknown in self._ids(word):
                raise ConfigError(f"{what} {text!r} has the word {word!r}, which the tokenizer does not know")
        count = len(self._target(text))
        if count > self.longest:
            raise ConfigError(f"{what} {text!r} has {count} tokens, and answers are cut after {self.longest}")
        back = self.tokenizer.decode(self._target(text), skip_special_tokens=True)
        plain = ["".join(filter(str.isalnum, one)).casefold() for one in (back, text)]
        if plain[0] != plain[1]:
            raise ConfigError(f"{what} {text!r} is read by the tokenizer as {back!r}")

    def greedy(self, seen: Tensor, prompt: Sequence[int]) -> list[list[int]]:
        """Return the tokens of greedy answers to one prompt, without those that end them.

        Args:
            seen: what was read of pictures, `(N, ...)`.
            prompt: its tokens, the picture's placeholders among them.
        """
        ids = torch.tensor([list(prompt)] * len(seen), device=seen.device)
        rows = torch.arange(len(seen), device=seen.device)
        ends = torch.tensor(self.ends, device=seen.device)
        open_ = torch.ones(len(seen), dtype=torch.bool, device=seen.device)
        while ids.shape[1] < len(prompt) + self.longest and bool(open_.any()):
            token = self._logits(seen, rows, ids, torch.ones_like(ids))[:, -1].argmax(1)
            token = torch.where(open_, token, ends[0])
            ids = torch.cat([ids, token[:, None]], 1)
            open_ = open_ & ~torch.isin(token, ends)
        said = ids[:, len(prompt) :].tolist()
        return [list(takewhile(lambda token: token not in self.ends, row)) for row in said]

    def _logits(self, seen: Tensor, rows: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits `(B, T, V)` of texts about pictures `rows`; a picture's placeholder is never said."""
        network: Any = self.model
        if self.once and self.image_token is not None:
            features = self._features(seen)[rows].flatten(0, 1)
            embedded = network.get_input_embeddings()(ids)
            holds = torch.eq(ids, self.image_token)[..., None]
            embedded = embedded.masked_scatter(holds, features.to(embedded.dtype))
            logits: Tensor = network(inputs_embeds=embedded, attention_mask=mask, use_cache=False).logits
        else:
            logits = network(input_ids=ids, attention_mask=mask, pixel_values=seen[rows]).logits
        logits = logits[:, -ids.shape[1] :]  # some give logits of the picture's tokens too, before
        if self.image_token is None:
            return logits
        return logits.index_fill(2, torch.tensor([self.image_token], device=logits.device), -torch.inf)

    def _features(self, seen: Tensor) -> Tensor:
        """Return what stands in place of the picture's placeholders, `(N, K, H)`."""
        network: Any = self.model
        given = network.get_image_features(pixel_values=seen)
        given = getattr(given, "pooler_output", given)
        return given if isinstance(given, Tensor) else torch.stack(list(given))

    def _prompt(self, prompt: str) -> list[int]:
        """Return the ids of a prompt with the picture's placeholders, without the end that some tokenizers put."""
        if prompt not in self._asked:
            text, name = self._text(prompt), type(self.processor).__name__
            try:
                given = self.processor(text=[text], images=[self._blank()], return_tensors="pt")
            except (ValueError, TypeError, KeyError, RuntimeError) as error:
                line = " ".join(str(error).split())[:200]
                raise ConfigError(f"{name} does not take the prompt {text!r} with a picture: {line}") from error
            strange = set(given.keys()) - _KNOWN_KEYS
            if strange:
                raise ConfigError(
                    f"{name} gives {', '.join(sorted(strange))} beside pixels and tokens: "
                    "networks that read more of a picture are not known here"
                )
            ids: list[int] = given["input_ids"][0].tolist()
            closing = {*self.ends, getattr(self.tokenizer, "sep_token_id", None)}
            while len(ids) > 1 and ids[-1] in closing:
                ids.pop()
            self._asked[prompt] = ids
        return self._asked[prompt]

    def _text(self, prompt: str) -> str:
        """Return a prompt as the model is asked it."""
        if self.template is not None:
            return self.template.replace("{prompt}", prompt)
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": prompt}]
            turn = [{"role": "user", "content": content}]
            return str(self.processor.apply_chat_template(turn, add_generation_prompt=True))
        sign = getattr(self.processor, "image_token", None) if self.image_token is not None else None
        return prompt if sign is None else f"{sign} {prompt}"

    def _blank(self) -> Any:
        from PIL import Image

        return Image.new("RGB", (self.shape[2], self.shape[1]))

    def _target(self, text: str) -> list[int]:
        return self._ids(self.before + text)

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def _end_tokens(self) -> list[int]:
        generation = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        own = generation if isinstance(generation, list) else [generation]
        names = (self.tokenizer.eos_token_id, getattr(self.tokenizer, "sep_token_id", None))
        found = [token for token in (*own, *names) if token is not None]
        if not found:
            raise ConfigError(f"{type(self.tokenizer).__name__} has no token that ends an answer")
        return list(dict.fromkeys(found))

    @torch.no_grad()
    def _try(self) -> None:
        """Find out how the model is spoken to, on a grey picture, and refuse one that is not known here."""
        name = type(self.model).__name__
        device = next(self.model.parameters()).device
        with Victim(self.model).held():
            grey = torch.full((2, *self.shape), 0.5, device=device)
            grey[1, :, : self.shape[1] // 2] = 0.1
            seen, rows = self.read(grey), torch.tensor([0, 1], device=device)
            lasts = (self.ends[0], 1 if self.ends[0] == 0 else 0)
            ids, mask = _padded([[*self._prompt(""), self.ends[0], last] for last in lasts], device)
            try:
                plain = self._logits(seen, rows, ids, mask)
            except Exception as error:
                line = " ".join(str(error).split())[:200]
                raise ConfigError(f"{name} does not take token ids with pixel values alone: {line}") from error
            if plain.shape[:2] != ids.shape:
                raise ConfigError(f"{name} gives logits {tuple(plain.shape)} for {tuple(ids.shape)} tokens")
            changed = self._logits(seen, rows, torch.cat([ids[:, :-1], ids[:, -1:].flip(0)], 1), mask)
            if not _alike(plain[:, :-1], changed[:, :-1]):
                raise ConfigError(f"{name} looks ahead: what it says of a token hangs on later ones")
            if self.image_token is not None and hasattr(self.model, "get_image_features"):
                self.once = True
                try:
                    self.once = _alike(plain, self._logits(seen, rows, ids, mask))
                except Exception:  # the plain way stands, and the notes say so
                    self.once = False

    def _notes(self) -> list[str]:
        name = type(self.processor.image_processor).__name__
        found = []
        if self.prepare.rounds:
            found.append(
                f"{name} rounds resized pictures to bytes: attacks go straight through that (BPDA), and answers are to "
                "its own pixels"
            )
        if not self.once:
            found.append(f"{type(self.model).__name__} encodes a picture anew for each prompt: this costs time alone")
        return found


def opened(name: str, *, revision: str | None = None) -> tuple[Any, Any]:
    """Return a vision-language model and its processor from a folder, or by their name from the hub.

    Raises:
        MissingExtra: transformers is not installed.
        ConfigError: what cannot be opened.
    """
    try:
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError:
        raise MissingExtra(f"the model {name!r}", "transformers", "text") from None
    try:
        with quiet(), isolated(name):
            processor = AutoProcessor.from_pretrained(name, revision=revision)
            model = AutoModelForImageTextToText.from_pretrained(name, revision=revision)
    except Exception as error:  # what lies in a folder, or on the hub, fails in many ways
        # transformers goes on with a list of all that it knows.
        line = " ".join(str(error).split()).partition(" Model type should be ")[0][:300]
        raise ConfigError(f"{name!r} cannot be opened as a vision-language model: {line}") from error
    return model.eval(), processor


def _alike(one: Tensor, other: Tensor) -> bool:
    """Return whether finite logits are the same to rounding."""
    one, other = (torch.where(some.isfinite(), some, 0).float() for some in (one, other))
    return float((one - other).abs().max()) <= _SAME * max(1e-3, float(one.abs().max()))


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids `(B, T)` with 0 after a row's end, and the mask of what is there."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    return ids, mask

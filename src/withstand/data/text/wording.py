"""How a prompt, an answer and a draft are put into words for a language model, and these into ids.

An answer's ids are what the ids of prompt and answer together have beyond the prompt's. So a network reads in training
what it reads when it answers, wherever a tokenizer would join pieces across the boundary.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Self

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.part import Part
from withstand.data.text.said import Said, with_words
from withstand.models.tokens.causal_tokenizer import CausalTokenizer

REVISION = "{prompt}\n\nHere is a draft answer:\n{draft}\n\nWrite a better answer:"
"""What asks for a better answer; the paper's own words are not published."""
REQUEST = "Write a better answer."
"""The user's turn that asks for one in a conversation."""
_WRITTEN_ON = (" x", "!")
"""Two ends that no prompt has both of: what prompts with these share at their end is not the user's."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to a prompt, or one that improves a draft.

    Attributes:
        said: the prompt.
        answer: its words.
        draft: what it improves; None for an answer to the prompt alone.
    """

    said: Said
    answer: str
    draft: str | None = None


@dataclass(frozen=True, slots=True)
class _Text:
    """A text for the tokenizer, which puts its start token before plain ones; chat templates hold theirs."""

    text: str
    plain: bool


class BoundaryError(DataError):
    """A prompt and an answer that ids do not tell apart.

    Args:
        place: which one of those that were given, from 0.
        why: in words.
    """

    def __init__(self, place: int, why: str) -> None:
        super().__init__(why)
        self.place = place


class Wording(Part):
    """Puts prompts, drafts and answers into a model's words.

    A plain prompt is put into a template, and its answer follows as it stands: a space between them belongs to the one
    or the other. A conversation is put into the tokenizer's own chat template; a draft is then the assistant's turn,
    and the request for a better one the user's next.

    Args:
        tokenizer: of the model.
        prompt: the template of plain prompts, with {prompt}.
        revision: that of plain prompts with a draft, with {prompt} and {draft}.
        chat: put plain prompts as a user's turn into the chat template too.
        request: the user's turn that asks for a better answer, in conversations.

    Raises:
        ConfigError: a template without what it must hold, or with anything else; a chat template that there is not.
    """

    def __init__(
        self,
        tokenizer: CausalTokenizer,
        *,
        prompt: str = "{prompt}",
        revision: str = REVISION,
        chat: bool = False,
        request: str = REQUEST,
    ) -> None:
        _check_template("prompt", prompt, ("prompt",))
        _check_template("revision", revision, ("prompt", "draft"))
        if not request.strip():
            raise ConfigError("request must have words: it asks for a better answer")
        if chat:
            _check_chat(tokenizer)
        self.tokenizer, self.prompt, self.revision, self.chat, self.request = tokenizer, prompt, revision, chat, request

    @classmethod
    def example(cls) -> Self:
        return cls(CausalTokenizer.example())

    def contexts(self, asked: Sequence[tuple[Said, str | None]]) -> list[list[int]]:
        """Return the ids of everything before an answer.

        Args:
            asked: prompts, each with a draft that is to be improved, or None where the prompt is to be answered.

        Raises:
            DataError: a prompt has no ids, or is a conversation for which the tokenizer has no template.
        """
        return self._ids([self._text(said, draft) for said, draft in asked])

    def parted(self, said: Said) -> tuple[list[int], list[int]]:
        """Return the ids of a prompt up to where its user's words end, and of what a template puts behind them.

        Found by writing on: what stays at the end is the template's, as the sign of the assistant's turn.

        Raises:
            DataError: as `contexts`, and a conversation in which no user says anything.
        """
        more = [with_words(said, after=words) for words in _WRITTEN_ON]
        whole, *longer = self.contexts([(one, None) for one in (said, *more)])
        kept = min(sum(1 for _ in takewhile(_alike, zip(whole[::-1], one[::-1], strict=False))) for one in longer)
        return whole[: len(whole) - kept], whole[len(whole) - kept :]

    def answers(self, told: Sequence[Answered]) -> list[tuple[list[int], list[int]]]:
        """Return the ids of everything before each answer, and of the answer with its end.

        Raises:
            DataError: the tokenizer joins pieces across the boundary, or what `contexts` refuses; which is said by
                the place in `told`.
        """
        before = [self._text(one.said, one.draft) for one in told]
        whole = [self._whole(one, text) for one, text in zip(told, before, strict=True)]
        found = self._ids([*before, *whole])
        end = [] if self.tokenizer.end_id is None else [self.tokenizer.end_id]
        rows = []
        for place, one in enumerate(told):
            first, both = found[place], found[len(told) + place]
            if both[: len(first)] != first or len(both) == len(first):
                raise BoundaryError(
                    place,
                    f"the tokenizer joins the end of {_shown(before[place].text[-30:])} with the start of "
                    f"{_shown(one.answer[:30])}: a space between them belongs to the start of the answer",
                )
            rows.append((first, both[len(first) :] + (end if before[place].plain else [])))
        return rows

    def _ids(self, texts: Sequence["_Text"]) -> list[list[int]]:
        """Return the ids of texts, each different one read once."""
        known: dict[_Text, list[int]] = {}
        for plain in (True, False):
            some = list(dict.fromkeys(text for text in texts if text.plain is plain))
            ids = self.tokenizer.encode_all([text.text for text in some], start=plain)
            known |= dict(zip(some, ids, strict=True))
        for place, text in enumerate(texts):
            if not known[text]:
                raise BoundaryError(place, "a prompt is empty, and this tokenizer puts no start token before it")
        return [known[text] for text in texts]

    def _whole(self, one: Answered, before: "_Text") -> "_Text":
        if before.plain:
            return _Text(before.text + one.answer, plain=True)
        turns = [*self._turns(one.said, one.draft), {"role": "assistant", "content": one.answer}]
        return _Text(self._chat(turns, ask=False), plain=False)

    def _text(self, said: Said, draft: str | None) -> "_Text":
        """Return what stands before an answer."""
        if isinstance(said, str) and not self.chat:
            if draft is None:
                return _Text(_filled(self.prompt, {"prompt": said}), plain=True)
            # Tokenizers drop spaces at a text's ends, so drafts come without them here and when they are generated.
            return _Text(_filled(self.revision, {"prompt": said, "draft": draft.strip()}), plain=True)
        return _Text(self._chat(self._turns(said, draft), ask=True), plain=False)

    def _turns(self, said: Said, draft: str | None) -> list[dict[str, str]]:
        turns = [("user", said)] if isinstance(said, str) else list(said)
        if draft is not None:
            turns += [("assistant", draft.strip()), ("user", self.request)]
        return [{"role": role, "content": words} for role, words in turns]

    def _chat(self, turns: list[dict[str, str]], *, ask: bool) -> str:
        _check_chat(self.tokenizer)
        try:
            text: str = self.tokenizer.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask)
        except Exception as error:  # a template is a program of the model's makers, which refuses in its own ways
            why = " ".join(str(error).split())[:200]
            raise DataError(f"{self.tokenizer.name}'s chat template refuses a conversation: {why}") from error
        return text


def _alike(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def _check_chat(tokenizer: CausalTokenizer) -> None:
    own: Any = tokenizer.tokenizer
    if not getattr(own, "chat_template", None):
        raise ConfigError(
            f"{tokenizer.name} has no chat template: give prompts in words, or a model that is made for conversations"
        )


def _check_template(name: str, template: str, needed: tuple[str, ...]) -> None:
    held = re.findall(r"\{(\w*)\}", template)
    for one in needed:
        if one not in held:
            raise ConfigError(f"the template {name} must hold {{{one}}}, and {_shown(template)} does not")
    for one in held:
        if one not in needed:
            raise ConfigError(f"the template {name} holds {{{one}}}, which is nothing: {nearest(one, needed)}")
    if held.count("draft") > 1 or held.count("prompt") > 1:
        raise ConfigError(f"the template {name} must hold each of {', '.join(needed)} once")


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with its fields; unlike `str.format`, braces in the values and elsewhere stay."""
    return re.sub(r"\{(\w+)\}", lambda field: values[field[1]], template)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")

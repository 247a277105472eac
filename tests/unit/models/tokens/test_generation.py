"""Text that is generated: as one pass after another gives it, alike in any company, up to its end."""

from typing import Any

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.sequences import Sequences
from withstand.data.text.wording import Wording
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.generation import answers, generate

KINDS = ["llama", "gemma", "mistral", "phi"]


@pytest.fixture(params=KINDS)
def lm(request: pytest.FixtureRequest) -> CausalLM:
    return CausalLM(f"tiny:{request.param}", "frozen").eval()


def prompts(lengths: tuple[int, ...] = (2, 7, 4)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(4, 260, (length,), generator=generator) for length in lengths]


def slow(lm: CausalLM, prompt: torch.Tensor, most: int) -> list[int]:
    """Return the likeliest ids, each by a pass over all before it."""
    ids = prompt[None]
    for _ in range(most):
        logits = lm(ids, torch.ones_like(ids, dtype=torch.bool))[:, -1]
        if int(logits.argmax()) == lm.tokenizer.end_id:
            break
        ids = torch.cat([ids, logits.argmax(1)[:, None]], 1)
    return ids[0, len(prompt) :].tolist()


def test_the_likeliest_ids_are_those_of_whole_passes(lm: CausalLM) -> None:
    rows = prompts()
    with torch.no_grad():
        found = generate(lm, Sequences.padded(rows), most=6)
        assert found == [slow(lm, row, 6) for row in rows]


def test_drawn_ids_do_not_hang_on_the_company(lm: CausalLM) -> None:
    rows, draws = prompts(), Draws(3, torch.tensor([5, 9, 2]))
    with torch.no_grad():
        together = generate(lm, Sequences.padded(rows), most=5, temperature=1.5, draws=draws)
        for place, row in enumerate(rows):
            alone = Draws(3, torch.tensor([[5, 9, 2][place]]))
            assert generate(lm, Sequences.padded([row]), most=5, temperature=1.5, draws=alone) == [together[place]]
        other = generate(lm, Sequences.padded(rows), most=5, temperature=1.5, draws=Draws(4, torch.tensor([5, 9, 2])))
    assert other != together


class _Fixed(CausalLM):
    """Says what it is told to, whatever it reads."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__("tiny:llama", "frozen")
        self.fixed = torch.tensor(logits + [-100.0] * (self.vocabulary - len(logits)))
        self.masks: list[torch.Tensor] = []

    def follow(self, ids: torch.Tensor, mask: torch.Tensor, known: Any = None) -> tuple[torch.Tensor, Any]:
        self.masks.append(mask)
        return self.fixed.expand(len(ids), -1), None


def test_ids_are_drawn_by_their_chances() -> None:
    lm = _Fixed([-100, -100, -100, 0, 1, 2])
    count = 4000
    one = Sequences.whole(torch.full((count, 1), 7))
    drawn = torch.tensor(generate(lm, one, most=1, temperature=2.0, draws=Draws(0, torch.arange(count)))).flatten()
    wanted = (torch.tensor([0.0, 1, 2]) / 2).softmax(0)
    found = torch.bincount(drawn, minlength=6)[3:] / count
    assert (found - wanted).abs().max() < 0.03


def test_the_end_is_left_out_and_stops_an_answer() -> None:
    lm = _Fixed([0.0])
    lm.fixed[2] = 5
    assert generate(lm, Sequences.padded(prompts()), most=4) == [[], [], []]
    assert len(lm.masks) == 1
    lm.fixed[2], lm.fixed[9] = -5, 5
    assert generate(lm, Sequences.padded(prompts()), most=2) == [[9, 9]] * 3


def test_answers_end_where_the_context_does(lm: CausalLM) -> None:
    assert lm.context == 256
    short, long = torch.full((3,), 5), torch.full((254,), 5)
    with torch.no_grad():
        found = generate(lm, Sequences.padded([short, long]), most=4)
        assert len(found[1]) <= 2
        with pytest.raises(DataError, match="no room"):
            generate(lm, Sequences.padded([torch.full((256,), 5)]), most=4)


def test_revisions_read_the_last_answer() -> None:
    lm, wording = CausalLM("tiny:llama", "frozen").eval(), Wording.example()
    with torch.no_grad():
        found = answers(lm, wording, ["why?", "who is it?"], revisions=2, most=3)
        assert [len(some) for some in found] == [2, 2, 2]
        rows = wording.contexts([("who is it?", found[1][1])])
        again = generate(lm, Sequences.padded([torch.tensor(rows[0])]), most=3)
    assert lm.tokenizer.decode(again[0]).strip() == found[2][1]


def test_an_answer_that_fills_the_context_stands_and_the_others_are_revised() -> None:
    lm = CausalLM("tiny:llama", "frozen").eval()
    wording = Wording.example()
    long, short = "why " * 45, "why?"
    room = 256 - len(wording.contexts([(long, "")])[0])
    assert 0 < room < 40
    draws = Draws(0, torch.tensor([4, 7]))
    with torch.no_grad():
        found = answers(lm, wording, [long, short], revisions=1, most=60, temperature=1.0, draws=draws)
        alone = answers(lm, wording, [short], revisions=1, most=60, temperature=1.0, draws=Draws(0, torch.tensor([7])))
        assert len(lm.tokenizer.encode(found[0][0])) > room
        assert found[1][0] == found[0][0]
        assert found[1][1] != found[0][1]
        assert [some[1:] for some in found] == alone
        with pytest.raises(DataError, match="no room"):
            answers(lm, wording, ["why " * 80], most=4)


def test_bad_settings_are_refused() -> None:
    lm, rows = CausalLM("tiny:llama", "frozen"), Sequences.padded(prompts())
    for settings, message in (
        ({"most": 0}, "1 id or more"),
        ({"most": 3, "temperature": -1.0}, "at least 0"),
        ({"most": 3, "temperature": 1.0}, "give draws"),
    ):
        arguments: dict[str, Any] = settings
        with pytest.raises(ConfigError, match=message):
            generate(lm, rows, **arguments)
    with pytest.raises(ConfigError, match="revisions must be at least 0"):
        answers(lm, Wording.example(), ["a"], revisions=-1)

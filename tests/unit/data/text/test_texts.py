"""Texts: what files hold, how prompts and drafts become ids, what is cut, and what is refused in one clear line."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.sequences import Sequences
from withstand.data.text.answers import Answers
from withstand.data.text.container import TextPairs, TextPrompts, behind, left_padded, stacked
from withstand.data.text.files import TextColumns, pairs_of, prompts_of, read_rows, unread_in
from withstand.data.text.made import story_rows, story_score
from withstand.data.text.said import from_ids, to_ids, with_words
from withstand.data.text.source import EXAMPLE, Preferences, Prompts
from withstand.data.text.wording import Answered, Wording
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.causal_tokenizer import CausalTokenizer

CHAT = (
    "{% for turn in messages %}[{{ turn['role'] }}]{{ turn['content'] }}[/]{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> CausalTokenizer:
    return CausalTokenizer.example()


@pytest.fixture
def chatty() -> CausalTokenizer:
    made = CausalTokenizer.example()
    made.tokenizer.chat_template = CHAT
    return made


def written(path: Path, rows: Any) -> Path:
    """Write rows in the format that the ending names."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[0].keys())
            table.writeheader()
            table.writerows(rows)
    elif path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(arrow.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


ROWS = [
    {"prompt": 'Say "a, b"\nplease', "chosen": " a, b\u2028", "rejected": " no\x0b"},
    {"prompt": "émile {draft}?", "chosen": " {x}", "rejected": " ü"},
]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_gives_what_was_written(tmp_path: Path, suffix: str) -> None:
    rows = read_rows(written(tmp_path / f"pairs{suffix}", ROWS))
    found = pairs_of(rows, TextColumns(), "the file")
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in found] == [tuple(row.values()) for row in ROWS]
    assert prompts_of(rows, TextColumns(), "the file") == [row["prompt"] for row in ROWS]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_conversations_are_read_with_and_without_a_prompt_of_their_own(tmp_path: Path, suffix: str) -> None:
    asked = [{"role": "user", "content": "hi"}]
    good, bad = ([{"role": "assistant", "content": words}] for words in ("hello", "go"))
    apart = pairs_of(
        read_rows(written(tmp_path / f"a{suffix}", [{"prompt": asked, "chosen": good, "rejected": bad}])),
        TextColumns(),
        "x",
    )
    whole = pairs_of(
        read_rows(written(tmp_path / f"b{suffix}", [{"chosen": asked + good, "rejected": asked + bad}])),
        TextColumns(),
        "x",
    )
    assert apart == whole
    assert (apart[0].prompt, apart[0].chosen, apart[0].rejected) == ((("user", "hi"),), "hello", "go")


GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (
            [GOOD, {**GOOD, "rejected": "a "}],
            {},
            "1 of 2 rows of x have a chosen answer equal to the rejected",
        ),
        ([{"prompt": "p", "chosn": "a", "rejected": "b"}], {}, "no column 'chosen': did you mean 'chosn'"),
        ([GOOD], {"prompt": "promt"}, "no column 'promt': did you mean 'prompt'"),
        ([{**GOOD, "chosen": "  "}], {}, "chosen in row 1 of x is empty"),
        ([{**GOOD, "chosen": None}], {}, "chosen in row 1 of x is missing"),
        ([{**GOOD, "prompt": 3}], {}, "prompt in row 1 of x is a int"),
        ([{**GOOD, "chosen": [{"role": "user", "content": "a"}]}], {}, "one turn of the assistant, not turns of user"),
        ([{"chosen": "a", "rejected": "b"}], {}, "its answers are no conversations"),
        ([{**GOOD, "prompt": [{"role": "user"}]}], {}, "a role and a content"),
        ([{**GOOD, "chosen": "a smile \ud83d"}], {}, r"chosen in row 1 of x holds half of a letter, '\\ud83d'"),
        ([{**GOOD, "prompt": [{"role": "user", "content": "\ude00"}]}], {}, "prompt in row 1 of x holds half"),
    ],
)
def test_rows_that_prefer_nothing_are_refused(rows: Any, columns: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        pairs_of(rows, TextColumns(**columns), "x")


def test_damaged_files_are_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\n{"prompt"', encoding="utf-8")
    (tmp_path / "b.csv").write_text("prompt,chosen\na,b,c\n", encoding="utf-8")
    (tmp_path / "c.jsonl").write_bytes(b"\xff\xfe")
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    (tmp_path / "e.jsonl").write_text("[1]", encoding="utf-8")
    (tmp_path / "f.jsonl").write_text("\n", encoding="utf-8")
    (tmp_path / "i.csv").write_text("prompt,chosen,rejected,chosen\na,b,c,d\n", encoding="utf-8")
    twice = '{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": "b", "chosen": "c"}\n'
    (tmp_path / "j.jsonl").write_text(twice, encoding="utf-8")
    (tmp_path / "k.jsonl").write_text("[" * 200_000, encoding="utf-8")
    for name, message in {
        "a.jsonl": "line 2 of .* is no JSON",
        "b.csv": "line 2 of .* has 3 fields, and there are 2 columns",
        "c.jsonl": "UTF-8",
        "d.parquet": "cannot be read",
        "e.jsonl": "must be a table of columns, not a list",
        "f.jsonl": "no rows",
        "g.jsonl": "there is no file",
        "h.doc": "there is no file",
        "i.csv": "more than one column 'chosen'",
        "j.jsonl": "line 2 of .*: 'chosen' stands more than once",
        "k.jsonl": "line 1 of .* is no JSON",
    }.items():
        with pytest.raises(DataError, match=message):
            read_rows(tmp_path / name)


def test_what_is_not_read_is_told(tokenizer: CausalTokenizer, tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "hi", "images": ["a.png"]},
        {"role": "assistant", "content": "ho", "name": None},
    ]
    rows = [{**GOOD, "system": "be brief", "score": 3}, GOOD, {**GOOD, "prompt": turns}]
    assert unread_in(rows, tuple(GOOD)) == (
        "columns that are not read: 'system', 'score'; turns hold 'images' beside, which is not read"
    )
    assert unread_in([GOOD], tuple(GOOD)) == ""
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(json.dumps({**GOOD, "system": "be brief"}) for _ in range(2)), encoding="utf-8")
    wording = Wording(tokenizer)
    assert Preferences(file, wording).origin.endswith("columns that are not read: 'system'")
    assert Prompts(file, wording).origin.endswith("columns that are not read: 'system'")
    told = Answers(file, wording, refusal="no", columns=("prompt", "chosen")).origin
    assert told.endswith("columns that are not read: 'rejected', 'system'")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"revision": "{prompt} again"}, r"revision must hold \{draft\}"),
        ({"revision": "{draft}"}, r"revision must hold \{prompt\}"),
        ({"prompt": "{promt}"}, r"prompt must hold \{prompt\}"),
        ({"revision": "{prompt}{draft}{answer}"}, r"holds \{answer\}, which is nothing"),
        ({"revision": "{prompt}{draft}{draft}"}, "once"),
        ({"request": " "}, "request must have words"),
        ({"chat": True}, "no chat template"),
    ],
)
def test_templates_without_what_they_must_hold_are_refused(
    tokenizer: CausalTokenizer, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Wording(tokenizer, **settings)


def test_a_draft_stands_in_the_template_as_it_is(tokenizer: CausalTokenizer) -> None:
    wording = Wording(tokenizer, prompt="Q: {prompt}\nA:", revision="Q: {prompt} {x y} D: {draft}\nB:")
    ((before, answer),) = wording.answers([Answered("why {draft}?", " {prompt}", " because {prompt} ")])
    assert tokenizer.decode(before) == "Q: why {draft}? {x y} D: because {prompt}\nB:"
    assert tokenizer.decode(answer) == " {prompt}"
    assert answer[-1] == tokenizer.end_id
    assert before[0] == tokenizer.start_id
    assert wording.contexts([("why {draft}?", "because {prompt}")]) == [before]


def test_conversations_stand_in_the_chat_template(chatty: CausalTokenizer) -> None:
    wording = Wording(chatty, chat=True, request="Better.")
    told = [Answered("hi", "yo"), Answered((("system", "be"), ("user", "hi")), "yo", " hm ")]
    (one, answer), (two, again) = wording.answers(told)
    assert chatty.decode(one) == "[user]hi[/][assistant]"
    assert chatty.decode(answer) == chatty.decode(again) == "yo[/]"
    assert chatty.decode(two) == "[system]be[/][user]hi[/][assistant]hm[/][user]Better.[/][assistant]"
    assert one[0] != chatty.start_id, "a chat template holds its own start"
    rows = [{"prompt": [{"role": "user", "content": "hi"}], "chosen": "a", "rejected": "b"}]
    with pytest.raises(ConfigError, match="no chat template"):
        Preferences(rows, Wording.example())


def merging(folder: Path) -> CausalTokenizer:
    """Return a tokenizer that joins a and b wherever they meet, and has no start token."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {piece: place for place, piece in enumerate(["<pad>", "a", "b", "x", " ", "ab"])}
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(words, [("a", "b")])), pad_token="<pad>")
    fast.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    return CausalTokenizer(str(folder))


@pytest.mark.parametrize("start", ["", "{{ bos_token }}"])
def test_a_users_words_end_before_what_the_template_puts_behind_them(chatty: CausalTokenizer, start: str) -> None:
    chatty.tokenizer.chat_template = start + CHAT
    chat, plain = Wording(chatty), Wording(chatty, prompt="Q: {prompt}\nA:")
    talk = (("user", "a"), ("assistant", "b"), ("user", "c x"))
    cases: list[tuple[Wording, Any, str]] = [
        (Wording(chatty), "is it x", ""), (Wording(chatty), "is it!", ""), (plain, "is it x", "\nA:"),
        (chat, (("user", "is it!"),), "[/][assistant]"), (chat, talk, "[/][assistant]"),
        (Wording(chatty, chat=True), "is it?", "[/][assistant]"),
    ]  # fmt: skip
    for wording, said, tail in cases:
        before, after = wording.parted(said)
        assert chatty.decode(after) == tail
        assert before + after == wording.contexts([(said, None)])[0]
        written = wording.contexts([(with_words(said, after=" so"), None)])[0]
        assert written == before + chatty.encode(" so", start=False) + after
    with pytest.raises(DataError, match="no user says anything in a conversation of system"):
        chat.parted((("system", "Be brief."),))


def test_pieces_that_are_joined_across_the_boundary_are_refused(tmp_path: Path) -> None:
    wording = Wording(merging(tmp_path), revision="{prompt}x{draft}x")
    fine = {"prompt": "xa", "chosen": " b", "rejected": "x"}
    assert Preferences([fine], wording)[[0]].x.tensors()["chosen values"].tolist() == [[4, 2]]
    with pytest.raises(DataError, match="row 2 of the data: the tokenizer joins the end of 'xa' with the start of 'b'"):
        Preferences([fine, {"prompt": "xa", "chosen": "x", "rejected": "b"}], wording)
    with pytest.raises(DataError, match="row 1 of the data: a prompt is empty"):
        Preferences([{"prompt": "", "chosen": "x", "rejected": "b"}], wording)
    joining = Wording(merging(tmp_path), revision="{prompt}{draft}a")
    with pytest.raises(DataError, match="row 1 of the data: the tokenizer joins the end of 'xba'"):
        Preferences([{"prompt": "x", "chosen": "b", "rejected": "x"}], joining)


def test_a_batch_holds_contexts_and_the_same_answers_after_each(tokenizer: CausalTokenizer) -> None:
    source = Preferences.example()
    batch = source[[3, 0]]
    x = TextPairs.of(batch.x)
    assert batch.index.tolist() == [3, 0]
    assert x.texts() == [EXAMPLE[3]["prompt"], EXAMPLE[0]["prompt"]]
    assert x.after_rejected is not None
    told = behind(x.after_rejected, x.chosen)
    for row, place in enumerate((3, 0)):
        own = told.ids[row][told.mask[row]]
        context = source.wording.contexts([(EXAMPLE[place]["prompt"], EXAMPLE[place]["rejected"])])[0]
        assert own.tolist()[: len(context)] == context
        assert tokenizer.decode(told.ids[row][told.told[row]]) == EXAMPLE[place]["chosen"]
        assert not bool(told.told[row][: len(context)].any())
    one = source[[0]].x
    alone = behind(TextPairs.of(one).prompt, TextPairs.of(one).rejected)
    both = stacked(behind(x.prompt, x.rejected), alone)
    assert both.ids[1][both.mask[1]].tolist() == alone.ids[0].tolist()
    assert both.ids[2][both.mask[2]].tolist() == alone.ids[0].tolist()
    with pytest.raises(DataError, match="TextPairs, not a Tensor"):
        TextPairs.of(torch.zeros(2))
    bare = Preferences(EXAMPLE, Wording.example(), drafts=False)
    assert TextPairs.of(bare[[0]].x).after_chosen is None


def test_padding_on_either_side_means_the_same_to_a_network() -> None:
    network = CausalLM("tiny:llama", "frozen").eval()
    x = Prompts.example()[[0, 1, 2]].x
    assert isinstance(x, TextPrompts)
    ids, mask = left_padded(x.prompt)
    assert bool(mask[:, -1].all())
    assert not bool(mask.all())
    with torch.no_grad():
        left, right = network(ids, mask), network(x.prompt.values, x.prompt.mask)
    for row, length in enumerate(x.prompt.lengths.tolist()):
        torch.testing.assert_close(left[row, -length:], right[row, :length], atol=1e-5, rtol=1e-4)


def test_prompts_come_back_as_they_came() -> None:
    for said in ("", 'é "x"\n', (("user", "hi"), ("assistant", "ü"))):
        assert from_ids(to_ids(said)) == said


def test_rows_without_room_are_refused_or_left_out_and_told() -> None:
    wording = Wording.example()
    rows = [*EXAMPLE, {"prompt": "long " * 12, "chosen": "a", "rejected": "b"}]
    with pytest.raises(DataError, match=r"max_length 110 drops the completions of 1 of 9 rows .* row 9 first"):
        Preferences(rows, wording, max_length=110)
    some = Preferences(rows, wording, max_length=110, long="drop")
    assert len(some) == 8
    assert some.skipped[0][0] == "1 rows"
    assert "left out: 1 rows" in some.origin
    with pytest.raises(DataError, match="in any row"):
        Preferences(rows, wording, max_length=20, long="drop")
    needed = 1 + max(len(before) for before in wording.contexts([(rows[8]["prompt"], "a"), (rows[8]["prompt"], "b")]))
    with pytest.raises(DataError, match=f"Give {needed} or more"):
        Preferences(rows, wording, max_length=110)
    assert len(Preferences(rows, wording, max_length=needed)) == 9


def test_answers_are_cut_alike_after_every_context_and_counted() -> None:
    wording = Wording.example()
    before = wording.contexts([(EXAMPLE[0]["prompt"], EXAMPLE[0]["rejected"])])[0]
    with pytest.warns(UserWarning, match="2 of 2 answers are cut"):
        source = Preferences(EXAMPLE[:1], wording, max_length=len(before) + 3)
    x = TextPairs.of(source[[0]].x)
    assert source.cut == 2
    assert "2 of 2 answers are cut" in source.origin
    assert x.chosen.lengths.tolist() == x.rejected.lengths.tolist() == [3]
    assert x.after_rejected is not None
    assert behind(x.after_rejected, x.chosen).ids.shape[1] == source.longest
    equal = [{"prompt": "p", "chosen": "abcdef", "rejected": "abcdxy"}]
    room = len(wording.contexts([("p", "abcdef")])[0])
    with pytest.raises(DataError, match="equal where max_length"):
        Preferences(equal, wording, max_length=room + 4)


def test_other_texts_are_read_alike(tmp_path: Path) -> None:
    source = Preferences.example()
    pairs = source.like(str(written(tmp_path / "pairs.jsonl", EXAMPLE[:3])))
    assert isinstance(pairs, Preferences)
    assert pairs.fingerprint() == Preferences(EXAMPLE[:3], Wording.example(), max_length=128).fingerprint()
    prompts = source.like(str(written(tmp_path / "prompts.csv", [{"prompt": "a"}, {"prompt": "b"}])))
    assert isinstance(prompts, Prompts)
    assert (prompts.longest, len(prompts), prompts.name) == (128, 2, "prompts")
    assert source.like(torch.zeros(3)) is None
    with pytest.raises(DataError, match="leave no room"):
        Prompts([{"prompt": "a" * 200}], Wording.example(), max_length=128)
    with pytest.raises(DataError, match="'story-pairs'"):
        Preferences("story-pair", Wording.example())


def test_what_is_asked_twice_is_held_out_together() -> None:
    assert Preferences.example().together is None
    twice = Preferences([EXAMPLE[0], EXAMPLE[1], {**EXAMPLE[0], "rejected": " Well."}], Wording.example())
    assert twice.together is not None
    assert twice.together.tolist() == [0, 1, 0]


@pytest.mark.parametrize("made", [Preferences.example, Prompts.example])
def test_a_description_gives_the_same_source_back(made: Any) -> None:
    source = made()
    again = build(json.loads(json.dumps(describe(source))))
    assert again.fingerprint() == source.fingerprint()
    assert torch.equal(again.sizes, source.sizes)


def test_bad_settings_are_refused_by_name() -> None:
    wording = Wording.example()
    for settings, message in (
        ({"long": "cut"}, "long 'cut' is unknown"),
        ({"max_length": 1}, "max_length must be at least 2"),
        ({"columns": ("prompt", "chosen")}, "columns are three"),
        ({"data": "story-pairs", "part": "elsewere"}, "did you mean 'elsewhere'"),
    ):
        arguments: dict[str, Any] = {"data": EXAMPLE, **settings}
        with pytest.raises(ConfigError, match=message):
            Preferences(arguments.pop("data"), wording, **arguments)


@pytest.mark.parametrize("part", ["train", "test", "elsewhere"])
def test_the_made_set_prefers_by_its_rule(part: Any) -> None:
    rows = story_rows(part)
    assert all(story_score(row["prompt"], row["chosen"]) > story_score(row["prompt"], row["rejected"]) for row in rows)
    if part != "train":
        assert not {row["prompt"] for row in rows} & {row["prompt"] for row in story_rows("train")}
    assert rows == story_rows(part)
    with pytest.raises(ConfigError, match="no child"):
        story_score("hello", "x")


def test_sequences_of_unlike_length_keep_their_own_ids() -> None:
    context = Sequences.padded([torch.tensor([1, 2, 3]), torch.tensor([4])])
    answer = Sequences.padded([torch.tensor([5]), torch.tensor([6, 7, 8])])
    told = behind(context, answer)
    assert told.ids.tolist() == [[1, 2, 3, 5], [4, 6, 7, 8]]
    assert told.told.tolist() == [[False, False, False, True], [False, True, True, True]]
    assert behind(context, Sequences.padded([torch.tensor([5]), torch.tensor([6])])).mask.tolist() == [
        [True] * 4,
        [True, True, False, False],
    ]


@pytest.mark.parametrize("made", [Preferences.example, Prompts.example])
def test_samples_come_in_any_order_and_alike_in_any_company(made: Any) -> None:
    source = made()
    count = len(source)
    for chosen in (torch.tensor([2, 0, 2]), [2, 0, 2], range(1, 3), [count - 1]):
        batch, places = source[chosen], torch.as_tensor(chosen).tolist()
        assert batch.index.tolist() == places
        assert len(batch.x) == len(places)
        for row, place in enumerate(places):
            alone = source[[place]].x
            for name, some in batch.x._parts().items():
                single = alone._parts()[name]
                length = int(some.lengths[row])
                assert length == int(single.lengths[0])
                assert torch.equal(some.values[row, :length], single.values[0])
                assert not some.values[row, length:].any()
    source[[0]].x.prompt.values.zero_()
    assert source[[0]].x.prompt.values.any(), "what is read belongs to the reader"
    for wrong in ([count], [-1]):
        with pytest.raises(IndexError):
            source[wrong]
    batch = source[[0, 1]].x
    assert batch.to("cpu") is batch
    doubled = batch.map(lambda value: value * 2)
    assert torch.equal(doubled.prompt.values, batch.prompt.values), "ids are no amounts"
    assert len(batch.tensors()) == 2 * len(batch._parts())

"""Causal language models: named bases, adapters, embeddings, padding, and what a checkpoint holds."""

import copy
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.random import isolated

pytest.importorskip("transformers")
pytest.importorskip("peft")

import itertools

from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.causal_base import TINY, network_named, tokenizer_named
from withstand.models.tokens.causal_llama2c import llama2c_network, llama2c_tokenizer
from withstand.models.tokens.causal_tokenizer import CausalTokenizer

TEXTS = ("Hello é", "no", "Once upon a time")
here = pytest.mark.skipif(
    not (Path(os.environ.get("WITHSTAND_DATA", "/nowhere")) / "stories260k").is_dir(), reason="needs stories260k"
)


def model(name: str = "tiny:llama", tuning: str = "lora", dropout: float = 0.0) -> CausalLM:
    with isolated("test"):
        made = CausalLM(name, tuning, rank=2, dropout=dropout)  # type: ignore[arg-type]
        if tuning == "lora":  # adapters start as nothing
            for key, weight in made.named_parameters():
                if "lora_B" in key:
                    torch.nn.init.normal_(weight, std=0.2)
    return made.eval()


@pytest.mark.parametrize("name", TINY)
def test_padding_on_either_side_and_embeddings_change_nothing(name: str) -> None:
    lm = model(name)
    rows = [lm.tokenizer.encode(text) for text in TEXTS]
    for side in ("left", "right"):
        ids, mask = lm.tokenizer.pad(rows, side)  # type: ignore[arg-type]
        logits = lm(ids, mask)
        assert logits.shape == (3, max(map(len, rows)), lm.vocabulary)
        assert logits.isfinite().all()
        torch.testing.assert_close(lm.from_embeddings(lm.embed(ids), mask), logits)
        for row, own, found in zip(rows, mask, logits, strict=True):
            alone = lm(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool))[0]
            torch.testing.assert_close(found[own], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_gradients_reach_embeddings_and_adapters_alone(name: str) -> None:
    lm = model(name).train()
    ids, mask = lm.tokenizer.pad([lm.tokenizer.encode(text) for text in TEXTS])
    embeddings = lm.embed(ids).detach().requires_grad_()
    lm.from_embeddings(embeddings, mask)[:, -1].square().sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    assert not embeddings.grad[~mask].any()
    trained = {key for key, weight in lm.named_parameters() if weight.grad is not None}
    assert trained == {key for key, _ in lm.named_parameters() if "lora_" in key}
    assert not any("embed" in key or "lm_head" in key for key in trained)


@pytest.mark.parametrize("name", TINY)
def test_a_state_is_the_adapters_alone_and_is_whole(name: str) -> None:
    lm, other = model(name), CausalLM(name, rank=2).eval()
    ids, mask = lm.tokenizer.pad([lm.tokenizer.encode(text) for text in TEXTS])
    state = lm.state_dict()
    assert state
    assert all("lora_" in key for key in state)
    assert not torch.allclose(other(ids, mask), lm(ids, mask))
    holder = torch.nn.ModuleDict({"inner": other})
    holder.load_state_dict({f"inner.{key}": value for key, value in state.items()})
    assert torch.equal(other(ids, mask), lm(ids, mask))
    lm.requires_grad_(False)  # as an attack does for a while
    assert lm.state_dict().keys() == state.keys()
    again = build(describe(lm))
    assert torch.equal(copy.deepcopy(lm)(ids, mask), lm(ids, mask))
    with lm.without_adapters():
        torch.testing.assert_close(again.eval()(ids, mask), lm(ids, mask))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({})


def test_a_whole_model_keeps_every_weight_and_a_frozen_one_none() -> None:
    full, frozen = model(tuning="full"), model(tuning="frozen")
    assert all(weight.requires_grad for weight in full.parameters())
    assert sum(value.numel() for value in full.state_dict().values()) >= sum(p.numel() for p in full.parameters())
    assert not frozen.state_dict()
    frozen.load_state_dict({})
    for one in (full, frozen):
        with pytest.raises(ConfigError, match="no adapters to leave out"), one.without_adapters():
            pass
    with pytest.raises(ConfigError, match="nothing to save"):
        frozen.save_adapters(Path("nowhere"))


def test_adapters_load_in_peft_alone(tmp_path: Path) -> None:
    from peft import PeftModel

    lm = model("tiny:gemma")
    lm.save_adapters(tmp_path)
    alone = PeftModel.from_pretrained(network_named("tiny:gemma"), tmp_path).eval()
    ids, mask = lm.tokenizer.pad([lm.tokenizer.encode(text) for text in TEXTS], "right")
    torch.testing.assert_close(alone(input_ids=ids, attention_mask=mask).logits[mask], lm(ids, mask)[mask])


def test_a_folder_that_transformers_wrote_is_read(tmp_path: Path) -> None:
    network_named("tiny:mistral").save_pretrained(tmp_path)
    tokenizer_named("tiny:mistral").save_pretrained(tmp_path)
    read, made = model(str(tmp_path), "frozen"), model("tiny:mistral", "frozen")
    rows = [read.tokenizer.encode(text) for text in TEXTS]
    assert rows == [made.tokenizer.encode(text) for text in TEXTS]
    ids, mask = read.tokenizer.pad(rows)
    torch.testing.assert_close(read(ids, mask), made(ids, mask))


def test_a_table_is_what_embeddings_are_perturbed_by() -> None:
    for name in TINY:
        lm = model(name)
        assert torch.equal(lm.table[[5, 7]], lm.embed(torch.tensor([[5, 7]]))[0])


def test_dropout_acts_in_training_alone() -> None:
    lm = model(dropout=0.5)
    ids, mask = lm.tokenizer.pad([lm.tokenizer.encode(TEXTS[0])])
    assert torch.equal(lm(ids, mask), lm(ids, mask))
    lm.train()
    assert not torch.equal(lm(ids, mask), lm(ids, mask))


def test_texts_come_back() -> None:
    tokenizer = CausalTokenizer("tiny:llama")
    assert len(tokenizer) == 260
    for text in ("", " two  spaces ", "é ✓ 日\n"):
        ids = tokenizer.encode(text)
        assert ids[0] == tokenizer.start_id
        assert tokenizer.encode(text, start=False) == ids[1:]
        assert tokenizer.decode(ids) == text
    assert tokenizer.decode([1, 76, 2], special=True) == "<s>H</s>"


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, message in (
        ("tiny:lama", "did you mean 'tiny:llama'"), (str(tmp_path), "holds no config.json"),
        ("stories260", "'stories260k'"),
    ):  # fmt: skip
        with pytest.raises((ConfigError, DataError), match=message):
            CausalLM(name)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be had"):
        network_named(str(tmp_path))
    monkeypatch.delenv("WITHSTAND_DATA", raising=False)
    with pytest.raises(DataError, match="set WITHSTAND_DATA to a folder with stories260k") as found:
        CausalLM("stories260k")
    assert "\n" not in str(found.value)
    with pytest.raises(ConfigError, match="tuning 'lorra' is unknown"):
        CausalLM("tiny:llama", "lorra")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rank must be at least 1"):
        CausalLM("tiny:llama", rank=0)
    lm = model(tuning="frozen")
    ids, mask = torch.zeros(1, 300, dtype=torch.int64), torch.ones(1, 300, dtype=torch.bool)
    with pytest.raises(DataError, match="has 300 ids, and tiny:llama reads 256"):
        lm(ids, mask)
    with pytest.raises(DataError, match="texts are ids"):
        lm(ids.float(), mask)
    with pytest.raises(DataError, match="embeddings are"):
        lm.from_embeddings(torch.zeros(1, 2, 3), mask[:, :2])


def test_a_tokenizer_without_a_pad_token_asks_for_one(tmp_path: Path) -> None:
    bare = tokenizer_named("tiny:llama")
    bare.pad_token = None
    bare.save_pretrained(tmp_path)
    network_named("tiny:llama").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="has no pad token: name a piece that pads, pad='</s>' say"):
        CausalTokenizer(str(tmp_path))
    assert CausalTokenizer(str(tmp_path), pad="</s>").pad_id == 2
    with pytest.raises(ConfigError, match="pad '</x>' is no piece"):
        CausalTokenizer(str(tmp_path), pad="</x>")
    with pytest.raises(DataError, match="row 1 has no ids"):
        CausalTokenizer("tiny:llama").pad([[1], []])


def write_llama2c(path: Path, tied: bool) -> dict[str, np.ndarray]:
    """Write a small legacy export, and return its tables."""
    dim, hidden, layers, heads, keys, vocabulary, context = 8, 12, 2, 2, 1, 11, 16
    side = dim // heads
    shapes = {
        "table": (vocabulary, dim), "norm1": (layers, dim), "q": (layers, dim, dim), "k": (layers, keys * side, dim),
        "v": (layers, keys * side, dim), "o": (layers, dim, dim), "norm2": (layers, dim), "gate": (layers, hidden, dim),
        "down": (layers, dim, hidden), "up": (layers, hidden, dim), "norm": (dim,), "cos": (context, side // 2),
        "sin": (context, side // 2),
    } | ({} if tied else {"out": (vocabulary, dim)})  # fmt: skip
    draw = np.random.default_rng(0)
    tables = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    head = (dim, hidden, layers, heads, keys, vocabulary if tied else -vocabulary, context)
    path.write_bytes(struct.pack("<7i", *head) + b"".join(table.tobytes() for table in tables.values()))
    return tables


@pytest.mark.parametrize("tied", [True, False])
def test_a_llama2c_file_gives_what_llama2c_computes(tied: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    tables = {name: torch.from_numpy(table).double() for name, table in write_llama2c(path, tied).items()}
    network = llama2c_network(path).double().eval()
    ids = torch.tensor([[3, 7, 1, 9, 0]])
    found = network(input_ids=ids).logits[0]

    def normed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight

    def turned(x: torch.Tensor) -> torch.Tensor:  # pairs of neighbours, as run.c does
        pairs, place = x.view(len(x), -1, 2, 2), torch.arange(len(x), dtype=torch.float64)
        angle = place[:, None] * 10000 ** -(torch.arange(0, 4, 2).double() / 4)
        a, b, cos, sin = pairs[..., 0], pairs[..., 1], angle.cos()[:, None], angle.sin()[:, None]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).view(len(x), -1, 4)

    x = tables["table"][ids[0]]
    for layer in range(2):
        one = {name: table[layer] for name, table in tables.items() if len(table) == 2}
        h = normed(x, one["norm1"])
        q, k, v = turned(h @ one["q"].T), turned(h @ one["k"].T), (h @ one["v"].T).view(len(x), -1, 4)
        scores = torch.einsum("ihd,jd->hij", q, k[:, 0]) / 2
        scores = scores.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -torch.inf)
        x = x + torch.einsum("hij,jd->ihd", scores.softmax(-1), v[:, 0]).reshape(len(x), -1) @ one["o"].T
        h = normed(x, one["norm2"])
        x = x + (torch.nn.functional.silu(h @ one["gate"].T) * (h @ one["up"].T)) @ one["down"].T
    out = tables["table"] if tied else tables["out"]
    torch.testing.assert_close(found, normed(x, tables["norm"]) @ out.T, atol=1e-5, rtol=1e-5)


def test_a_llama2c_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    write_llama2c(path, True)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match="no whole legacy export"):
        llama2c_network(path)
    path.write_bytes(b"short")
    with pytest.raises(DataError, match="no legacy export"):
        llama2c_network(path)
    with pytest.raises(DataError, match=r"is no tokenizer of llama2\.c"):
        llama2c_tokenizer(path)
    with pytest.raises(DataError, match="cannot be read"):
        llama2c_network(tmp_path / "nothing.bin")


def pieces_by_score(text: str, path: Path) -> list[int]:
    """Tokenize as llama2.c's run.c does: merge the pair whose piece has the best score, until there is none."""
    raw, place, ids, scores = path.read_bytes(), 4, dict[bytes, int](), list[float]()
    while place < len(raw):
        score, length = struct.unpack_from("<fi", raw, place)
        ids.setdefault(raw[place + 8 : place + 8 + length], len(scores))
        scores.append(score)
        place += 8 + length
    names = {number: name for name, number in ids.items()}
    found = []
    for letter in f" {text}":
        known = ids.get(letter.encode())
        found += [byte + 3 for byte in letter.encode()] if known is None else [known]
    while True:
        pairs = [(names.get(a, b"?") + names.get(b, b"?"), at) for at, (a, b) in enumerate(itertools.pairwise(found))]
        best = max(((scores[ids[name]], -at) for name, at in pairs if name in ids), default=None)
        if best is None:
            return [1, *found]
        at = -best[1]
        found[at : at + 2] = [ids[names[found[at]] + names[found[at + 1]]]]


@here
def test_stories_are_tokenized_as_llama2c_does_and_told() -> None:
    path = Path(os.environ["WITHSTAND_DATA"]) / "stories260k" / "tok512.bin"
    lm = CausalLM("stories260k", "frozen")
    story = 'Once upon a time, there was a little girl named Lily. She said, "Hi!"\nThey played all day  ✓ é.'
    ids = lm.tokenizer.encode(story)
    assert ids == pieces_by_score(story, path)
    assert lm.tokenizer.decode(ids) == story
    rows = torch.tensor(
        [lm.tokenizer.encode("Once upon a time, there was a little girl named Lily. She loved to play.")]
    )
    with torch.no_grad():
        logits = lm(rows, torch.ones_like(rows, dtype=torch.bool))
    assert cross_entropy(logits[0, :-1], rows[0, 1:]) < 0.7

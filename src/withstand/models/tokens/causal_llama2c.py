"""llama2.c's files of small language models (the legacy export), read into transformers' Llama and a fast tokenizer.

The weights' file is a head of seven int32 (dim, hidden, layers, heads, key-value heads, vocabulary, context; the
vocabulary negative where the output has a table of its own) and float32 tables. The tokenizer's is an int32, and for
each id a float32 score, an int32 length and as many bytes. Sizes: `V` ids, `H` width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.random import isolated

_HEAD = 7
_BYTES = 3
"""Ids 0, 1 and 2 are unknown, start and end; the next 256 are single bytes."""


@dataclass(frozen=True, slots=True)
class Llama2cSizes:
    """What the head of a weights' file says."""

    dim: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    context: int
    tied: bool


def read_llama2c(path: Path) -> tuple[Llama2cSizes, dict[str, Tensor]]:
    """Return the sizes and the weights by the names of transformers' Llama.

    Raises:
        DataError: there is no such file, or it is no legacy export of llama2.c.
    """
    raw = _raw(path)
    numbers = np.frombuffer(raw[: 4 * _HEAD], "<i4").tolist() if len(raw) >= 4 * _HEAD else [0] * _HEAD
    dim, hidden, layers, heads, key_heads, vocabulary, context = numbers
    sizes = Llama2cSizes(dim, hidden, layers, heads, key_heads, abs(vocabulary), context, tied=vocabulary > 0)
    if min(numbers[:5]) < 1 or sizes.vocabulary < 1 or sizes.context < 1 or sizes.dim % sizes.heads:
        raise DataError(f"{path} is no legacy export of llama2.c: its head says {numbers}")
    side = dim // heads
    keys = key_heads * side
    shapes: list[tuple[str, tuple[int, ...]]] = [
        ("embed_tokens", (sizes.vocabulary, dim)), ("input_layernorm", (layers, dim)),
        ("self_attn.q_proj", (layers, dim, dim)), ("self_attn.k_proj", (layers, keys, dim)),
        ("self_attn.v_proj", (layers, keys, dim)), ("self_attn.o_proj", (layers, dim, dim)),
        ("post_attention_layernorm", (layers, dim)), ("mlp.gate_proj", (layers, hidden, dim)),
        ("mlp.down_proj", (layers, dim, hidden)), ("mlp.up_proj", (layers, hidden, dim)), ("norm", (dim,)),
        ("cosines", (sizes.context, side // 2)), ("sines", (sizes.context, side // 2)),
    ]  # fmt: skip
    if not sizes.tied:
        shapes.append(("lm_head", (sizes.vocabulary, dim)))
    wanted = sum(int(np.prod(shape)) for _, shape in shapes)
    found = (len(raw) - 4 * _HEAD) / 4
    if found != wanted:
        raise DataError(f"{path} is no whole legacy export of llama2.c: it holds {found:.0f} numbers, not {wanted}")
    values, start, weights = np.frombuffer(raw, "<f4", offset=4 * _HEAD), 0, dict[str, Tensor]()
    for name, shape in shapes:
        count = int(np.prod(shape))
        table = torch.from_numpy(values[start : start + count].astype(np.float32)).view(shape)
        start += count
        if name in ("cosines", "sines"):  # transformers computes them
            continue
        if name in ("embed_tokens", "norm"):
            weights[f"model.{name}.weight"] = table
        elif name == "lm_head":
            weights["lm_head.weight"] = table
        else:
            for layer, each in enumerate(table):
                weights[f"model.layers.{layer}.{name}.weight"] = _turned(each, name, side)
    if sizes.tied:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return sizes, weights


def _turned(table: Tensor, name: str, side: int) -> Tensor:
    """Return a layer's table as transformers reads it: it turns halves of a head, and llama2.c neighbouring pairs."""
    if name not in ("self_attn.q_proj", "self_attn.k_proj"):
        return table.clone()
    rows, width = table.shape
    return table.view(rows // side, side // 2, 2, width).transpose(1, 2).reshape(rows, width)


def llama2c_network(path: Path) -> Any:
    """Return transformers' `LlamaForCausalLM` with the weights of a file.

    Raises:
        DataError: as `read_llama2c`.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes, weights = read_llama2c(path)
    config = LlamaConfig(
        vocab_size=sizes.vocabulary, hidden_size=sizes.dim, intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, num_key_value_heads=sizes.key_heads,
        max_position_embeddings=sizes.context, rms_norm_eps=1e-5, tie_word_embeddings=sizes.tied,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    with isolated():
        network = LlamaForCausalLM(config)
    network.load_state_dict(weights)
    return network


def llama2c_tokenizer(path: Path) -> Any:
    """Return transformers' fast tokenizer of a tokenizer's file: BPE by score, bytes for what has no piece.

    Texts begin with <s>, and their first piece with a space, as they do in llama2.c. <unk> pads.

    Raises:
        DataError: there is no such file, or it is no tokenizer of llama2.c.
    """
    pieces, scores = _pieces(path)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [piece.decode("utf-8", "replace") for piece in pieces[len(names) :]]
    if len(set(names)) != len(names):
        raise DataError(f"{path} is no tokenizer of llama2.c that can be read: two ids stand for one piece")
    ids = {name: number for number, name in enumerate(names)}
    merges = []
    for name in names[_BYTES + 256 :]:
        splits = [(name[:at], name[at:]) for at in range(1, len(name))]
        merges += [(scores[ids[name]], ids[a], ids[b], (a, b)) for a, b in splits if a in ids and b in ids]
    merges.sort(key=lambda merge: (-merge[0], merge[1], merge[2]))
    return fast_tokenizer(ids, [pair for *_, pair in merges], space=True, pad="<unk>")


def fast_tokenizer(ids: dict[str, int], merges: list[tuple[str, str]], *, space: bool, pad: str) -> Any:
    """Return a BPE tokenizer in transformers' form, with <s> before every text.

    Args:
        ids: of pieces; <unk>, <s> and </s> are among them, and <0x00> to <0xFF>.
        merges: pairs of pieces, the first to be merged first.
        space: texts have a space put before them, which decoding takes away.
        pad: the piece that pads.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [decoders.ByteFallback(), decoders.Fuse()]
    if space:
        backend.normalizer = normalizers.Prepend(" ")
        steps.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(steps)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", ids["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token=pad,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _pieces(path: Path) -> tuple[list[bytes], list[float]]:
    raw, place = _raw(path), 4
    pieces, scores = list[bytes](), list[float]()
    while place + 8 <= len(raw):
        scores.append(float(np.frombuffer(raw, "<f4", 1, place)[0]))
        length = int(np.frombuffer(raw, "<i4", 1, place + 4)[0])
        place += 8
        if length < 0 or place + length > len(raw):
            break
        pieces.append(raw[place : place + length])
        place += length
    if place != len(raw) or len(pieces) < _BYTES + 256 or len(pieces) != len(scores):
        raise DataError(f"{path} is no tokenizer of llama2.c: it holds {len(pieces)} whole pieces")
    return pieces, scores


def _raw(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None

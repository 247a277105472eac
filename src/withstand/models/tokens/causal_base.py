"""Where a causal language model and its tokenizer come from, by name: what a run's frozen weights are read from again.

| name | what |
|---|---|
| `stories260k` | a Llama of 264,128 numbers that tells children's stories, from `$WITHSTAND_DATA/stories260k/` |
| `tiny:llama`, `tiny:gemma`, `tiny:mistral`, `tiny:phi` | random networks of these architectures, to try: bytes in |
| a folder | what `save_pretrained` wrote: config.json, safetensors, the tokenizer's files |
| `OWNER/NAME` | a model of the Hugging Face Hub, downloaded once |
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from withstand.core.errors import ConfigError, DataError, MissingExtra, nearest
from withstand.core.random import isolated
from withstand.data.pictures.named import VARIABLE
from withstand.models.tokens.causal_llama2c import fast_tokenizer, llama2c_network, llama2c_tokenizer

STORIES = "stories260k"
TINY = ("tiny:llama", "tiny:gemma", "tiny:mistral", "tiny:phi")


def network_named(name: str) -> Any:
    """Return transformers' causal language model of a name, in float32 and eval mode.

    Raises:
        MissingExtra: transformers is not installed.
        ConfigError: nothing has this name.
        DataError: a folder or a file that cannot be read.
    """
    _needs_transformers(name)
    if name in TINY:
        return _tiny(name.removeprefix("tiny:")).eval()
    if name == STORIES:
        return llama2c_network(_stories() / "stories260K.bin").eval()
    from transformers import AutoModelForCausalLM

    where = _place(name)
    with quiet(), _told(name), isolated():
        network = AutoModelForCausalLM.from_pretrained(where, use_safetensors=True)
    return network.float().eval()


def tokenizer_named(name: str) -> Any:
    """Return transformers' tokenizer of a name.

    Raises:
        MissingExtra: transformers is not installed.
        ConfigError: nothing has this name.
        DataError: a folder or a file that cannot be read.
    """
    _needs_transformers(name)
    if name in TINY:
        names = ["<pad>", "<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        return fast_tokenizer({piece: number for number, piece in enumerate(names)}, [], space=False, pad="<pad>")
    if name == STORIES:
        return llama2c_tokenizer(_stories() / "tok512.bin")
    from transformers import AutoTokenizer

    where = _place(name)
    with quiet(), _told(name):
        return AutoTokenizer.from_pretrained(where)


def _needs_transformers(name: str) -> None:
    try:
        import transformers
    except ImportError:
        raise MissingExtra(f"the language model {name!r}", "transformers", "text") from None
    del transformers


def _stories() -> Path:
    base = os.environ.get(VARIABLE)
    folder = Path(base) / STORIES if base else None
    if folder is None or not folder.is_dir():
        raise DataError(
            f"{STORIES} is not on this machine: set {VARIABLE} to a folder with {STORIES}/stories260K.bin and "
            "tok512.bin, or give --model a Hugging Face folder or name, or tiny:llama to try"
        )
    return folder


def _place(name: str) -> str:
    """Return a folder's path, or a name of the Hub as it is; refuse what is neither."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise DataError(f"{folder} holds no config.json: give a folder that transformers' save_pretrained wrote")
        return str(folder)
    if folder.exists():
        raise DataError(f"{folder} is a file: give the folder that transformers' save_pretrained wrote")
    owner, _, short = name.partition("/")
    known = (STORIES, *TINY)
    if not owner or "/" in short or ":" in name or (not short and name != "gpt2"):
        raise ConfigError(
            f"there is no language model {name!r}: give a folder, OWNER/NAME of the Hugging Face Hub, or one of "
            f"{', '.join(known)} ({nearest(name, known)})"
        )
    return name


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Say in one line what could not be read; the Hub and transformers fail in many ways."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        why = " ".join(str(error).split())[:300]
        raise DataError(f"the language model {name!r} cannot be had: {why}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars of its own."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def _tiny(kind: str) -> Any:
    """Return a random network of two layers, the same on every machine."""
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": 260, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "initializer_range": 0.2,
    }  # fmt: skip
    with isolated("a tiny language model", kind):
        if kind == "llama":
            network: Any = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
        elif kind == "gemma":
            network = transformers.GemmaForCausalLM(transformers.GemmaConfig(**sizes, head_dim=4))
        elif kind == "mistral":
            network = transformers.MistralForCausalLM(transformers.MistralConfig(**sizes))
        else:
            network = transformers.Phi3ForCausalLM(transformers.Phi3Config(**sizes))
    return network

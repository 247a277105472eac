"""Tiny vision-language models of transformers with random weights, made without any download; importable by tests."""

from typing import Any

import torch

from withstand.models.tokens.hugging_face_vision import HuggingFaceVision

WORDS = ("a", "photo", "of", "red", "boat", "blue", "cat", "what", "is", "this", "describe", "it")
SIDE = 16


def tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    signs = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "<image>")
    words = {word: place for place, word in enumerate((*signs, *WORDS))}
    plain = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="[PAD]",
        unk_token="[UNK]",
        eos_token="[SEP]",
        additional_special_tokens=["<image>"],
    )


def pixels(side: int = SIDE) -> Any:
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def _text() -> dict[str, int]:
    return {"vocab_size": 5 + len(WORDS), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2}  # fmt: skip


def _vision() -> dict[str, int]:
    return {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": SIDE, "patch_size": 8}  # fmt: skip


def llava() -> tuple[Any, Any]:
    """A LLaVA of a CLIP picture encoder and a Llama, and its processor."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    text = LlamaConfig(**_text(), num_key_value_heads=2, max_position_embeddings=64, eos_token_id=3, pad_token_id=0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_vision()), text_config=text, image_token_index=4, vision_feature_layer=-1
    )
    processor = LlavaProcessor(
        pixels(), tokenizer(), patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return _random(LlavaForConditionalGeneration(config)), processor


def git() -> tuple[Any, Any]:
    """A GIT, whose text decoder sees the picture's tokens before the words, and its processor."""
    from transformers import GitConfig, GitForCausalLM, GitProcessor

    config = GitConfig(vision_config=_vision(), **_text(), max_position_embeddings=64, eos_token_id=3, pad_token_id=0)
    return _random(GitForCausalLM(config)), GitProcessor(pixels(), tokenizer())


def blip() -> tuple[Any, Any]:
    """A BLIP captioner, whose text decoder attends across to the picture, and its processor."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipProcessor

    config = BlipConfig(
        vision_config=_vision(),
        text_config={**_text(), "encoder_hidden_size": 12, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
                     "bos_token_id": 2, "max_position_embeddings": 64},
    )  # fmt: skip
    return _random(BlipForConditionalGeneration(config)), BlipProcessor(pixels(), tokenizer())


MODELS = {"llava": llava, "git": git, "blip": blip}


def vision(name: str, side: int = SIDE, **settings: Any) -> HuggingFaceVision:
    """Return one, in double precision for exact comparisons."""
    torch.manual_seed(0)
    model, processor = MODELS[name]()
    return HuggingFaceVision(model.double(), processor, (3, side, side), **settings)


def _random(model: Any) -> Any:
    """Return a model whose answers hang on the picture: transformers' own start is nearly uniform."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25)
    return model.eval()

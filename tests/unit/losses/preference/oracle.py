"""DPO and IPO as trl computes them, on a small random network, with what its logits were."""

import copy
import tempfile
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Given:
    """A batch as trl's collator makes it, chosen answers before rejected ones, with two networks' logits."""

    ids: Tensor
    told: Tensor
    policy: Tensor
    reference: Tensor


def trl_losses(kind: str, beta: float) -> tuple[Given, float]:
    """Return a batch, and the loss that trl gives it."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    words = ["<pad>", "<eos>", "a", "b", "c", "d", "e"]
    bare = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="a"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, pad_token="<pad>", eos_token="<eos>")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(words)
        )
        model, reference = LlamaForCausalLM(config), LlamaForCausalLM(config)
    rows: Any = Dataset.from_dict({"prompt": ["a b", "c"], "chosen": [" d e a", " b"], "rejected": [" e", " a c d d"]})
    with tempfile.TemporaryDirectory() as folder:
        settings = DPOConfig(
            folder, beta=beta, loss_type=[kind], use_cpu=True, bf16=False, gradient_checkpointing=False,
            report_to="none", disable_tqdm=True, per_device_train_batch_size=2,
        )  # fmt: skip
        trainer = DPOTrainer(
            copy.deepcopy(model), reference, args=settings, train_dataset=rows, processing_class=tokenizer
        )
        batch: Any = next(iter(trainer.get_train_dataloader()))
        with torch.no_grad():
            loss = trainer.compute_loss(trainer.model, dict(batch))
            ids, mask = batch["input_ids"], batch["attention_mask"]
            logits = [network(input_ids=ids, attention_mask=mask).logits for network in (model, reference)]
    return Given(ids, batch["completion_mask"].bool(), *logits), float(loss)

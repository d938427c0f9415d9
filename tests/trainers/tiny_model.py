"""A tiny random language model that is made here, and says what a test wants it to say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl.chat_template_utils import qwen3_chat_template


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and Qwen's special ones."""
    special = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
    ]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: place for place, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special[:3])
    tokenizer.add_tokens(special[3:])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=qwen3_chat_template,
    )


def save_tiny_model(folder: str | Path, answer: Callable[[str], str]) -> None:
    """Save a model with random weights, and its tokenizer, as a model of the Hub.

    Args:
        folder: Where.
        answer: Returns what any model generates from now on, from its prompt.
    """
    tokenizer = make_tokenizer()
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen3Config(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes, **heads)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    def generate(self: Any, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        said = [answer(prompt) + "<|im_end|>" for prompt in tokenizer.batch_decode(input_ids)]
        completions = tokenizer(said, padding=True, padding_side="right", return_tensors="pt")
        return torch.cat([input_ids, completions["input_ids"]], dim=1)

    Qwen3ForCausalLM.generate = generate  # type: ignore[method-assign]

"""Models of a real size with random weights, made where they are needed: nothing is fetched.

Knows sizes, folders and the catalog that names them; nothing of what is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma4ForConditionalGeneration,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen3_5ForConditionalGeneration,
)

from tests import tiny

VOCABULARY = 32_000
MOST_TOKENS = 4096
_COMMON = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": MOST_TOKENS,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 0,
}
SMALL = {
    **_COMMON,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
}
"""A Llama of 174 million parameters."""
LARGE = {
    **_COMMON,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
"""A Llama of 787 million parameters."""
FAMILY = {
    **_COMMON,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
}
"""What the models of all six architectures have in common; each has 75 million parameters, more or less."""
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def save_llama(folder: Path, sizes: Mapping[str, Any] = SMALL) -> Path:
    """A Llama in bfloat16, as the Hub would hold it."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**sizes), dtype=torch.bfloat16)
    return _save(model, folder, sizes["vocab_size"])


def save_family(kind: str, folder: Path, sizes: Mapping[str, Any] = FAMILY) -> Path:
    """A model of one of `tests.tiny.ARCHITECTURES` in bfloat16."""
    torch.manual_seed(0)
    config = tiny.make_config(kind, sizes, head=sizes["hidden_size"] // sizes["num_attention_heads"])
    makers: dict[str, Any] = {"qwen3_5": Qwen3_5ForConditionalGeneration, "gemma4": Gemma4ForConditionalGeneration}
    model = makers[kind](config) if kind in makers else AutoModelForCausalLM.from_config(config)
    return _save(model.to(torch.bfloat16), folder, sizes["vocab_size"])


def save_adapter(base: Path, folder: Path, seed: int) -> Path:
    """A random LoRA of rank 16 on every Linear of the Llama in `base`."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    torch.manual_seed(seed)
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=16, target_modules=LINEARS, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.01)
    tuned.save_pretrained(str(folder))
    return folder


def save_catalog(folder: Path, llamas: Mapping[str, Mapping[str, Any]], family: Mapping[str, Any]) -> Path:
    """Makes all models under `folder` and a catalog of them. Each Llama `NAME` comes with two fine-tunes, `NAME-tuned`
    and `NAME-other`, and once more in int8 as `NAME-int8`; each architecture has its own name."""
    lines = ["models:"]
    for name, sizes in llamas.items():
        base = save_llama(folder / name, sizes)
        lines += [f"  - {{id: {name}, path: {name}}}", f"  - {{id: {name}-int8, path: {name}, dtype: int8}}"]
        for seed, tune in enumerate(("tuned", "other")):
            save_adapter(base, folder / f"{name}-{tune}", seed)
            lines.append(f"  - {{id: {name}-{tune}, base_model: {name}, adapter: {name}-{tune}, merge: never}}")
    for kind in tiny.ARCHITECTURES:
        save_family(kind, folder / kind, family)
        lines.append(f"  - {{id: {kind}, path: {kind}}}")
    file = folder / "models.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def num_weights(folder: Path) -> int:
    """How many numbers a folder's weights are."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        return sum(torch.Size(file.get_slice(name).get_shape()).numel() for name in file.keys())  # noqa: SIM118


def _save(model: Any, folder: Path, num_tokens: int) -> Path:
    # Without an end token all programs give answers of the length that they are asked for.
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    _make_tokenizer(num_tokens).save_pretrained(folder)
    return folder


def _make_tokenizer(num_tokens: int) -> PreTrainedTokenizerFast:
    """The tests' tokenizer with a word for every further token, so that whatever is answered has a text."""
    small = tiny.make_tokenizer()
    told = json.loads(small.backend_tokenizer.to_str())
    vocabulary = told["model"]["vocab"] = {**told["model"]["vocab"], **small.get_added_vocab()}
    vocabulary |= {f"Ġw{token_id}": token_id for token_id in range(len(vocabulary), num_tokens)}
    backend = Tokenizer.from_str(json.dumps(told))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = small.chat_template
    return tokenizer

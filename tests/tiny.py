"""Real models of all six architectures, too small to know anything: random weights from config classes,
a trained byte-level tokenizer, adapters made by peft. Nothing here is a stand-in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    GraniteConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Starcoder2Config,
)

ARCHITECTURES = ("qwen3_5", "gemma4", "llama", "phi3", "granite", "starcoder2")
VOCABULARY = 320
WINDOW = 24
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
THINKING_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>{% if not enable_thinking %}</think>{% endif %}{% endif %}"
)

ATTENTION = {
    "qwen3_5": ["q_proj", "v_proj", "in_proj_qkv", "out_proj"],
    "gemma4": r".*language_model.*\.(q_proj|o_proj|gate_proj|down_proj)",
    "llama": ["q_proj", "v_proj", "down_proj"],
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj"],
    "granite": ["q_proj", "v_proj", "up_proj"],
    "starcoder2": ["q_proj", "c_fc", "c_proj"],
}


def make_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level BPE of `VOCABULARY` tokens with four special ones."""
    special = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<think>", "</think>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special[:4],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog again and again"] * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.add_tokens(special[4:])
    fast.chat_template = template
    return fast


_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def make_config(kind: str, sizes: Mapping[str, Any] = _COMMON, head: int = 16) -> Any:
    """The configuration of `kind`: what all six have in common, and how long a head is where it may be said."""
    common, num_layers = {**copy.deepcopy(_COMMON), **sizes}, sizes["num_hidden_layers"]
    if kind == "llama":
        return LlamaConfig(**common)
    if kind == "granite":
        return GraniteConfig(
            **common,
            embedding_multiplier=2.0,
            attention_multiplier=0.3,
            residual_multiplier=0.7,
            logits_scaling=2.0,
        )
    if kind == "phi3":
        return Phi3Config(**common, sliding_window=None)
    if kind == "starcoder2":
        return Starcoder2Config(**common, sliding_window=WINDOW, use_bias=True)
    if kind == "qwen3_5":
        text = {
            **common,
            "head_dim": head,
            "linear_key_head_dim": head,
            "linear_value_head_dim": head,
            "linear_num_key_heads": common["num_key_value_heads"],
            "linear_num_value_heads": common["num_attention_heads"],
            "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * (num_layers // 4),
        }
        vision = {
            "depth": 1,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 16,
            "out_hidden_size": common["hidden_size"],
            "num_position_embeddings": 16,
        }
        return Qwen3_5Config(text_config=text, vision_config=vision)
    text = {
        **common,
        "num_hidden_layers": num_layers + 2,
        "head_dim": head,
        "global_head_dim": 2 * head,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"] * (num_layers // 2 + 1),
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": common["vocab_size"],
        "use_double_wide_mlp": True,
    }
    return Gemma4Config(text_config=text, vision_config=None, audio_config=None)


def make_model(kind: str, seed: int = 0, *, tied: bool = False) -> Any:
    torch.manual_seed(seed)
    config = make_config(kind)
    config.get_text_config().tie_word_embeddings = config.tie_word_embeddings = tied or config.tie_word_embeddings
    if kind == "qwen3_5":
        model: Any = Qwen3_5ForConditionalGeneration(config)
    elif kind == "gemma4":
        model = Gemma4ForConditionalGeneration(config)
    else:
        model = AutoModelForCausalLM.from_config(config)
    # Default initializations hide mistakes: near-zero logits, unit norms.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            elif parameter.ndim >= 2:
                parameter.mul_(4)
    return model.eval()


def save_base(
    kind: str,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    template: str | None = TEMPLATE,
    *,
    tied: bool = False,
    seed: int = 0,
) -> Path:
    """A checkpoint folder of `kind` as the Hub would hold it."""
    model = make_model(kind, seed, tied=tied).to(dtype)
    model.generation_config.eos_token_id = 0
    model.save_pretrained(folder)
    make_tokenizer(template).save_pretrained(folder)
    return folder


def save_adapter(kind: str, base: Path, folder: Path, seed: int = 1, **settings: Any) -> Path:
    """A LoRA by peft over the checkpoint at `base`, with a change that shows."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(seed)
    options = {"r": 4, "lora_alpha": 8, "target_modules": ATTENTION[kind], **settings}
    peft_model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_B" in name or "lora_A" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.25)
            elif "modules_to_save" in name or "magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
    peft_model.save_pretrained(str(folder))
    return folder


def save_untrained_adapter(kind: str, base: Path, folder: Path) -> Path:
    """A LoRA as peft initializes it, saved before any training: its B is zero, so it changes nothing."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=ATTENTION[kind])
    get_peft_model(model, config).save_pretrained(str(folder))
    return folder

"""The demo base as a GGUF file, for llama.cpp: the same weights in float32, the same tokens, the same template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def save_gguf(base: Path, file: Path) -> None:
    """Writes `base`, a Llama with tied embeddings as transformers saves it, into `file`."""
    import gguf  # pyright: ignore[reportMissingImports]

    config = json.loads((base / "config.json").read_text())
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_name("demo")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokens(writer, base, config)
    for name, tensor in load_file(base / "model.safetensors").items():
        writer.add_tensor(*_tensor(name, tensor.float(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensor(name: str, tensor: torch.Tensor, config: dict[str, Any]) -> tuple[str, Any]:
    if name in TOP:
        return TOP[name], tensor.numpy()
    _, _, layer, rest = name.split(".", 3)
    part = rest.removesuffix(".weight")
    heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(part)
    if heads:
        # transformers turns the halves of a head against each other, llama.cpp neighbours.
        rows, columns = tensor.shape
        halves = tensor.reshape(config[heads], 2, rows // config[heads] // 2, columns)
        tensor = halves.transpose(1, 2).reshape(rows, columns)
    return f"blk.{layer}.{NAMES[part]}.weight", tensor.contiguous().numpy()


def _add_tokens(writer: Any, base: Path, config: dict[str, Any]) -> None:
    import gguf  # pyright: ignore[reportMissingImports]

    tokenizer = json.loads((base / "tokenizer.json").read_text())
    special = {token["content"] for token in tokenizer["added_tokens"]}
    by_id = {token_id: token for token, token_id in tokenizer["model"]["vocab"].items()}
    tokens = [by_id[token_id] for token_id in range(config["vocab_size"])]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    # Digits one by one, then GPT-2's own cuts: so does this tokenizer.
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in special else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((base / "chat_template.jinja").read_text())

"""A Llama's folder as a GGUF file, for llama.cpp: the same weights, the same tokens, the same template.

Needs numpy and gguf alone, so that it runs where llama.cpp is installed and torch is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

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
HEADS = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}
KINDS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""numpy knows no bfloat16: its bits are kept in an integer."""


def save_gguf(base: Path, file: Path, dtype: Literal["float32", "bfloat16"] = "float32") -> None:
    """Writes `base`, a Llama with tied embeddings as transformers saves it, into `file`. In bfloat16 its files must be
    in bfloat16 too; norms are float32 as llama.cpp wants them."""
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
    for name, bits in _tensors(base / "model.safetensors"):
        theirs, tensor = _as_there(name, bits, config)
        if dtype == "float32" or tensor.ndim == 1:
            writer.add_tensor(theirs, _as_floats(tensor))
        else:
            assert tensor.dtype == np.uint16, f"{name} is not in bfloat16"
            writer.add_tensor(theirs, tensor.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """A safetensors file's tensors: eight bytes say how long its JSON header is, and the data follow that."""
    size = int.from_bytes(file.open("rb").read(8), "little")
    header = json.loads(file.open("rb").read(8 + size)[8:])
    data = np.memmap(file, np.uint8, "r", 8 + size)
    for name, about in header.items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            yield name, data[begin:end].view(KINDS[about["dtype"]]).reshape(about["shape"])


def _as_floats(tensor: np.ndarray) -> np.ndarray:
    if tensor.dtype == np.uint16:
        return (tensor.astype(np.uint32) << 16).view(np.float32)
    return tensor.astype(np.float32)


def _as_there(name: str, tensor: np.ndarray, config: dict[str, Any]) -> tuple[str, np.ndarray]:
    if name in TOP:
        return TOP[name], tensor
    _, _, layer, rest = name.split(".", 3)
    part = rest.removesuffix(".weight")
    if part in HEADS:
        # transformers turns the halves of a head against each other, llama.cpp neighbours.
        rows, columns = tensor.shape
        heads = config[HEADS[part]]
        tensor = tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    return f"blk.{layer}.{NAMES[part]}.weight", np.ascontiguousarray(tensor)


def _add_tokens(writer: Any, base: Path, config: dict[str, Any]) -> None:
    import gguf  # pyright: ignore[reportMissingImports]

    tokenizer = json.loads((base / "tokenizer.json").read_text())
    special = {token["content"] for token in tokenizer["added_tokens"]}
    by_id = {token_id: token for token, token_id in tokenizer["model"]["vocab"].items()}
    tokens = [by_id[token_id] for token_id in range(config["vocab_size"])]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    # Digits one by one, then GPT-2's own cuts: so does the demo's tokenizer.
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in special else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    for name in ("bos", "eos", "pad"):
        if config[f"{name}_token_id"] is not None:
            getattr(writer, f"add_{name}_token_id")(config[f"{name}_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((base / "chat_template.jinja").read_text())

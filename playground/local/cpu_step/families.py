"""Each architecture's decode step, told op by op: one small translator a family.

Knows transformers' module trees; nothing of threads, rows or how an op is carried out. What a translator has not
seen is refused, and the reference stepper runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import DynamicCache

from playground.local.cpu_step.plan import ACTIVATIONS, SIGMOID, SILU, Builder, NotPlannable, Plan, Slot, Span

_UNSTEADY = ("dynamic",)
"""Kinds of rotary frequencies that change with the length of the text."""


def plan_of(model: Any) -> Plan:
    """The decode step of a model on the CPU; raises `NotPlannable` with the reason why there is none."""
    config = model.config.get_text_config(decoder=True)
    translate = _TRANSLATORS.get(config.model_type)
    if translate is None:
        raise NotPlannable(f"there is no translator for {config.model_type}")
    step = _Step(model, config)
    translate(step)
    return step.builder.build()


class _Step:
    """What all translators use: the builder, the module tree, and the buffers that every layer works in."""

    def __init__(self, model: Any, config: Any) -> None:
        dtype = str(model.dtype).removeprefix("torch.")
        if dtype not in ("bfloat16", "float32"):
            raise NotPlannable(f"it calculates in {dtype}")
        self.builder = Builder(dtype)
        self.model, self.config, self.decoder = model, config, model.get_decoder()
        self._names = {id(module): name for name, module in model.named_modules()}
        self.windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=config).layers]
        self.h, self.x = self.builder.buffer(config.hidden_size), self.builder.buffer(config.hidden_size)
        self._buffers: dict[str, Span] = {}

    def buffer(self, name: str, width: int) -> Span:
        """A buffer that layers share by name; the widest of them says how wide it is."""
        own = self._buffers.get(f"{name} {width}")
        if own is None:
            own = self._buffers[f"{name} {width}"] = self.builder.buffer(width)
        return own

    def linear(self, out: Span, x: Span, module: Any, **settings: Any) -> None:
        if not isinstance(module, nn.Linear):
            raise NotPlannable(f"{type(module).__name__} in place of a linear layer")
        self.builder.linear(out, x, self._names[id(module)], module, **settings)

    def norm(self, out: Span, x: Span, module: Any, shift: float = 0.0, **settings: Any) -> None:
        eps = getattr(module, "variance_epsilon", None) or module.eps
        self.builder.norm(out, x, module.weight, eps, bias=getattr(module, "bias", None), shift=shift, **settings)

    def activation(self, name: str) -> int:
        if name not in ACTIVATIONS:
            raise NotPlannable(f"activation {name}")
        return ACTIVATIONS[name]

    def rotary(self, prefix: str = "") -> int:
        """The angles of the decoder's own rotary module; `prefix` where it has several."""
        module = self.decoder.rotary_emb
        kind = module.rope_type[prefix.rstrip("_")] if prefix else module.rope_type
        if kind in _UNSTEADY:
            raise NotPlannable(f"rotary embeddings of type {kind}")
        frequencies = getattr(module, f"{prefix}original_inv_freq")
        return self.builder.rotary(frequencies, getattr(module, f"{prefix}attention_scaling"))

    def head(self, factor: float = 1.0, cap: float = 0.0) -> None:
        """The last linear layer, from `x` to logits."""
        head = self.model.get_output_embeddings()
        logits = self.builder.buffer(head.weight.shape[0])
        self.linear(logits, self.x, head, factor=factor, row_major=True)
        if cap:
            self.builder.cap(logits, cap)

    def kept(self, layer: int, heads: int, size: int) -> int:
        """The slot for a layer's keys and values."""
        return self.builder.slot(Slot(layer, heads, size, self.windows[layer]))

    def attention(
        self, layer: int, module: Any, scale: float, rotary: int, frequencies: int, factor: float = 1.0
    ) -> None:
        """Plain attention with a residual: separate or fused projections, rotary over the first numbers of a head."""
        b, config, size = self.builder, self.config, module.head_dim
        num_heads, num_kept = config.num_attention_heads, config.num_key_value_heads
        if hasattr(module, "qkv_proj"):
            fused = self.buffer("qkv", (num_heads + 2 * num_kept) * size)
            self.linear(fused, self.x, module.qkv_proj)
            q = fused.part(0, num_heads * size)
            k = fused.part(num_heads * size, num_kept * size)
            v = fused.part((num_heads + num_kept) * size, num_kept * size)
        else:
            q, k, v = (self.buffer(n, c * size) for n, c in (("q", num_heads), ("k", num_kept), ("v", num_kept)))
            for out, own in ((q, module.q_proj), (k, module.k_proj), (v, module.v_proj)):
                self.linear(out, self.x, own)
        slot = self.kept(layer, num_kept, size)
        b.heads(q, num_heads, rotary=rotary, apart=frequencies)
        b.heads(k, num_kept, rotary=rotary, apart=frequencies, slot=slot)
        b.heads(v, num_kept, slot=slot, values=True)
        mixed = self.buffer("mixed", num_heads * size)
        b.attend(mixed, q, num_heads, slot, scale)
        self.linear(self.h, mixed, module.o_proj, add=True, factor=factor)

    def gated(self, out: Span, gate: Any, up: Any, down: Any, activation: int, **settings: Any) -> None:
        """activation(gate x) · up x, through down into `out`."""
        width = gate.weight.shape[0]
        g, u = self.buffer("gate", width), self.buffer("up", width)
        self.linear(g, self.x, gate)
        self.linear(u, self.x, up)
        self.builder.act(g, g, activation, u)
        self.linear(out, g, down, **settings)


def _llama(step: _Step) -> None:
    """Llama, Granite with its multipliers, Phi-3 with its fused projections."""
    b, config = step.builder, step.config
    residual = getattr(config, "residual_multiplier", 1.0)
    rotary = step.rotary()
    pairs = len(step.decoder.rotary_emb.original_inv_freq)
    b.embed(step.h, step.decoder.embed_tokens.weight, getattr(config, "embedding_multiplier", 1.0))
    for i, layer in enumerate(step.decoder.layers):
        step.norm(step.x, step.h, layer.input_layernorm)
        step.attention(i, layer.self_attn, layer.self_attn.scaling, rotary, pairs, residual)
        step.norm(step.x, step.h, layer.post_attention_layernorm)
        mlp, activation = layer.mlp, step.activation(config.hidden_act)
        if hasattr(mlp, "gate_up_proj"):
            width = mlp.down_proj.weight.shape[1]
            both = step.buffer("gate_up", 2 * width)
            step.linear(both, step.x, mlp.gate_up_proj)
            gate = both.part(0, width)
            b.act(gate, gate, activation, both.part(width, width))
            step.linear(step.h, gate, mlp.down_proj, add=True, factor=residual)
        else:
            down = {"add": True, "factor": residual}
            step.gated(step.h, mlp.gate_proj, mlp.up_proj, mlp.down_proj, activation, **down)
    step.norm(step.x, step.h, step.decoder.norm)
    step.head(1 / getattr(config, "logits_scaling", 1.0))


def _starcoder2(step: _Step) -> None:
    b, config = step.builder, step.config
    rotary, pairs = step.rotary(), len(step.decoder.rotary_emb.original_inv_freq)
    b.embed(step.h, step.decoder.embed_tokens.weight)
    for i, layer in enumerate(step.decoder.layers):
        step.norm(step.x, step.h, layer.input_layernorm)
        step.attention(i, layer.self_attn, layer.self_attn.scaling, rotary, pairs)
        step.norm(step.x, step.h, layer.post_attention_layernorm)
        wide = step.buffer("wide", layer.mlp.c_fc.weight.shape[0])
        step.linear(wide, step.x, layer.mlp.c_fc)
        b.act(wide, wide, step.activation(config.hidden_act))
        step.linear(step.h, wide, layer.mlp.c_proj, add=True)
    step.norm(step.x, step.h, step.decoder.norm)
    step.head()


def _qwen3_5(step: _Step) -> None:
    b, config = step.builder, step.config
    rotary, pairs = step.rotary(), len(step.decoder.rotary_emb.original_inv_freq)
    b.embed(step.h, step.decoder.embed_tokens.weight)
    for i, layer in enumerate(step.decoder.layers):
        step.norm(step.x, step.h, layer.input_layernorm, shift=1.0)
        if hasattr(layer, "linear_attn"):
            _gated_delta(step, i, layer.linear_attn)
        else:
            _gated_attention(step, i, layer.self_attn, rotary, pairs)
        step.norm(step.x, step.h, layer.post_attention_layernorm, shift=1.0)
        mlp = layer.mlp
        step.gated(step.h, mlp.gate_proj, mlp.up_proj, mlp.down_proj, step.activation(config.hidden_act), add=True)
    step.norm(step.x, step.h, step.decoder.norm, shift=1.0)
    step.head()


def _gated_attention(step: _Step, i: int, module: Any, rotary: int, pairs: int) -> None:
    """Each head's query lies beside a gate that its output passes."""
    b, config, size = step.builder, step.config, module.head_dim
    num_heads, num_kept = config.num_attention_heads, config.num_key_value_heads
    both = step.buffer("query and gate", 2 * num_heads * size)
    q, gate = step.buffer("q", num_heads * size), step.buffer("query gate", num_heads * size)
    k, v = step.buffer("k", num_kept * size), step.buffer("v", num_kept * size)
    for out, own in ((both, module.q_proj), (k, module.k_proj), (v, module.v_proj)):
        step.linear(out, step.x, own)
    slot = step.kept(i, num_kept, size)
    weights = {"shift": 1.0, "rotary": rotary, "apart": pairs}
    b.heads(both, num_heads, out=q, step=2 * size, weight=module.q_norm.weight, eps=module.q_norm.eps, **weights)
    b.heads(both.part(size, both.size - size), num_heads, out=gate, step=2 * size)
    b.heads(k, num_kept, weight=module.k_norm.weight, eps=module.k_norm.eps, slot=slot, **weights)
    b.heads(v, num_kept, slot=slot, values=True)
    mixed = step.buffer("mixed", num_heads * size)
    b.attend(mixed, q, num_heads, slot, module.scaling)
    b.act(mixed, gate, SIGMOID, mixed)
    step.linear(step.h, mixed, module.o_proj, add=True)


def _gated_delta(step: _Step, i: int, module: Any) -> None:
    """Linear attention: a short convolution, the gated delta rule, a norm for each head and a gate."""
    if module.activation != "silu":
        raise NotPlannable(f"linear attention with activation {module.activation}")
    b, keys, values = step.builder, module.key_dim, module.value_dim
    raw, mixed = step.buffer("raw", 2 * keys + values), step.buffer("convolved", 2 * keys + values)
    z, out = step.buffer("z", values), step.buffer("recalled", values)
    beta, decay = step.buffer("beta", module.num_v_heads), step.buffer("decay", module.num_v_heads)
    projections = (raw, module.in_proj_qkv), (z, module.in_proj_z), (beta, module.in_proj_b), (decay, module.in_proj_a)
    for place, own in projections:
        step.linear(place, step.x, own)
    slot = b.slot(Slot(i, module.num_v_heads, module.head_v_dim, channels=2 * keys + values, keys=module.head_k_dim))
    b.convolve(mixed, raw, module.conv1d.weight, slot)
    b.delta(out, mixed, beta, decay, module.A_log, module.dt_bias, module.num_k_heads, slot)
    norm = module.norm
    b.norm(out, out, norm.weight, norm.variance_epsilon, group=module.head_v_dim)
    b.act(z, z, SILU, out)
    step.linear(step.h, z, module.out_proj, add=True)


def _gemma4(step: _Step) -> None:
    b, config, decoder = step.builder, step.config, step.decoder
    if config.enable_moe_block:
        raise NotPlannable("a mixture of experts")
    b.embed(step.h, decoder.embed_tokens.weight, decoder.embed_tokens.scalar_embed_scale)
    inputs = _per_layer_inputs(step) if config.hidden_size_per_layer_input else None
    rotaries = {kind: step.rotary(f"{kind}_") for kind in decoder.unique_layer_types}
    pairs = {kind: len(getattr(decoder.rotary_emb, f"{kind}_original_inv_freq")) for kind in rotaries}
    slots: dict[str, int] = {}
    for i, layer in enumerate(decoder.layers):
        kind = config.layer_types[i]
        step.norm(step.x, step.h, layer.input_layernorm)
        out = step.buffer("out", config.hidden_size)
        _gemma4_attention(step, i, layer.self_attn, rotaries[kind], pairs[kind], slots, out)
        step.norm(step.h, out, layer.post_attention_layernorm, add=True)
        step.norm(step.x, step.h, layer.pre_feedforward_layernorm)
        mlp = layer.mlp
        activation, scalar = step.activation(config.hidden_activation), float(layer.layer_scalar)
        step.gated(out, mlp.gate_proj, mlp.up_proj, mlp.down_proj, activation)
        last = inputs is None
        step.norm(step.h, out, layer.post_feedforward_layernorm, add=True, scale=scalar if last else 1.0)
        if inputs is None:
            continue
        size = config.hidden_size_per_layer_input
        gate = step.buffer("input gate", size)
        step.linear(gate, step.h, layer.per_layer_input_gate)
        b.act(gate, gate, activation, inputs.part(i * size, size))
        step.linear(out, gate, layer.per_layer_projection)
        step.norm(step.h, out, layer.post_per_layer_input_norm, add=True, scale=scalar)
    step.norm(step.x, step.h, decoder.norm)
    cap = config.final_logit_softcapping
    step.head(1 / cap if cap else 1.0, cap or 0.0)


def _per_layer_inputs(step: _Step) -> Span:
    """What every layer is given of the token once more, all layers' side by side."""
    b, config, decoder = step.builder, step.config, step.decoder
    size = config.hidden_size_per_layer_input
    both, looked_up = (b.buffer(config.num_hidden_layers * size) for _ in range(2))
    step.linear(both, step.h, decoder.per_layer_model_projection, factor=decoder.per_layer_model_projection_scale)
    step.norm(both, both, decoder.per_layer_projection_norm, group=size)
    table = decoder.embed_tokens_per_layer
    b.embed(looked_up, table.weight, table.scalar_embed_scale)
    b.add(both, looked_up, 1.0, decoder.per_layer_input_scale)
    return both


def _gemma4_attention(
    step: _Step, i: int, module: Any, rotary: int, apart: int, slots: dict[str, int], out: Span
) -> None:
    """Norms on queries, keys and values; some layers read the keys and values of an earlier one of their kind."""
    b, config, size = step.builder, step.config, module.head_dim
    num_heads = config.num_attention_heads
    num_kept = num_heads // module.num_key_value_groups
    q = step.buffer("q", num_heads * size)
    step.linear(q, step.x, module.q_proj)
    b.heads(q, num_heads, weight=module.q_norm.weight, eps=module.q_norm.eps, rotary=rotary, apart=apart)
    if not module.is_kv_shared_layer:
        slot = slots[module.layer_type] = step.kept(i, num_kept, size)
        k, v = step.buffer("k", num_kept * size), step.buffer("v", num_kept * size)
        step.linear(k, step.x, module.k_proj)
        if module.v_proj is not None:
            step.linear(v, step.x, module.v_proj)
        values = v if module.v_proj is not None else k
        b.heads(values, num_kept, out=v, eps=module.v_norm.eps, slot=slot, values=True)
        b.heads(k, num_kept, weight=module.k_norm.weight, eps=module.k_norm.eps, rotary=rotary, apart=apart, slot=slot)
    mixed = step.buffer("mixed", num_heads * size)
    b.attend(mixed, q, num_heads, slots[module.layer_type], module.scaling)
    step.linear(out, mixed, module.o_proj)


_TRANSLATORS: dict[str, Callable[[_Step], None]] = {
    "llama": _llama,
    "granite": _llama,
    "phi3": _llama,
    "starcoder2": _starcoder2,
    "qwen3_5_text": _qwen3_5,
    "gemma4_text": _gemma4,
}

"""A base model out of a folder: how big it is, its weights (a lazy mmap, or fewer bits), tokenizer and end tokens.

Knows files and transformers' loading; nothing of rows, adapters or requests. After `load_base` returns,
nobody writes to these tensors.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from playground import hub
from playground.errors import Cancelled, ModelLoadFailed
from playground.local import quantized
from playground.local.interrupt import make_breakable
from playground.local.progress import heard_by
from playground.types import LoadWatch, ModelCard, Progress

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
UNKNOWN_CONTEXT = 2048
_PROBE = "\u2402turn\u2402"


@dataclass(slots=True, eq=False)
class Base:
    """A loaded base. `dtype` is what it calculates in, `kept_as` the name of what most weights are kept in;
    `context_limit` is what the weights can take, in tokens; `chat_template` is the tokenizer's own; `num_bytes` is what
    the tensors take in memory."""

    card: ModelCard
    model: Any
    tokenizer: Any
    dtype: torch.dtype
    kept_as: str
    device: torch.device
    context_limit: int
    chat_template: str | None
    num_bytes: int
    notes: tuple[str, ...] = ()


def folder_of(card: ModelCard, watch: LoadWatch) -> Path:
    """The folder with a base's files, downloaded first where need be."""
    folder = hub.folder_on_disk(card.source, card.revision)
    return folder or hub.download(card.source, card.revision, watch)


def size_bytes(card: ModelCard, watch: LoadWatch) -> int:
    """Memory the weights will take, in bytes, from the files' headers."""
    tensors = hub.tensors_in(folder_of(card, watch))
    if card.dtype in quantized.QUANTIZED:
        _require_quantized(card)
    return hub.memory_bytes(tensors, card.dtype)


def load_base(card: ModelCard, watch: LoadWatch) -> Base:
    """Loads a base; raises `ModelLoadFailed` with a reason to act on, `Cancelled` when nobody waits.

    One load at a time in a process: transformers sets torch's default dtype for all while it makes a model.
    """
    folder = folder_of(card, watch)
    watch.report(Progress("loading", 0.0, card.name))
    with _as_load_failure(card, folder):
        model = _read_model(folder, card, watch)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model.eval().requires_grad_(False)
    _cure_strided_head(model)
    make_breakable(model)
    context_limit, notes = _context_limit(model.config.get_text_config(decoder=True))
    return Base(
        card=card,
        model=model,
        tokenizer=tokenizer,
        dtype=model.dtype,
        kept_as=card.dtype if card.dtype in quantized.QUANTIZED else str(model.dtype).removeprefix("torch."),
        device=model.device,
        context_limit=context_limit,
        chat_template=_default_template(tokenizer),
        num_bytes=sum(tensor.nbytes for _, tensor in tensors_of(model)),
        notes=notes,
    )


def tensors_of(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer once, tied ones under their first name, in a fixed order."""
    seen: set[int] = set()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all tensors: equal exactly where the weights are."""
    digest = hashlib.sha256()
    for name, tensor in tensors_of(model):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 over all that decides how text becomes tokens; templates aside."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def release_memory() -> None:
    """Gives freed memory back to the system; call it after the last reference to the tensors is gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def _as_load_failure(card: ModelCard, folder: Path) -> Iterator[None]:
    """What transformers raises over broken files, as a reason that names them."""
    try:
        yield
    except (Cancelled, ModelLoadFailed):
        raise
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        TypeError,
        AttributeError,
        ImportError,
        AssertionError,
    ) as error:
        raise ModelLoadFailed(f"{card.id}: the files in {folder} cannot be loaded: {_in_a_line(error)}") from error


def device_of(card: ModelCard) -> torch.device:
    """Where a base calculates: where its entry says, else on a GPU where there is one."""
    return torch.device(card.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _require_quantized(card: ModelCard) -> None:
    assert card.dtype is not None
    reason = quantized.why_not(card.dtype, device_of(card))
    if reason is not None:
        raise ModelLoadFailed(f"{card.id}: dtype: {card.dtype!r} cannot be had: {reason}")


def _read_model(folder: Path, card: ModelCard, watch: LoadWatch) -> Any:
    """The model on its device, its weights as they lie in the files, in the card's dtype, or in fewer bits."""
    dtype = DTYPES.get(card.dtype or "") or DTYPES[hub.dtype_of(hub.tensors_in(folder))]
    device, settings = device_of(card), {}
    if card.dtype in quantized.QUANTIZED:
        _require_quantized(card)
        if device.type == "cuda":
            settings = quantized.bitsandbytes_settings(card.dtype, dtype, device)
    with heard_by(lambda done: watch.report(Progress("loading", done, card.name))):
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True, **settings)
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise ModelLoadFailed(f"{card.id}: the files in {folder} lack {len(missing)} tensors: {shown}")
    if settings:
        return model
    if card.dtype == "int8":
        quantized.quantize(model, lambda done: watch.report(Progress("loading", done, f"{card.name} into int8")))
    return model.to(device)


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no further reason given"
    return f"{type(error).__name__}: {text[:300]}"


def _cure_strided_head(model: Any) -> None:
    """Models hand `lm_head` a slice whose strides make a bf16 matmul on CPU copy the whole weight once a
    row, a hundred times slower; a dense copy of that one vector a row avoids it."""
    head = model.get_output_embeddings()
    if head is None or model.device.type != "cpu" or model.dtype == torch.float32:
        return

    def dense(_: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = args[0]
        return (hidden.reshape(-1, hidden.shape[-1]).clone().view(hidden.shape), *args[1:])

    head.register_forward_pre_hook(dense)


def _context_limit(config: Any) -> tuple[int, tuple[str, ...]]:
    length = getattr(config, "max_position_embeddings", None) or UNKNOWN_CONTEXT
    scaling = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    original = scaling.get("original_max_position_embeddings") or getattr(
        config, "original_max_position_embeddings", None
    )
    # longrope takes its frequencies from the longest row of a batch, which would let one row change another.
    if scaling.get("rope_type", scaling.get("type")) == "longrope" and original and original < length:
        note = f"context limited to {original} tokens: longer ones would let answers change one another"
        return original, (note,)
    return length, ()


def _default_template(tokenizer: Any) -> str | None:
    """The chat template that a tokenizer came with; of several named ones the one called default."""
    template = tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template or None


def end_ids(model: Any, tokenizer: Any, chat_template: str | None) -> frozenset[int]:
    """The union of what generation config, tokenizer and the template's end of turn say."""
    ids: set[int] = set()
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids.update(configured if isinstance(configured, list) else [configured] if configured is not None else [])
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    turn_end = _turn_end_id(tokenizer, chat_template) if chat_template else None
    if turn_end is not None:
        ids.add(turn_end)
    return frozenset(ids)


def _turn_end_id(tokenizer: Any, chat_template: str) -> int | None:
    """The special token that the template writes right after an assistant's words."""
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _PROBE}]
    with suppress(Exception):  # a template may refuse anything; then it tells nothing
        text = tokenizer.apply_chat_template(turns, chat_template=chat_template, tokenize=False)
        tail = text.rsplit(_PROBE, 1)[1]
        first = tokenizer(tail.lstrip(), add_special_tokens=False)["input_ids"][:1]
        if first and first[0] in tokenizer.added_tokens_decoder:
            return first[0]
    return None

"""How models are listed: the words of a picker, the line below it, and which pair stands there at first.

Knows a model's status and nothing of components.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from playground.types import ModelStatus

ON_DISK = ("disk", "loading", "ready")
MAX_REASON_CHARS = 48


def choices(models: Sequence[ModelStatus]) -> list[tuple[str, str]]:
    """(label, id) of every model, fine-tunes marked under their base."""
    return [(_label(model), model.card.id) for model in models]


def first_pair(models: Sequence[ModelStatus]) -> tuple[str | None, str | None]:
    """The first base and fine-tune in the catalog that need no download; else what there is."""
    ready = {model.card.id: model for model in models if model.state in ON_DISK}
    for model in ready.values():
        if model.card.base_model in ready:
            return model.card.base_model, model.card.id
    runnable = [model.card.id for model in models if model.state != "failed"]
    return (runnable[0], runnable[-1]) if runnable else (None, None)


def tune(models: Sequence[ModelStatus], chosen: str | None) -> ModelStatus | None:
    """The fine-tune that is chosen, if one is."""
    return next((one for one in models if one.card.id == chosen and one.card.type == "fine-tuned"), None)


def note(models: Sequence[ModelStatus], chosen: str | None) -> dict[str, Any]:
    """One line on a chosen model: what the picker's words leave out."""
    by_id = {model.card.id: model for model in models}
    model = by_id.get(chosen or "")
    if model is None:
        return {"text": "No model is chosen.", "tone": "bad"}
    if model.state == "failed":
        told = f"Cannot be run: {model.card.problem}" if model.card.problem else f"Failed: {model.reason}"
        return {"text": told, "tone": "bad"}
    base = by_id.get(model.card.base_model or "")
    told = [f"Fine-tune of {base.card.name}" if base else "Base model"]
    if model.card.dtype:
        told.append(f"in {model.card.dtype}")
    if model.card.context_length:
        told.append(f"{model.card.context_length:,} tokens of context")
    if not model.chat:
        told.append("no chat template")
    if model.card.is_remote:
        told.append("another server answers")
    if model.card.description:
        told.append(model.card.description)
    return {"text": " · ".join(told), "tone": "plain"}


def size(num_bytes: int) -> str:
    """In the decimal units of the Hub's own pages."""
    value = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _label(model: ModelStatus) -> str:
    card = model.card
    # A checkpoint is called checkpoint-N whatever the run.
    name = card.name if card.step is None or card.run is None else f"{card.run.rpartition('/')[2]}/{card.name}"
    return f"{'↳ ' if card.base_model else ''}{name} · {_state(model)}"


def _state(model: ModelStatus) -> str:
    if model.state == "failed":
        reason = model.reason or model.card.problem or ""
        cut = reason if len(reason) <= MAX_REASON_CHARS else reason[: MAX_REASON_CHARS - 1] + "…"
        return f"cannot be run: {cut}" if model.card.problem else f"failed: {cut}"
    if model.card.is_remote:
        return "asking its server" if model.state == "loading" else "remote"
    of_size = f" · {size(model.size_bytes)}" if model.size_bytes else ""
    if model.state == "hub":
        return f"{size(model.size_bytes)} to download" if model.size_bytes else "to download"
    return {"disk": f"on disk{of_size}", "loading": "loading", "ready": "loaded"}[model.state]

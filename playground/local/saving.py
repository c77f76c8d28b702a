"""A merged fine-tune as a folder that `AutoModelForCausalLM.from_pretrained` loads, with a README of where it is from.

Knows files and transformers' saving; nothing of how the merge was made. A folder is there whole or not at all: it is
written under another name beside its place, which must be free.
"""

from __future__ import annotations

import copy
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from playground import hub
from playground.errors import SaveFailed
from playground.evidence import Fidelity, Saved
from playground.local.progress import heard_by
from playground.types import GenerationRequest, LoadWatch, Message, ModelCard, Progress

SHARD = "1GB"
"""Of files this large: between two of them a save can be given up."""
QUESTION = "Hello! What can you help me with?"
"""What the fidelity of every saved merge is measured on."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a merge is from: a fine-tune's card and its base's, the base's folder, the hashes of both, and how near the
    merge is to the adapter by row."""

    card: ModelCard
    base: ModelCard
    base_folder: Path
    base_hash: str
    adapter_hash: str
    fidelity: tuple[Fidelity, ...]


def asked(model_id: str, chat_template: str | None) -> GenerationRequest:
    """What the fidelity is measured on: a chat where there is a template, else the bare text."""
    if chat_template is None:
        return GenerationRequest(model_id, prompt=QUESTION)
    return GenerationRequest(model_id, (Message("user", QUESTION),))


def with_template(tokenizer: Any, chat_template: str | None) -> Any:
    """A copy of the tokenizer whose default template is the one that the fine-tune is spoken to with."""
    own = copy.deepcopy(tokenizer)
    own.chat_template = {**own.chat_template, "default": chat_template} if _is_named(own) else chat_template
    return own


def _is_named(tokenizer: Any) -> bool:
    return isinstance(tokenizer.chat_template, dict)


def require_place(folder: Path, num_bytes: int) -> None:
    """Raises `InvalidRequest` where `folder` is there already or cannot be made, `SaveFailed` where its disk has no
    room for `num_bytes`."""
    hub.require_new(folder)
    free = shutil.disk_usage(folder.parent).free
    if num_bytes > free:
        raise SaveFailed(
            f"{folder} needs {num_bytes / 1e9:.2f} GB and its disk has {free / 1e9:.2f} GB free: make room, or choose "
            "another disk"
        )


def save(view: Any, tokenizer: Any, origin: Origin, folder: Path, watch: LoadWatch) -> Saved:
    """Writes the merged model `view` into `folder`, which is not there before and complete after; what `watch.report`
    raises gives it up. Raises `SaveFailed`."""
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir()
        _tell_ties(view)
        with heard_by(lambda done: watch.report(Progress("saving", done, folder.name))):
            view.save_pretrained(part, max_shard_size=SHARD)
        tokenizer.save_pretrained(part)
        (part / "README.md").write_text(_readme(origin, view.dtype), encoding="utf-8")
        for file in part.iterdir():
            # Weights come out readable by nobody else, whatever the person's umask says of new files.
            file.chmod((part / "README.md").stat().st_mode)
        num_bytes = sum(file.stat().st_size for file in part.iterdir())
        watch.report(Progress("saving", 1.0, folder.name))
        # Only who makes the folder may put something in its place, so that nobody's is replaced.
        folder.mkdir()
        part.replace(folder)
    except (OSError, SafetensorError, ValueError) as error:
        raise SaveFailed(f"{folder} could not be written: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Saved(str(folder), num_bytes, origin.fidelity)


def _tell_ties(view: Any) -> None:
    """Makes the configuration say whether head and embedding are one, as the merge has left them: whoever loads them
    ties by that, and a merge may have parted them, or peft have written so of two that are still equal."""
    head, embedding = view.get_output_embeddings(), view.get_input_embeddings()
    if head is None:
        return
    one = head.weight is embedding.weight or torch.equal(head.weight, embedding.weight)
    if one:
        head.weight = embedding.weight
    for config in (view.config, view.config.get_text_config(decoder=True)):
        config.tie_word_embeddings = one


def _readme(origin: Origin, dtype: torch.dtype) -> str:
    card, base = origin.card, origin.base
    on_hub = not os.path.isabs(base.source)
    license_name = hub.front_matter(origin.base_folder).get("license")
    facts = {
        **({"base_model": base.source} if on_hub else {}),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["lora", hub.MARK],
        **({"license": license_name} if isinstance(license_name, str) else {}),
    }
    adapter = card.adapter if card.adapter and not os.path.isabs(card.adapter) else card.id
    rows = [
        ("Base", base.source if on_hub else base.id),
        ("Base's revision", base.revision or "none pinned"),
        ("Base's SHA-256, over all tensors as loaded", origin.base_hash),
        ("Adapter", adapter),
        *([("Adapter's revision", card.adapter_revision)] if card.adapter_revision else []),
        ("Adapter's SHA-256, of its file", origin.adapter_hash),
        ("Strength", "1"),
        ("Kept in", str(dtype).removeprefix("torch.")),
    ]
    table = "".join(f"| {name} | {value} |\n" for name, value in rows)
    text = f"# {card.name}\n\n{card.name} merged into its base: the base's weights with the adapter's change added.\n\n"
    return hub.written(facts, f"{text}| | |\n|---|---|\n{table}\n{_figures(origin.fidelity)}")


def _figures(fidelity: tuple[Fidelity, ...]) -> str:
    if not fidelity:
        return "This adapter runs merged only, so there is no adapter by row to hold the merge against.\n"
    lines = [
        f"| {one.way} | {one.max_difference:.2g} | "
        + (f"the same {one.num_tokens}" if one.parts_after is None else f"part after {one.parts_after}")
        + " |\n"
        for one in fidelity
    ]
    return (
        f"Against base and adapter run side by side, asked “{QUESTION}”:\n\n"
        "| | largest difference of a logit | greedy tokens |\n|---|---|---|\n" + "".join(lines)
    )

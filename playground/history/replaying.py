"""Whether a run that was made again gave the same, and if not, whether it could have.

Knows what an answer's proof tells of the weights; refuses to know how it was run.
"""

from __future__ import annotations

from dataclasses import dataclass

from playground.evidence import Proof
from playground.history.records import KeptAnswer

_PARTS = (
    ("revision", "the base's revision"),
    ("base_hash", "the base's weights"),
    ("tokenizer_hash", "the tokenizer"),
    ("adapter_hash", "the adapter"),
)


@dataclass(frozen=True, slots=True)
class Replay:
    """An answer beside the one that was kept. `same` says that every token is, or every letter where another server
    answered, which tells no tokens; `changed` names the weights and files
    that are not what they were; `reading` says it in a sentence."""

    same: bool
    changed: tuple[str, ...]
    reading: str


def replay(before: KeptAnswer, now: KeptAnswer) -> Replay:
    """Compares an answer to the one that was kept of the same request."""
    old, new = (answer.finish.proof if answer.finish else None for answer in (before, now))
    changed = _changed(old, new) if old and new else ()
    said = [(one.token_ids, one.text, one.thinking, one.state) for one in (before, now)]
    same = said[0] == said[1]
    return Replay(same, changed, _reading(before, now, same, changed))


def _changed(old: Proof, new: Proof) -> tuple[str, ...]:
    """A hash that was not taken yet tells nothing."""
    told = []
    for name, words in _PARTS:
        before, now = getattr(old, name), getattr(new, name)
        if before is not None and now is not None and before != now:
            told.append(f"{words} ({before[:8]} then, {now[:8]} now)")
    return tuple(told)


def _reading(before: KeptAnswer, now: KeptAnswer, same: bool, changed: tuple[str, ...]) -> str:
    if now.state == "failed":
        return f"It could not be run again: {now.error}"
    if changed:
        beginning = "The same tokens, though not the same weights" if same else "Not the same weights"
        return f"{beginning}: {', '.join(changed)} changed since."
    remote = now.finish is not None and now.finish.view == "remote"
    if same:
        return "The same text." if remote else f"The same {len(now.token_ids)} tokens."
    if before.state != "done":
        return "The first answer did not come to its end, so the two cannot be the same."
    if remote:
        return "Another answer; another server gave it, which shows neither its weights nor its tokens."
    shorter = min(len(before.token_ids), len(now.token_ids))
    parted = next((i for i in range(shorter) if before.token_ids[i] != now.token_ids[i]), None)
    place = f"from token {parted + 1} on" if parted is not None else "in its length"
    if before.finish is not None and not before.finish.exact_seed:
        return f"The same weights, and another answer {place}: its seed is not exact, as answers beside it count."
    return f"The same weights as far as their hashes tell, and another answer {place}."

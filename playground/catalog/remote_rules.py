"""Which keys of an entry go together where another server answers for the model.

Knows an entry, which of its keys stand in the file, and those of its base; refuses to know files and the server.
"""

from __future__ import annotations

from collections.abc import Set

from playground.catalog.entry import Entry, is_hub_id

PLACES = ("endpoint", "provider")
EMBEDDED_KEYS = ("path", "repo", "revision", "dtype", "device", "chat_template", "merge")
"""What the embedded engine reads; another server decides these by itself."""
SERVER_KEYS = ("served_model_name", "api_key_env")


def is_remote(keys: Set[str]) -> bool:
    """Whether a model with these keys, its base's among them, is answered by another server."""
    return not keys.isdisjoint(PLACES)


def remote_rules(entry: Entry, keys: Set[str], base_keys: Set[str] | None = None) -> list[tuple[str, str]]:
    """The keys that break a rule, each with the rule. `base_keys` are those of a fine-tune's base, None for a base."""
    all_keys = keys | (base_keys or set())
    if not is_remote(all_keys):
        only = "it is for a model that another server answers for: one with endpoint or provider"
        return [(key, only) for key in SERVER_KEYS if key in keys]
    rules = []
    if keys >= set(PLACES):
        rules.append(("provider", "an entry has an endpoint or a provider, not both"))
    if "provider" in keys and base_keys is not None:
        rules.append(("provider", "only a base model names one, and its fine-tuned models are asked there too"))
    if "provider" in all_keys and "endpoint" not in keys:
        rules += _hub_name_rules(entry, keys)
    place = next(key for key in PLACES if key in all_keys)
    theirs = f"with {place} another server answers, which decides this by itself: leave it out"
    # These have a rule of their own already.
    told = {"path", "repo"} if base_keys is not None else {"merge"}
    return rules + [(key, theirs) for key in EMBEDDED_KEYS if key in keys and key not in told]


def _hub_name_rules(entry: Entry, keys: Set[str]) -> list[tuple[str, str]]:
    key = "served_model_name" if "served_model_name" in keys else "id"
    name = entry.served_model_name if key == "served_model_name" else entry.id
    if not name or is_hub_id(name):
        return []
    return [(key, "a provider knows models by their Hub repo's id, such as organization/name: give served_model_name")]

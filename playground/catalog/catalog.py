"""Every model that can be listed: models.yaml and the adapters on disk, as model cards in a fixed order.

Knows what a model is called, where it comes from and what is wrong with it; refuses to load any and to know
who asks: a caller that may not see everything passes `visible`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from playground.catalog.adapter_folders import (
    AdapterFolder,
    checkpoint_step,
    checkpoints_of,
    find_adapters,
    read_adapter,
    written_at,
)
from playground.catalog.entry import Entry
from playground.catalog.models_file import ModelsFile, local_adapter, local_path
from playground.errors import ModelLoadFailed, ModelNotFound
from playground.types import ModelCard


@dataclass(frozen=True, slots=True)
class Catalog:
    """The cards by id, read-only: each base is followed by its fine-tunes, each run by its checkpoints.

    Adapters whose base is not in the catalog come last; they have a `problem` and no `base_model`.
    """

    cards: Mapping[str, ModelCard]

    def card(self, id: str, visible: Callable[[ModelCard], bool] | None = None) -> ModelCard:
        """The card of a model; raises `ModelNotFound`, the same where `visible` refuses the card.

        Near matches are only suggested out of what `visible` lets through; without it, out of what has no
        owner.
        """
        card = self.cards.get(id)
        if card is not None and (visible is None or visible(card)):
            return card
        may_name = visible or (lambda card: card.owner is None)
        raise ModelNotFound(_not_found(id, [c.id for c in self.cards.values() if may_name(c)]), param="model")

    def base_of(self, card: ModelCard) -> ModelCard:
        """The base under a fine-tune, a base itself; raises `ModelLoadFailed` where the base is unknown."""
        if card.type == "base":
            return card
        if card.base_model is None or card.base_model not in self.cards:
            raise ModelLoadFailed(f"{card.id}: {card.problem or 'its base model is not in the catalog'}")
        base = self.cards[card.base_model]
        place = {"endpoint": card.endpoint, "provider": card.provider, "api_key_env": card.api_key_env}
        return replace(base, dtype=card.dtype, device=card.device, **place)


def catalog_of(file: ModelsFile, added: ModelsFile) -> Catalog:
    """The cards of a models.yaml, of the fine-tunes that were added to it, and of the adapters in the folders that
    both name; what the file says of an id holds. A broken adapter never raises: its card has a `problem`."""
    bases = {entry.id: _base_card(entry, file.folder) for entry in file.entries if _is_base(entry)}
    ids = {entry.id for entry in file.entries}
    further = replace(added, entries=tuple(entry for entry in added.entries if entry.id not in ids))
    listed = [*_listed(file, bases), *_listed(further, bases)]
    discovered = _discovered(_named_folders(file.adapter_dirs, added.adapter_dirs), file.folder, bases, listed)
    return Catalog(MappingProxyType({card.id: card for card in _in_order(bases, [*listed, *discovered])}))


def _not_found(id: str, known: Sequence[str]) -> str:
    shown = id if len(id) <= 100 else id[:97] + "..."
    by_name = {name.lower(): name for name in known}
    near = [by_name[name] for name in difflib.get_close_matches(id.lower(), by_name, n=3)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no model {shown!r}.{hint}"


def _is_base(entry: Entry) -> bool:
    return entry.base_model is None


def _last_part(id: str) -> str:
    return id.rstrip("/").rpartition("/")[2]


def _base_card(entry: Entry, folder: Path) -> ModelCard:
    problem = None
    source = entry.repo or entry.id
    if entry.path is not None:
        path = Path(os.path.realpath(local_path(entry.path, folder)))
        source = str(path)
        if not (path / "config.json").is_file():
            problem = "its folder has no config.json: it must hold a model as transformers saves it"
    return ModelCard(
        id=entry.id,
        name=entry.name or _last_part(entry.id),
        type="base",
        source=source,
        context_length=entry.context_length,
        revision=entry.revision,
        description=entry.description or "",
        dtype=_unless_auto(entry.dtype),
        device=_unless_auto(entry.device),
        chat_template=entry.chat_template,
        endpoint=entry.endpoint,
        provider=entry.provider,
        served_model_name=entry.served_model_name,
        api_key_env=entry.api_key_env,
        problem=problem,
    )


def _unless_auto(choice: str | None) -> str | None:
    return None if choice == "auto" else choice


def _over(base: ModelCard, id: str) -> ModelCard:
    """A fine-tune of `base` that differs in nothing else yet."""
    return replace(
        base,
        id=id,
        name=_last_part(id),
        type="fine-tuned",
        base_model=base.id,
        served_model_name=None,
        description="",
        problem=base.problem and f"its base model cannot be run: {base.problem}",
    )


def _place(entry: Entry, base: ModelCard) -> dict[str, str | None]:
    """Where a fine-tune is answered: where its base is, or at its own endpoint. A key goes to no other server than
    the one that it was given for."""
    if entry.endpoint is not None:
        return {"endpoint": entry.endpoint, "provider": None, "api_key_env": entry.api_key_env}
    api_key_env = entry.api_key_env or base.api_key_env
    return {"endpoint": base.endpoint, "provider": base.provider, "api_key_env": api_key_env}


def _fine_tune_cards(
    entry: Entry, base: ModelCard, bases: Mapping[str, ModelCard], folder: Path
) -> Iterator[ModelCard]:
    """The card of an entry and those of the checkpoints in its folder."""
    of_base = _over(base, entry.id)
    card = replace(
        of_base,
        name=entry.name or of_base.name,
        adapter=entry.adapter,
        adapter_revision=entry.revision,
        context_length=entry.context_length or base.context_length,
        description=entry.description or "",
        owner=entry.owner,
        dtype=_unless_auto(entry.dtype) if entry.dtype else base.dtype,
        device=_unless_auto(entry.device) if entry.device else base.device,
        chat_template=entry.chat_template or base.chat_template,
        served_model_name=entry.served_model_name,
        merge=entry.merge or "auto",
        **_place(entry, base),
    )
    path = local_adapter(entry.adapter, folder) if entry.adapter is not None else None
    if path is None:
        yield card
        return
    checkpoints = checkpoints_of(path)
    yield replace(
        card,
        adapter=os.path.realpath(path),
        adapter_written_at=written_at(path),
        run=card.id if checkpoints else None,
        step=checkpoint_step(path),
        problem=card.problem or (None if card.is_remote else _listed_problem(path, base, bases, folder)),
    )
    for found in checkpoints:
        yield _checkpoint_card(card, found)


def _listed(file: ModelsFile, bases: Mapping[str, ModelCard]) -> Iterator[ModelCard]:
    """Each fine-tune's entry, followed by those checkpoints of its folder that have no entry themselves."""
    groups = [
        list(_fine_tune_cards(entry, bases[entry.base_model], bases, file.folder))
        if entry.base_model in bases
        else [_orphan(entry)]
        for entry in file.entries
        if entry.base_model is not None
    ]
    own = {cards[0].adapter: cards[0] for cards in groups}
    ids = {entry.id for entry in file.entries}
    runs = {card.adapter: card.run for cards in groups for card in cards[1:]}
    for first, *checkpoints in groups:
        yield first if first.step is None else replace(first, run=runs.get(first.adapter))
        yield from (card for card in checkpoints if card.adapter not in own and card.id not in ids)


def _orphan(entry: Entry) -> ModelCard:
    """Of one that was added, whose base was taken out of the models.yaml since."""
    card = ModelCard(id=entry.id, name=entry.name or _last_part(entry.id), type="fine-tuned", source="")
    problem = f"its base model {entry.base_model!r} is not in the catalog: add an entry for that to models.yaml"
    return replace(card, owner=entry.owner, problem=problem)


def _listed_problem(path: Path, base: ModelCard, bases: Mapping[str, ModelCard], folder: Path) -> str | None:
    if not os.path.lexists(path):
        return f"there is no folder {path}"
    if not os.path.isdir(path):
        return f"{path} is not a folder"
    found = read_adapter(path)
    elsewhere = trained_elsewhere(found, base, bases.values(), folder)
    return f"{elsewhere}, and its entry says {base.id}" if found.problem is None and elsewhere else found.problem


def _checkpoint_card(run: ModelCard, found: AdapterFolder) -> ModelCard:
    step = checkpoint_step(found.folder)
    return replace(
        run,
        id=f"{run.id}/{found.folder.name}",
        name=found.folder.name,
        adapter=os.path.realpath(found.folder),
        adapter_written_at=written_at(found.folder),
        description=f"Step {step} of {run.name}",
        served_model_name=None,
        run=run.id,
        step=step,
        problem=found.problem or run.problem,
    )


def _discovered(
    folders: Mapping[str, Path], start: Path, bases: Mapping[str, ModelCard], listed: Sequence[ModelCard]
) -> Iterator[ModelCard]:
    """Cards of the adapters in `folders` that no entry names, with ids that nothing else has."""
    seen = {card.adapter for card in listed}
    taken = {*bases, *(card.id for card in listed)}
    owners = {Path(card.adapter): card.owner for card in listed if card.adapter and card.owner}
    for prefix, top in folders.items():
        for found in find_adapters(top):
            folder = os.path.realpath(found.folder)
            if folder in seen:
                continue
            seen.add(folder)
            card = _discovered_card(found, _discovered_id(prefix, top, found.folder), bases, start)
            card = replace(card, id=_free(card.id, taken), adapter=folder, owner=_owner(Path(folder), owners))
            card = replace(card, adapter_written_at=written_at(found.folder))
            taken.add(card.id)
            yield card


def _discovered_card(found: AdapterFolder, id: str, bases: Mapping[str, ModelCard], folder: Path) -> ModelCard:
    base = base_named(found, bases.values(), folder)
    if base is not None:
        card = _over(base, id)
        problem = found.problem or card.problem
    else:
        card = ModelCard(id=id, name=_last_part(id), type="fine-tuned", source="")
        problem = found.problem or _unknown_base(found.base_name)
    step = checkpoint_step(found.folder)
    if step is None:
        return replace(card, run=id if checkpoints_of(found.folder) else None, problem=problem)
    run = id.rpartition("/")[0]
    return replace(card, run=run, step=step, problem=problem, description=f"Step {step} of {_last_part(run)}")


def _unknown_base(name: str | None) -> str:
    if name is None:
        return "its adapter_config.json does not name its base model: give it an entry of its own"
    return (
        f"its base model {name!r} is not in the catalog: add an entry for it, or give this adapter an entry of its own"
    )


def base_named(found: AdapterFolder, bases: Iterable[ModelCard], folder: Path) -> ModelCard | None:
    """The base that adapter_config.json means: by its id, its repo, its folder, or its place in the Hub's cache. Of
    several over one source it is the one of that id, else the first."""
    name = found.base_name
    if name is None or "\0" in name:
        return None
    cached = [part for part in Path(name).parts if part.startswith("models--")]
    names = {name, cached[-1].removeprefix("models--").replace("--", "/")} if cached else {name}
    folders = {os.path.realpath(local_path(name, start)) for start in (folder, Path.cwd(), found.folder)}
    bases = list(bases)
    by_id = next((base for base in bases if base.id in names), None)
    return by_id or next((base for base in bases if base.source in names | folders), None)


def trained_elsewhere(found: AdapterFolder, base: ModelCard, bases: Iterable[ModelCard], folder: Path) -> str | None:
    """Why an adapter is none of `base`, where adapter_config.json means another base that is here."""
    trained_on = base_named(found, bases, folder)
    if trained_on is None or trained_on.source == base.source:
        return None
    return f"its adapter_config.json says that it was trained on {trained_on.id}"


def _named_folders(folders: Sequence[Path], added: Sequence[Path]) -> dict[str, Path]:
    """Folders by what they are called in ids. One that was added changes the name of none that was there before."""
    named = dict(zip(_prefixes(folders), folders, strict=True))
    seen = {folder.resolve() for folder in folders}
    for folder in added:
        parts = folder.resolve().parts
        if folder.resolve() not in seen:
            names = ["/".join(part.strip("/\\") for part in parts[-n:]) for n in range(1, len(parts) + 1)]
            named[next((name for name in names if name not in named), str(folder))] = folder
            seen.add(folder.resolve())
    return named


def _prefixes(folders: Sequence[Path]) -> list[str]:
    """What each folder is called in ids: its name, with as many folders above as tell it from the others."""
    parts = [folder.resolve().parts for folder in folders]

    def alone(mine: tuple[str, ...], length: int) -> bool:
        return sum(other[-length:] == mine[-length:] for other in parts) == 1

    lengths = [next(n for n in range(1, len(mine) + 1) if alone(mine, n)) for mine in parts]
    return ["/".join(part.strip("/\\") for part in mine[-n:]) for mine, n in zip(parts, lengths, strict=True)]


def _discovered_id(prefix: str, top: Path, folder: Path) -> str:
    id = "/".join((prefix, *folder.relative_to(top).parts))
    # A folder's name may be no text at all; an id goes into JSON.
    return id.encode("utf-8", "replace").decode()


def _free(id: str, taken: set[str]) -> str:
    numbers = range(2, len(taken) + 3)
    return next(name for name in (id, *(f"{id}~{n}" for n in numbers)) if name not in taken)


def _owner(folder: Path, owners: Mapping[Path, str]) -> str | None:
    """Whatever lies below somebody's listed adapter is theirs too."""
    return next((owners[place] for place in (folder, *folder.parents) if place in owners), None)


def _in_order(bases: Mapping[str, ModelCard], fine_tunes: Sequence[ModelCard]) -> Iterator[ModelCard]:
    for base in bases.values():
        yield base
        yield from (card for card in fine_tunes if card.base_model == base.id)
    yield from (card for card in fine_tunes if card.base_model is None)

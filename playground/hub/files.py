"""A model's files: on this disk already, or still to be fetched from the Hugging Face Hub.

Knows the Hub's client and its cache; refuses to fetch pickles or code, and to know what a tensor is.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError, XetDownloadError
from huggingface_hub.utils import tqdm

from playground.errors import ModelLoadFailed
from playground.hub.metering import Meter, run_watched, size
from playground.hub.reasons import is_network_trouble, reason
from playground.hub.resuming import Blob, fetch_blob, find_blob
from playground.hub.tensor_files import SINGLE_NAMES, weight_files
from playground.types import LoadWatch, Progress

# What a model or an adapter needs, at the top of its repo; never pickles, never code.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
# Folders hold other formats and checkpoints; consolidated* are the same weights in a vendor's own layout.
_NEVER = ("*/*", "consolidated*")

ASK_TIMEOUT_S = 3.0
_START_TIMEOUT_S = 15.0
# What the client raises, its Xet part included, which knows no class of its own for most of it.
CLIENT_ERRORS = (httpx2.HTTPError, OSError, ValueError, RuntimeError, XetDownloadError)


def folder_on_disk(source: str, revision: str | None) -> Path | None:
    """The folder with all files of `source`, without asking the network; None where any is missing.

    A path (absolute, or starting with . or ~) is itself where it is a folder; anything else is a Hub repo,
    whose snapshot in the Hub's cache must be complete: all that its cached listing names, and in any case
    the config and every shard.
    """
    if _is_path(source):
        folder = Path(source).expanduser()
        return folder if os.path.isdir(folder) else None
    snapshot = _snapshot(source, revision)
    return snapshot if snapshot is not None and _is_whole(snapshot) else None


def download_bytes(source: str, revision: str | None, *, endpoint: str | None = None) -> int | None:
    """How many bytes `download` would fetch now; None where the Hub does not tell within seconds."""
    if _is_path(source) or folder_on_disk(source, revision) is not None:
        return 0
    try:
        return sum(_missing(source, revision, MODEL_FILES, endpoint, ASK_TIMEOUT_S)[1].values())
    except (*CLIENT_ERRORS, ModelLoadFailed):
        return None


def download(
    source: str,
    revision: str | None,
    watch: LoadWatch,
    *,
    patterns: Sequence[str] = MODEL_FILES,
    endpoint: str | None = None,
) -> Path:
    """Fetches what is missing of a Hub repo into the Hub's cache and gives the snapshot's folder; blocks.

    Reports progress several times a second, also while nothing arrives; what `watch.report` raises stops
    the download, and what has come so far is kept for the next try. Without network a complete snapshot will
    do. `endpoint` is another Hub than the default one. Raises `ModelLoadFailed` with what to do.
    """
    if _is_path(source):
        folder = folder_on_disk(source, revision)
        if folder is None:
            raise ModelLoadFailed(f"there is no folder {source}")
        return folder
    try:
        watch.report(Progress("downloading", None, "asking the Hub"))
        commit, missing = _missing(source, revision, patterns, endpoint, _START_TIMEOUT_S)
        blobs = _weights_among(missing, source, commit, endpoint)
        _check_room(source, sum(missing.values()) - sum(blob.num_kept_bytes() for blob in blobs))
        meter = Meter("downloading", sum(missing.values()))
        snapshot = partial(
            snapshot_download,
            source,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(_NEVER),
            tqdm_class=_bar_class(meter),
            endpoint=endpoint,
        )
        return Path(run_watched(partial(_fetch, blobs, meter, snapshot), meter, watch))
    except CLIENT_ERRORS as error:
        there = _snapshot(source, revision, strict=False) if is_network_trouble(error) else None
        if there is not None and _is_whole(there):
            return there
        raise ModelLoadFailed(reason(source, revision, error, endpoint or constants.ENDPOINT)) from error


def template_of(folder: Path) -> str | None:
    """The text of the chat template in a model's folder; None where there is none that can be read.

    Looks where transformers does, in its order: chat_template.jinja, chat_template.json,
    tokenizer_config.json (of several named ones, `default`).
    """
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError):
        return None
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = _template_in(folder / name)
        if template is not None:
            return template
    return None


def weights_among(names: Sequence[str]) -> list[str]:
    """The weights' files among those of a repo, as they are chosen once they are on this disk."""
    single = [name for name in SINGLE_NAMES if name in names]
    return single[:1] or [n for n in names if _matches(n, ("*.safetensors",)) and not _matches(n, _NEVER)]


def _is_path(source: str) -> bool:
    return source.startswith((".", "~")) or os.path.isabs(source)


def _snapshot(source: str, revision: str | None, *, strict: bool = True) -> Path | None:
    """The cached snapshot; with `strict` only where it has all that its cached listing names."""
    try:
        found = snapshot_download(
            source,
            revision=revision,
            local_files_only=True,
            allow_patterns=list(MODEL_FILES),
            ignore_patterns=list(_NEVER),
        )
    except LocalEntryNotFoundError as error:
        partial = getattr(error, "snapshot_path", None)
        return Path(partial) if partial is not None and not strict else None
    except (OSError, ValueError):
        return None
    return Path(found)


def _is_whole(folder: Path) -> bool:
    try:
        files = weight_files(folder)
    except ModelLoadFailed:
        return False
    config = "adapter_config.json" if files[0].name.startswith("adapter") else "config.json"
    return (folder / config).is_file() and all(file.is_file() for file in files)


def _missing(
    source: str, revision: str | None, patterns: Sequence[str], endpoint: str | None, timeout_s: float
) -> tuple[str, dict[str, int]]:
    """The commit, and name and bytes of each wanted file that the cache lacks, after one question to the Hub."""
    info = HfApi(endpoint=endpoint).model_info(source, revision=revision, files_metadata=True, timeout=timeout_s)
    wanted = {
        file.rfilename: file.size or 0
        for file in info.siblings or ()
        if _matches(file.rfilename, patterns) and not _matches(file.rfilename, _NEVER)
    }
    if not any(name.endswith(".safetensors") for name in wanted):
        raise ModelLoadFailed(f"{source} has no safetensors weights: pickles are not loaded, since they can run code")
    commit = info.sha or constants.DEFAULT_REVISION
    return commit, {
        name: num_bytes
        for name, num_bytes in wanted.items()
        if not isinstance(try_to_load_from_cache(source, name, revision=commit), str)
    }


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _check_room(source: str, num_bytes: int) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    nearest = next(place for place in (cache, *cache.parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    if num_bytes > free:
        raise ModelLoadFailed(
            f"{source} needs {size(num_bytes)} more on the disk of {cache} and {size(free)} are free: "
            "make room, or set HF_HOME elsewhere"
        )


def _weights_among(names: Iterable[str], source: str, commit: str, endpoint: str | None) -> list[Blob]:
    """The files that take long, which is where a cut hurts."""
    weights = sorted(name for name in names if name.endswith(".safetensors"))
    found = (find_blob(source, name, commit, endpoint, _START_TIMEOUT_S) for name in weights)
    return [blob for blob in found if blob is not None]


def _fetch(blobs: Iterable[Blob], meter: Meter, snapshot: Callable[[], str]) -> str:
    for blob in blobs:
        fetch_blob(blob, meter)
    return snapshot()


def _bar_class(meter: Meter) -> type[tqdm]:
    """A progress bar for the client that shows nothing and counts in `meter`."""

    class Bar(tqdm):
        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes = kwargs.get("unit") == "B"
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> None:
            meter.add(id(self), (n or 0) if self._counts_bytes else 0)

    return Bar


def _template_in(file: Path) -> str | None:
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    template = config.get("chat_template") if isinstance(config, dict) else None
    if isinstance(template, list):
        template = next(_named("default", template), None)
    return template if isinstance(template, str) else None


def _named(name: str, templates: Sequence[Any]) -> Iterator[Any]:
    return (one.get("template") for one in templates if isinstance(one, dict) and one.get("name") == name)

"""What the command line and the environment ask for, checked and with every default filled in.

Knows the names, the rules and the machine's memory; refuses to know what any of it is used for, reads no
other file and writes none.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import platformdirs
import psutil

from playground import space
from playground.errors import ConfigurationError

DEFAULT_MODELS_FILE = Path(__file__).resolve().parent.parent / "models.yaml"
DEFAULT_HOST = "127.0.0.1"
SPACE_HOST = "0.0.0.0"
DEFAULT_PORT = 7860
DEFAULT_MAX_ROWS = 16
# The rest is for the system, for the answers' own caches and for the page.
MEMORY_SHARE = 0.7
# On top of the budget, out of that rest.
MOST_PROMPT_BYTES = 512_000_000
PROMPT_SHARE = 1 / 16
"""Of the budget, for prompts that are kept to be run again, where nothing else is said."""

_MAX_ROWS_LIMIT = 1024
_MAX_MEMORY_GB = 100_000
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """How this process is to run.

    `inference` False is an inventory-only deployment; `history` False keeps no runs. `open_to_all` is the person's
    word that an address beyond loopback may go without keys. `memory_bytes` is the budget for loaded models; `max_rows`
    how many answers may run at once over one base; `prompt_cache_bytes` is what kept prompts may take beside that
    budget, 0 to keep none; `kernels` False leaves the compiled CPU kernels out. `on_space` says that this is a
    Hugging Face Space, whose owner opens or closes it there; `forgets` that its home is gone at the next
    restart; `zero_gpu` that a GPU is lent to it for one answer at a time. `root_path` is the path that a proxy serves
    the program below, empty where that is the top; `allowed_hosts` are names, in small letters, that a server on
    loopback without keys answers to beside the machine's own. `oauth` is what visitors of a Space sign in at the Hub
    with, and `managers` are the Hub's names of those who then may do more than ask.
    """

    models_file: Path
    host: str
    port: int
    home: Path
    inference: bool
    history: bool
    open_to_all: bool
    memory_bytes: int
    max_rows: int
    prompt_cache_bytes: int = 0
    kernels: bool = True
    on_space: bool = False
    forgets: bool = False
    zero_gpu: bool = False
    root_path: str = ""
    allowed_hosts: tuple[str, ...] = ()
    oauth: space.OAuthApp | None = None
    managers: frozenset[str] = frozenset()


def build_parser() -> argparse.ArgumentParser:
    """The parser of `app.py`'s own flags; `commands.add_to` adds the subcommands.

    Values stay strings here: `settings_from` checks them, so that all problems are told together.
    """
    parser = argparse.ArgumentParser(
        prog="app.py",
        description="Compare a language model with its fine-tunes, on a page and over REST.",
        allow_abbrev=False,
    )
    parser.add_argument("--models", metavar="FILE", help="what can be run (default: models.yaml)")
    parser.add_argument("--host", help=f"address to listen on (default: {DEFAULT_HOST})")
    parser.add_argument("--port", help=f"port to listen on (default: {DEFAULT_PORT})")
    parser.add_argument("--home", metavar="DIR", help="folder for everything that the program writes")
    parser.add_argument(
        "--prompt-cache", metavar="GB", help="memory for prompts that are kept to be run again; 0: none"
    )
    parser.add_argument("--inventory-only", action="store_true", help="list the models and run none")
    parser.add_argument("--no-history", action="store_true", help="keep no runs of the page")
    parser.add_argument("--open", action="store_true", help="serve an address beyond this machine without keys")
    return parser


def read_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """The settings out of `argv` (without the program's name), else `environ`, else defaults.

    Raises `ConfigurationError` with all bad values; an unknown flag ends the program as argparse does.
    """
    return settings_from(build_parser().parse_args(argv), environ)


def settings_from(args: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """The settings out of what `build_parser` parsed; raises `ConfigurationError` with all bad values."""
    source = _Source(args, environ)
    models_file = source.value("models", "PLAYGROUND_MODELS", _path, lambda: DEFAULT_MODELS_FILE)
    on_space = space.is_space(environ)
    host = source.value("host", "GRADIO_SERVER_NAME", _host, lambda: SPACE_HOST if on_space else DEFAULT_HOST)
    port = source.value("port", "GRADIO_SERVER_PORT", _whole_number(1, 65535), lambda: DEFAULT_PORT)
    home = source.home()
    inference = source.value(None, "PLAYGROUND_INFERENCE", _on_or_off, lambda: True)
    history = source.value(None, "PLAYGROUND_HISTORY", _on_or_off, lambda: True)
    memory_bytes = source.value(None, "PLAYGROUND_MEMORY_GB", _gigabytes, default_memory_bytes)
    rows = _whole_number(1, _MAX_ROWS_LIMIT)
    max_rows = source.value(None, "PLAYGROUND_MAX_ROWS", rows, lambda: DEFAULT_MAX_ROWS)
    prompt_cache_bytes = source.value(
        "prompt_cache", "PLAYGROUND_PROMPT_CACHE_GB", _gigabytes_or_none, lambda: _default_prompt_bytes(memory_bytes)
    )
    kernels = source.value(None, "PLAYGROUND_KERNELS", _on_or_off, lambda: True)
    root_path = source.value(None, "GRADIO_ROOT_PATH", _root_path, lambda: "")
    allowed_hosts = source.value(None, "PLAYGROUND_ALLOWED_HOSTS", _hosts, lambda: ())
    oauth = space.oauth_app(environ)
    if oauth is not None:
        source.value(None, "OPENID_PROVIDER_URL", _provider, str)
    managers = source.value(None, "PLAYGROUND_MANAGERS", _names, frozenset)
    if source.problems:
        raise ConfigurationError(source.problems)
    return Settings(
        models_file=models_file,
        host=host,
        port=port,
        home=home,
        inference=inference and not args.inventory_only,
        history=history and not args.no_history,
        open_to_all=args.open,
        memory_bytes=memory_bytes,
        max_rows=max_rows,
        prompt_cache_bytes=prompt_cache_bytes,
        kernels=kernels,
        on_space=on_space,
        forgets=on_space and space.storage() is None and home == space.home(),
        zero_gpu=space.has_zero_gpu(environ),
        root_path=root_path,
        allowed_hosts=allowed_hosts,
        oauth=oauth,
        managers=managers | ({environ["SPACE_AUTHOR_NAME"]} if environ.get("SPACE_AUTHOR_NAME") else set()),
    )


def home_from(args: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    """The home alone, for commands that need nothing else; raises `ConfigurationError`."""
    source = _Source(args, environ)
    home = source.home()
    if source.problems:
        raise ConfigurationError(source.problems)
    return home


class _Source:
    """Looks a value up by flag, then by variable, and keeps what is wrong."""

    def __init__(self, args: argparse.Namespace, environ: Mapping[str, str]) -> None:
        self._args = args
        self._environ = environ
        self.problems: list[str] = []

    def value(self, flag: str | None, variable: str, read: Callable[[str], T], default: Callable[[], T]) -> T:
        given = getattr(self._args, flag) if flag is not None else None
        key = f"--{flag}".replace("_", "-")
        if given is None:
            key, given = variable, self._environ.get(variable, "").strip() or None
        if given is None:
            return default()
        try:
            return read(given)
        except ValueError as error:
            self.problems.append(f"{key}: {given!r} is not allowed: {error}")
            return default()

    def home(self) -> Path:
        default = space.home if space.is_space(self._environ) else _default_home
        return self.value("home", "PLAYGROUND_HOME", _folder, default)


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("it must be a path")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("it must be a path, and there is no such person's home") from None


def _folder(text: str) -> Path:
    folder = _path(text)
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not nearest.is_dir():
        raise ValueError(f"it must be a folder, and {nearest} is none")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"it must be a folder that can be written to, and {nearest} cannot")
    return folder


def _default_home() -> Path:
    return Path(platformdirs.user_data_path("playground", appauthor=False))


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _HOST_NAME.fullmatch(text):
            return text
    raise ValueError("it must be an IP address or a host name, without http:// and without a port")


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(_host(name.strip()).lower().removesuffix(".") for name in text.split(","))


def _root_path(text: str) -> str:
    if text == "/":
        return ""
    if _ROOT_PATH.fullmatch(text.removesuffix("/")):
        return text.removesuffix("/")
    raise ValueError("it must be a path such as /play, without http:// and without a host")


def _provider(text: str) -> str:
    """Whom a provider names is believed, so nobody may stand between."""
    url = urlsplit(text)
    if url.hostname and (url.scheme == "https" or (url.scheme == "http" and url.hostname == DEFAULT_HOST)):
        return text
    raise ValueError("it must be an address that begins with https://")


def _names(text: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in text.split(","))
    if all(space.ACCOUNT_NAME.fullmatch(name) for name in names):
        return names
    raise ValueError("it must be names of Hugging Face accounts with commas between them, such as ada,grace")


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"it must be a whole number from {least} to {most}")

    return read


def _on_or_off(text: str) -> bool:
    if text.lower() not in ("on", "off"):
        raise ValueError("it must be on or off")
    return text.lower() == "on"


def _gigabytes(text: str) -> int:
    gigabytes = _number(text)
    if not 0 < gigabytes <= _MAX_MEMORY_GB:
        raise ValueError(f"it must be a number of gigabytes above 0 and at most {_MAX_MEMORY_GB}, such as 12 or 7.5")
    return int(gigabytes * 1e9)


def _gigabytes_or_none(text: str) -> int:
    gigabytes = _number(text)
    if not 0 <= gigabytes <= _MAX_MEMORY_GB:
        raise ValueError(f"it must be 0 (none) or a number of gigabytes, at most {_MAX_MEMORY_GB}, such as 2 or 0.5")
    return int(gigabytes * 1e9)


def _number(text: str) -> float:
    """Not a number where it is none, which no range has."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _default_prompt_bytes(memory_bytes: int) -> int:
    return min(MOST_PROMPT_BYTES, int(memory_bytes * PROMPT_SHARE))


def default_memory_bytes(root: Path = Path("/")) -> int:
    """`MEMORY_SHARE` of the machine's memory, or of its cgroup's limit where that is smaller, in bytes."""
    total = psutil.virtual_memory().total
    limit = memory_limit_bytes(root)
    return int(min(total, limit if limit is not None else total) * MEMORY_SHARE)


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """The tightest memory limit of this process's cgroup and of those above it; None where there is none.

    Reads cgroup v2 (`memory.max`) and v1 (`memory.limit_in_bytes`). Source: the kernel's
    Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = [
        limit
        for line in memberships
        for file in _limit_files(root / "sys/fs/cgroup", line)
        if (limit := _limit_in(file)) is not None
    ]
    return min(limits, default=None)


def _limit_files(mount: Path, membership: str) -> list[Path]:
    number, _, rest = membership.partition(":")
    controllers, colon, path = rest.partition(":")
    if not colon:
        return []
    if number == "0" and not controllers:
        top, name = mount, "memory.max"
    elif "memory" in controllers.split(","):
        top, name = mount / "memory", "memory.limit_in_bytes"
    else:
        return []
    # In a container the path may be the host's, which cannot be seen: then only the top of it counts.
    parts = [part for part in path.split("/") if part and part != ".."]
    return [top.joinpath(*parts[:depth], name) for depth in range(len(parts) + 1)]


def _limit_in(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None

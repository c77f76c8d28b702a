"""The commands of `app.py` that serve nothing: `keys create`, `keys list`, `keys revoke`; others have their own files.

Knows the command line and the accounts; refuses to know the models and the page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from playground import evaluate_command, merge_command
from playground.accounts import Accounts, KeyRecord
from playground.errors import ConfigurationError
from playground.settings import home_from
from playground.store import Store


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds the commands to `app.py`'s parser; `command` is None where none was given."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    # Without a default, so that a --home that came before the command stays.
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument("--home", metavar="DIR", default=argparse.SUPPRESS, help="folder of the server that they are for")
    evaluate_command.add_to(commands, home)
    merge_command.add_to(commands, home)
    about = "Make, list and revoke the keys that callers show."
    keys = commands.add_parser("keys", parents=[home], allow_abbrev=False, help=about, description=about)
    actions = keys.add_subparsers(required=True, metavar="ACTION")

    about = "Make a key and print it: it is shown this once."
    create = actions.add_parser("create", parents=[home], allow_abbrev=False, help=about, description=about)
    create.add_argument("account", metavar="ACCOUNT", help="whose key it is; made if need be")
    create.add_argument(
        "--org",
        metavar="ORG",
        nargs="+",
        action="extend",
        default=[],
        help="an organization of the account, beside those that it has; its first one is its default",
    )
    create.set_defaults(action=_create)

    about = "List all keys ever made, none of them in clear."
    listing = actions.add_parser("list", parents=[home], allow_abbrev=False, help=about, description=about)
    listing.set_defaults(action=_list)

    about = "Make a key of no more use, for good."
    revoke = actions.add_parser("revoke", parents=[home], allow_abbrev=False, help=about, description=about)
    revoke.add_argument("id", metavar="ID", help="the key's id, as it is listed")
    revoke.set_defaults(action=_revoke)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Does the command that was parsed; raises `PlaygroundError`."""
    args.action(home_from(args, environ), args)


def _create(home: Path, args: argparse.Namespace) -> None:
    print(Accounts(Store(home)).create(args.account, args.org))
    # On stderr, so that the key alone can be caught by a script.
    print("This is the key. It is not shown again.", file=sys.stderr)


def _list(home: Path, _args: argparse.Namespace) -> None:
    accounts = Accounts.at(home)
    records = accounts.list() if accounts is not None else ()
    if records:
        print(_table(records))
    else:
        print(_no_keys(home), file=sys.stderr)


def _revoke(home: Path, args: argparse.Namespace) -> None:
    accounts = Accounts.at(home)
    if accounts is None:
        raise ConfigurationError([_no_keys(home)])
    accounts.revoke(args.id)
    print(f"Key {args.id} is revoked, for running servers too.", file=sys.stderr)


def _no_keys(home: Path) -> str:
    return f"{home} has no keys: create one with `python app.py keys create NAME`"


def _table(records: Sequence[KeyRecord]) -> str:
    rows = [("ID", "ACCOUNT", "ORGANIZATIONS", "CREATED (UTC)", "STATE"), *map(_row, records)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(record: KeyRecord) -> tuple[str, str, str, str, str]:
    first, *others = record.orgs or ("-",)
    default = f"{first} (default)" if record.orgs else first
    state = "revoked" if record.revoked else "active"
    return record.id, record.account, ", ".join([default, *others]), record.created_at, state

"""`app.py merge`: a fine-tune written, merged, into a folder, by what does it for the page too.

Knows its flags, what it prints and its exit status; refuses to know how a merge is made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TextIO

from playground.evidence import Fidelity, Saved
from playground.library import place_named
from playground.service import Playground
from playground.types import Caller, Progress

NAME = "merge"
DONE, INTERRUPTED = 0, 130
"""Exit statuses."""
LOCAL = Caller(everything=True)


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser], home: argparse.ArgumentParser) -> None:
    """Adds the command; `home` has the flags that all commands share."""
    about = "Write a fine-tune, merged into its base, to a folder that transformers loads."
    parser = commands.add_parser(NAME, parents=[home], allow_abbrev=False, help=about, description=about)
    parser.add_argument("model", metavar="MODEL", help="the fine-tune's id")
    parser.add_argument("folder", metavar="FOLDER", help="a folder that is not there yet")


def run(args: argparse.Namespace, playground: Playground, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Saves it and gives the exit status; raises `PlaygroundError`. An interrupt leaves nothing behind."""
    try:
        saved = asyncio.run(_saved(playground, args.model, Path.cwd() / place_named(args.folder, "FOLDER"), err))
    except KeyboardInterrupt:
        print("Given up: nothing was written.", file=err)
        return INTERRUPTED
    print(f"{saved.folder}: {saved.num_bytes / 1e6:.1f} MB", file=out)
    for figure in saved.fidelity:
        print(_told(figure), file=out)
    return DONE


async def _saved(playground: Playground, model: str, folder: Path, err: TextIO) -> Saved:
    told = ""
    async with contextlib.aclosing(playground.save(model, folder, LOCAL)) as items:
        async for item in items:
            if isinstance(item, Saved):
                return item
            line = _line(item)
            if line != told:
                print(line, file=err, flush=True)
            told = line
    raise AssertionError("a save ends with Saved or an error")


def _line(progress: Progress) -> str:
    share = "" if progress.fraction is None else f" {progress.fraction:.0%}"
    return f"{progress.stage}{share}"


def _told(figure: Fidelity) -> str:
    parts = (
        f"the same {figure.num_tokens} greedy tokens"
        if figure.parts_after is None
        else f"greedy answers part after {figure.parts_after} tokens"
    )
    return f"{figure.way}: logits differ by at most {figure.max_difference:.2g}, {parts}"

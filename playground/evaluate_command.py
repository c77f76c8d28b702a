"""`app.py evaluate`: a spec run from a shell or CI, by what runs it for the page too.

Knows its flags, what it prints and its exit status; refuses to know how an evaluation is run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

from playground.errors import ConfigurationError
from playground.evaluator import DEFAULT_MAX_TOKENS, Evaluator
from playground.history.evaluations import Evaluation
from playground.reports import FORMATS, Format, written
from playground.reports.report import Report
from playground.reports.writing import summary
from playground.types import Caller

NAME = "evaluate"
KEPT, NOT_KEPT, CANNOT, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""
TELL_SECONDS = 5.0
LOCAL = Caller(everything=True)


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser], home: argparse.ArgumentParser) -> None:
    """Adds the command; `home` has the flags that all commands share."""
    about = "Ask a behaviour spec's cases of one model or two, and say what passed and what changed."
    parser = commands.add_parser(NAME, parents=[home], allow_abbrev=False, help=about, description=about)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("spec", metavar="SPEC", nargs="?", help="a tunedtensor.json, or chat JSON Lines")
    what.add_argument("--resume", metavar="ID", help="go on with an evaluation that was broken off")
    # The program's own --models is a file.
    parser.add_argument(
        "--models", dest="asked", metavar="MODEL", nargs="+", default=[], help="one model or two (default: the spec's)"
    )
    parser.add_argument("--out", metavar="FILE", action="append", default=[], help=f"a report: .{', .'.join(FORMATS)}")
    most = f"of each answer (default: {DEFAULT_MAX_TOKENS})"
    parser.add_argument("--max-tokens", metavar="N", type=_whole, help=most)
    parser.add_argument("--min-pass-rate", metavar="P", type=_share, help="of the last model, such as 0.9 or 90%%")
    parser.add_argument("--max-regressions", metavar="N", type=_whole, help="cases that only the first model passes")


def run(args: argparse.Namespace, evaluator: Evaluator, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Runs it to its end and gives the exit status; raises `PlaygroundError` for what cannot be run."""
    places = _places(args)
    evaluation_id = _resumed(args, evaluator) if args.resume else _started(args, evaluator)
    try:
        _watch(evaluator, evaluation_id, err)
    except KeyboardInterrupt:
        with unbroken():
            evaluator.halt(LOCAL, evaluation_id, "paused")
            print(f"Paused: `python app.py evaluate --resume {evaluation_id}` goes on with it.", file=err)
        return INTERRUPTED
    report = evaluator.report(LOCAL, evaluation_id)
    for place, form in places:
        place.write_text(written(report, form), "utf-8")
    print(summary(report), file=out)
    standing = evaluator.standing(report.evaluation)
    if standing.state != "done":
        print(f"The evaluation is {standing.state}: {standing.problem}", file=err)
        print(f"`python app.py evaluate --resume {evaluation_id}` goes on with it.", file=err)
        return CANNOT
    broken = _broken(report, args)
    print(*broken, sep="\n", end="\n" if broken else "", file=err)
    return NOT_KEPT if broken else KEPT


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Within it Ctrl-C does nothing: one was enough, and what it ends is being kept."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _started(args: argparse.Namespace, evaluator: Evaluator) -> str:
    max_tokens = DEFAULT_MAX_TOKENS if args.max_tokens is None else args.max_tokens
    evaluation_id = evaluator.start(*_spec(Path(args.spec)), args.asked, LOCAL, max_tokens)
    try:
        _require_two(args, evaluator.evaluation(LOCAL, evaluation_id))
    except ConfigurationError:
        evaluator.delete(LOCAL, evaluation_id)
        raise
    return evaluation_id


def _resumed(args: argparse.Namespace, evaluator: Evaluator) -> str:
    given = {"--models": args.asked or None, "--max-tokens": args.max_tokens}
    problems = [
        f"{flag}: {value!r} is not allowed: what is resumed goes on with what it began with"
        for flag, value in given.items()
        if value is not None
    ]
    if problems:
        raise ConfigurationError(problems)
    _require_two(args, evaluator.evaluation(LOCAL, args.resume))
    evaluator.resume(LOCAL, args.resume)
    return args.resume


def _require_two(args: argparse.Namespace, evaluation: Evaluation) -> None:
    """A bound that nothing could break would let everything pass."""
    if args.max_regressions is not None and len(evaluation.models) < 2:
        rule = "one model alone cannot regress: name two with --models"
        raise ConfigurationError([f"--max-regressions: {args.max_regressions} is not allowed: {rule}"])


def _watch(evaluator: Evaluator, evaluation_id: str, err: TextIO) -> None:
    while not evaluator.wait(evaluation_id, TELL_SECONDS):
        standing = evaluator.standing(evaluator.evaluation(LOCAL, evaluation_id))
        left = f", {standing.seconds_left:.0f} s left" if standing.seconds_left is not None else ""
        print(f"{standing.num_answers} of {standing.num_wanted} answers{left}", file=err, flush=True)


def _broken(report: Report, args: argparse.Namespace) -> list[str]:
    """The bounds that the figures do not keep."""
    told = []
    side = report.sides[-1]
    rate = side.num_passed / side.num_answers
    if args.min_pass_rate is not None and rate < args.min_pass_rate:
        told.append(f"--min-pass-rate: {side.model} passes {rate:.1%}, and {args.min_pass_rate:.1%} are asked")
    regressed = report.changes["regressed"]
    if args.max_regressions is not None and regressed > args.max_regressions:
        told.append(f"--max-regressions: {regressed} cases regressed, and {args.max_regressions} are allowed")
    return told


def _spec(path: Path) -> tuple[str, str]:
    try:
        # A name on the disk may be no text at all; what is kept is.
        return path.name.encode("utf-8", "replace").decode(), path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError([f"SPEC: {path}: it cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"SPEC: {path}: it cannot be read: it is not text in UTF-8"]) from None


def _places(args: argparse.Namespace) -> list[tuple[Path, Format]]:
    """Where reports go, and in which format; raises `ConfigurationError` before anything has run."""
    problems, places = [], []
    for name in args.out:
        path, form = Path(name), Path(name).suffix.removeprefix(".").lower()
        if form not in FORMATS:
            problems.append(f"--out: {name!r} is not allowed: it must end in one of .{', .'.join(FORMATS)}")
        elif args.spec and os.path.realpath(path) == os.path.realpath(args.spec):
            problems.append(f"--out: {name!r} is not allowed: it is the spec itself")
        # So that an hour's work does not end at a folder that is not there.
        elif path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            problems.append(f"--out: {name!r} cannot be written")
        places.append((path, cast("Format", form)))
    if problems:
        raise ConfigurationError(problems)
    return places


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be a whole number")
    return int(text)


def _share(text: str) -> float:
    rule = "it must be from 0 to 1, or a percentage such as 90%"
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: {rule}")
    return share

"""`app.py evaluate`: a spec run from a shell or CI, by what runs it for the page too.

Knows its flags, what it prints and its exit status; refuses to know how an evaluation is run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, cast

from playground.errors import ConfigurationError
from playground.evaluator import DEFAULT_MAX_TOKENS, Evaluator
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
    parser.add_argument("--max-tokens", metavar="N", type=_whole, default=DEFAULT_MAX_TOKENS, help="of each answer")
    parser.add_argument("--min-pass-rate", metavar="P", type=_share, help="of the last model, such as 0.9 or 90%%")
    parser.add_argument("--max-regressions", metavar="N", type=_whole, help="cases that only the first model passes")


def run(args: argparse.Namespace, evaluator: Evaluator, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Runs it to its end and gives the exit status; raises `PlaygroundError` for what cannot be run."""
    places = _places(args.out)
    evaluation_id = args.resume or evaluator.start(*_spec(Path(args.spec)), args.asked, LOCAL, args.max_tokens)
    if args.resume:
        evaluator.resume(LOCAL, evaluation_id)
    try:
        _watch(evaluator, evaluation_id, err)
    except KeyboardInterrupt:
        evaluator.halt(LOCAL, evaluation_id, "paused")
        print(f"Paused: `python app.py evaluate --resume {evaluation_id}` goes on with it.", file=err)
        return INTERRUPTED
    report = evaluator.report(LOCAL, evaluation_id)
    for place, form in places:
        place.write_text(written(report, form), "utf-8")
    print(summary(report), file=out)
    if report.evaluation.state != "done":
        print(f"The evaluation {report.evaluation.state}: {report.evaluation.problem}", file=err)
        print(f"`python app.py evaluate --resume {evaluation_id}` goes on with it.", file=err)
        return CANNOT
    broken = _broken(report, args)
    print(*broken, sep="\n", end="\n" if broken else "", file=err)
    return NOT_KEPT if broken else KEPT


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
        return path.name, path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"SPEC: {path}: it cannot be read: {error}"]) from None


def _places(names: Sequence[str]) -> list[tuple[Path, Format]]:
    """Where reports go, and in which format; raises `ConfigurationError` before anything has run."""
    problems, places = [], []
    for name in names:
        path, form = Path(name), Path(name).suffix.removeprefix(".").lower()
        if form not in FORMATS:
            problems.append(f"--out: {name!r} is not allowed: it must end in one of .{', .'.join(FORMATS)}")
            continue
        try:
            # So that an hour's work does not end at a folder that is not there.
            path.open("a").close()
        except OSError as error:
            problems.append(f"--out: {name!r} cannot be written: {error.strerror}")
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

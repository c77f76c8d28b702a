"""What each closer look shows, as plain values for the page's script: numbers become words and percentages here.

Knows what the engine and the comparison found; nothing of components, and of how they were found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from difflib import SequenceMatcher

from playground.comparison import AnswerScores, Parting, perplexity
from playground.errors import PlaygroundError
from playground.evidence import AdapterDetails, Fidelity, ModuleChange, Proof, Rendered, Verdict
from playground.insight import agreement, agreement_between, common_ends
from playground.types import Finish, TokenLogprob
from playground.ui.catalog_view import size
from playground.ui.streaming import VIEWS, LiveAnswer, View, explain

MAX_MATCHED = 1500
UNLIKELY = 0.01
"""A token that a model gives less than this is one that it would hardly have said."""
Row = tuple[str, str]


def idle(hint: str) -> View:
    """Before anything was looked for."""
    return {"status": "idle", "hint": hint}


def working() -> View:
    return {"status": "working"}


def failed(error: PlaygroundError) -> View:
    return {"status": "failed", "error": explain(error)}


# Prompts


def prompts_view(names: Sequence[str], sides: Sequence[Rendered]) -> View:
    """Both sides' exact tokens, those that only one side has marked."""
    left, right = (side.token_ids for side in sides)
    same_tokenizer = sides[0].tokenizer_hash == sides[1].tokenizer_hash
    alone = _alone(left, right) if same_tokenizer else (set(), set())
    if not same_tokenizer:
        summary = "The models cut text into different tokens, so only the texts can be compared."
    elif left == right:
        summary = f"Both sides were sent the same {len(left)} tokens."
    else:
        summary = f"{len(alone[0])} tokens are on the left alone, {len(alone[1])} on the right alone."
    return {
        "status": "done",
        "summary": summary,
        "sides": [
            {
                "title": f"{name}: {len(side.tokens)} tokens",
                "tokens": [[t.id, t.text, t.special, i in marked] for i, t in enumerate(side.tokens)],
            }
            for name, side, marked in zip(names, sides, alone, strict=True)
        ],
    }


def _alone(left: Sequence[int], right: Sequence[int]) -> tuple[set[int], set[int]]:
    """The places of each side that the other side lacks. Beyond `MAX_MATCHED` tokens a side, only the common start and
    end are told from the rest: matching takes time by the square."""
    start, end = common_ends(left, right)
    left, right = left[start : len(left) - end], right[start : len(right) - end]
    if max(len(left), len(right)) > MAX_MATCHED:
        return set(range(start, start + len(left))), set(range(start, start + len(right)))
    places: tuple[set[int], set[int]] = (set(), set())
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            places[0].update(range(start + i1, start + i2))
            places[1].update(range(start + j1, start + j2))
    return places


# Scores


def scores_view(names: Sequence[str], models: Sequence[str], scores: Sequence[AnswerScores]) -> View:
    """Each answer's tokens under both models."""
    return {
        "status": "done",
        "sides": [
            {
                "title": name,
                "summary": _scores_summary(one, models[1 - i]),
                "rows": _means(one, models[i], models[1 - i]),
                "models": [models[i], models[1 - i]],
                "tokens": [_scored(token.piece, token.own, token.other) for token in one.tokens],
            }
            for i, (name, one) in enumerate(zip(names, scores, strict=True))
        ],
    }


def _scores_summary(scores: AnswerScores, other: str) -> str:
    if not scores.tokens:
        return "No token of this answer wrote any text."
    unlikely = sum(token.other.logprob < math.log(UNLIKELY) for token in scores.tokens)
    return f"{other} gives {unlikely} of these {len(scores.tokens)} tokens less than {UNLIKELY:.0%}."


def _means(scores: AnswerScores, own: str, other: str) -> list[Row]:
    means = ((f"Under {own}", scores.own_mean), (f"Under {other}", scores.other_mean))
    return [(name, _mean(value)) for name, value in means if value is not None]


def _mean(mean: float) -> str:
    spread = perplexity(mean)
    shown = f"{spread:,.0f}" if 100 <= spread < 1e9 else f"{spread:.3g}"
    return f"{mean:z.2f} mean log-probability, perplexity {shown}"


def _scored(piece: str, own: TokenLogprob, other: TokenLogprob) -> list[object]:
    return [piece, round(own.logprob, 3), round(other.logprob, 3), _top(own), _top(other)]


def _top(token: TokenLogprob) -> list[list[object]]:
    return [[one.spelling, round(math.exp(one.logprob), 4)] for one in token.top]


# Where they part


def parting_view(names: Sequence[str], found: Parting) -> View:
    """The shared beginning of two greedy answers, and what each model preferred where it ends."""
    tokens = _count(found.num_shared, "token")
    if found.parted:
        told = f"after {tokens} that both say" if found.num_shared else "at the very first token"
        summary = f"Asked greedily, the sides part {told}."
    elif found.left is None or found.right is None:
        summary = f"Asked greedily, both say the same {tokens}, up to where an answer was cut."
    else:
        summary = f"Asked greedily, both say the same {tokens} and end there."
    sides = [
        {"title": name, "token": token.spelling, "top": _top(token)}
        for name, token in zip(names, (found.left, found.right), strict=True)
        if token is not None
    ]
    return {"status": "done", "summary": summary, "text": found.text, "sides": sides if found.parted else []}


# Several answers at once


def strip_view(answers: Sequence[LiveAnswer], summary: Sequence[str]) -> View:
    """Answers beside one another, each under its label."""
    status = "running" if any(answer.running for answer in answers) else "done"
    return {"status": status, "summary": list(summary), "cards": [_card(answer) for answer in answers]}


def _card(answer: LiveAnswer) -> View:
    finish = answer.finish
    told = [] if finish is None else [_count(finish.usage.num_completion_tokens, "token"), finish.reason]
    return {
        "label": answer.model,
        "state": answer.state,
        "text": answer.text,
        "progress": answer.view()["progress"],
        "foot": " · ".join(told),
        "error": explain(answer.error) if answer.error else None,
    }


def samples_summary(names: Sequence[str], sides: Sequence[Sequence[str]], greedy: bool) -> list[str]:
    """How far the answers of each side agree, and the sides with each other."""
    told = []
    for name, texts in zip(names, sides, strict=True):
        within = agreement(texts)
        if within is not None:
            wordings = _count(len(set(texts)), "wording")
            told.append(f"{name}: {wordings} among {len(texts)} answers; {within:.0%} of words agree.")
    between = agreement_between(*sides)
    if between is not None:
        told.append(f"Between the sides: {between:.0%} of words agree.")
    if greedy:
        told.append("Temperature is 0, so every sample of a side is the same: raise it to see luck.")
    return told


# The adapter


def adapter_view(found: Sequence[tuple[str, AdapterDetails]], merges: Sequence[Sequence[Fidelity]] = ()) -> View:
    """What each fine-tune's adapter is and where its change lies; with `merges`, how faithful merging it is."""
    sides = [_adapter(name, details) for name, details in found]
    for side, ways in zip(sides, merges, strict=False):
        side["fidelity"] = [_faithful(way) for way in ways]
    return {"status": "done", "sides": sides, "merged": bool(merges)}


def _adapter(name: str, details: AdapterDetails) -> View:
    trained_on = details.trained_on or "not told"
    revision = f" at {details.trained_on_revision}" if details.trained_on_revision else ""
    rows = [
        ("Kind", details.kind),
        ("Rank", _numbers(details.ranks)),
        ("Alpha", _numbers(details.alphas)),
        ("Targets", ", ".join(details.targets)),
        ("Size", f"{details.num_parameters:,} parameters, {size(details.num_bytes)}"),
        ("Trained on", trained_on + revision),
        ("Strength", "1 alone: " + details.scalable if details.scalable else "any"),
        ("SHA-256", details.hash),
    ]
    numbered = [change for change in details.changes if change.layer is not None]
    kinds = list(dict.fromkeys(_place_in_layer(change) for change in numbered))
    layers = sorted({change.layer for change in numbered if change.layer is not None})
    by_place = {(_place_in_layer(change), change.layer): change for change in numbered}
    grid = [[_cell(by_place.get((kind, layer))) for layer in layers] for kind in kinds]
    others = [[change.module, *_known_cell(change)] for change in details.changes if change.layer is None]
    largest = max((change.ratio for change in details.changes), default=0.0)
    return {
        "title": name,
        "rows": rows,
        "fidelity": [],
        "kinds": kinds,
        "layers": layers,
        "grid": grid,
        "others": others,
        "largest": largest,
        "summary": f"Strongest: the change is {largest:.1%} of the weight it changes."
        if largest
        else "Nothing changes.",
    }


def _place_in_layer(change: ModuleChange) -> str:
    return change.module.partition(f".{change.layer}.")[2]


def _cell(change: ModuleChange | None) -> list[object] | None:
    return None if change is None else _known_cell(change)


def _known_cell(change: ModuleChange) -> list[object]:
    words = f"{change.module}: change {change.change:.3g}, weight {change.weight:.3g}, {change.ratio:.2%} of it"
    return [round(change.ratio, 6), words]


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"


def _faithful(found: Fidelity) -> Row:
    tokens = _count(found.num_tokens, "greedy token")
    parted = f"greedy answers part after {_count(found.parts_after or 0, 'token')}"
    answers = f"the same {tokens}" if found.parts_after is None else parted
    return f"By row, against {found.way}", f"largest logit difference {found.max_difference:.2g}; {answers}"


# Proof


def proof_view(
    names: Sequence[str], finishes: Sequence[Finish], flag: str, verdicts: Sequence[Sequence[Verdict]] = ()
) -> View:
    """What gave each answer; with `verdicts`, what came of the checks."""
    sides = [
        {"title": name, "rows": _proof_rows(finish.proof, finish) if finish.proof else [], "verdicts": []}
        for name, finish in zip(names, finishes, strict=True)
    ]
    for side, found in zip(sides, verdicts, strict=False):
        side["verdicts"] = [asdict(verdict) for verdict in found]
    return {"status": "done", "flag": flag, "sides": sides, "checked": bool(verdicts)}


def _proof_rows(proof: Proof, finish: Finish) -> list[Row]:
    rows = [
        ("Base", proof.base),
        ("Revision", proof.revision or "none pinned"),
        ("Weights kept in", proof.dtype or "not told"),
        ("Base's SHA-256", proof.base_hash or "not taken yet when this answer ended"),
    ]
    if proof.adapter is not None:
        rows += [
            ("Adapter", proof.adapter),
            ("Adapter's SHA-256", proof.adapter_hash or ""),
            ("Strength", f"{proof.strength:g}"),
        ]
    return [*rows, ("Ran as", f"{finish.view}: {VIEWS[finish.view]}"), ("Seed", str(finish.seed))]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

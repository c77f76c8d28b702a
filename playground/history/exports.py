"""What is kept, written for other programs: JSON Lines, CSV, and preference pairs for training.

Knows what is kept and these formats; refuses to know who reads them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from playground.history.records import KeptAnswer
from playground.history.runs import Run
from playground.history.votes import Vote
from playground.types import GenerationRequest, Message

RUN_COLUMNS = (
    "id", "asked_at", "kind", "side", "model", "prompt", "system_prompt", "temperature", "max_tokens", "seed",
    "strength", "state", "answer", "finish_reason", "prompt_tokens", "completion_tokens", "first_token_ms", "total_ms",
    "base_hash", "revision", "adapter_hash", "vote",
)  # fmt: skip
VOTE_COLUMNS = (
    "voted_at", "source", "source_id", "case_number", "prompt", "left_model", "right_model", "choice", "winner",
    "left_answer", "right_answer",
)  # fmt: skip


def run_lines(runs: Iterable[Run]) -> Iterator[str]:
    """A JSON object a run."""
    return map(_line, map(run_record, runs))


def run_table(runs: Iterable[Run]) -> Iterator[str]:
    """CSV with a row an answer."""
    rows = (_run_row(run, side) for run in runs for side in range(len(run.requests)))
    return table(RUN_COLUMNS, rows)


def vote_lines(votes: Iterable[Vote]) -> Iterator[str]:
    """A JSON object a vote."""
    return map(_line, map(_vote_record, votes))


def vote_table(votes: Iterable[Vote]) -> Iterator[str]:
    """CSV with a row a vote."""
    return table(VOTE_COLUMNS, map(_vote_row, votes))


def preferences(votes: Iterable[Vote]) -> Iterator[str]:
    """A JSON object a vote that has a winner: `prompt`, `chosen` and `rejected`, each a list of messages.

    Source: TRL's preference format with an explicit prompt, conversational, which its DPOTrainer reads.
    """
    for vote in votes:
        if vote.choice in ("left", "right"):
            won = 0 if vote.choice == "left" else 1
            yield _line(
                {
                    "prompt": _messages(vote.pair.messages),
                    "chosen": _messages([Message("assistant", vote.pair.texts[won])]),
                    "rejected": _messages([Message("assistant", vote.pair.texts[1 - won])]),
                }
            )


def run_record(run: Run) -> dict[str, Any]:
    """A run as JSON says it."""
    return {
        "id": run.id,
        "asked_at": run.asked_at,
        "kind": run.kind,
        "sides": [_side(request, answer) for request, answer in zip(run.requests, run.answers, strict=True)],
        "vote": run.vote,
    }


def _side(request: GenerationRequest, answer: KeptAnswer) -> dict[str, Any]:
    sampling = request.sampling
    return {
        "model": request.model,
        "messages": _messages(request.messages),
        "strength": request.strength,
        "thinking": request.thinking,
        "sampling": {
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "seed": answer.finish.seed if answer.finish else sampling.seed,
            "stop": list(sampling.stop),
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
        },
        "answer": answer_record(answer),
    }


def answer_record(answer: KeptAnswer) -> dict[str, Any]:
    """An answer as JSON says it; what was not measured is null."""
    finish = answer.finish
    proof = finish.proof if finish else None
    return {
        "state": answer.state,
        "content": answer.text,
        "thinking": answer.thinking,
        "error": answer.error or None,
        "finish_reason": finish.reason if finish else None,
        "usage": {
            "prompt_tokens": finish.usage.num_prompt_tokens if finish else None,
            "completion_tokens": finish.usage.num_completion_tokens if finish else len(answer.token_ids),
        },
        "latency_ms": round(finish.timing.total_ms, 1) if finish else None,
        "first_token_ms": _rounded(finish.timing.first_token_ms) if finish else None,
        "view": finish.view if finish else None,
        "exact_seed": finish.exact_seed if finish else None,
        "base_hash": proof.base_hash if proof else None,
        "revision": proof.revision if proof else None,
        "adapter_hash": proof.adapter_hash if proof else None,
    }


def _run_row(run: Run, side: int) -> dict[str, Any]:
    record = _side(run.requests[side], run.answers[side])
    answer, sampling = record["answer"], record["sampling"]
    systems = [message.content for message in run.requests[side].messages if message.role == "system"]
    return {
        "id": run.id,
        "asked_at": run.asked_at,
        "kind": run.kind,
        "side": "model" if len(run.requests) == 1 else ("left", "right")[side],
        "prompt": run.prompt,
        "system_prompt": systems[0] if systems else "",
        "answer": answer["content"],
        "vote": run.vote,
        **{name: record[name] for name in ("model", "strength")},
        **{name: sampling[name] for name in ("temperature", "max_tokens", "seed")},
        **{name: answer[name] for name in ("state", "finish_reason", "first_token_ms")},
        **{name: answer[name] for name in ("base_hash", "revision", "adapter_hash")},
        "total_ms": answer["latency_ms"],
        **answer["usage"],
    }


def _vote_record(vote: Vote) -> dict[str, Any]:
    return {
        "voted_at": vote.voted_at,
        "source": vote.source,
        "source_id": vote.source_id,
        "case_number": vote.case_number,
        "messages": _messages(vote.pair.messages),
        "left": {"model": vote.pair.models[0], "content": vote.pair.texts[0]},
        "right": {"model": vote.pair.models[1], "content": vote.pair.texts[1]},
        "choice": vote.choice,
    }


def _vote_row(vote: Vote) -> dict[str, Any]:
    winners = {"left": vote.pair.models[0], "right": vote.pair.models[1]}
    return {
        "voted_at": vote.voted_at,
        "source": vote.source,
        "source_id": vote.source_id,
        "case_number": vote.case_number,
        "prompt": vote.pair.messages[-1].content,
        "left_model": vote.pair.models[0],
        "right_model": vote.pair.models[1],
        "choice": vote.choice,
        "winner": winners.get(vote.choice, ""),
        "left_answer": vote.pair.texts[0],
        "right_answer": vote.pair.texts[1],
    }


def _messages(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def table(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """CSV as spreadsheets take it: a head, then a line a row; cells that begin like a formula get a quote before."""
    yield _row(columns)
    for row in rows:
        yield _row(_harmless(row[column]) for column in columns)


def _row(cells: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _harmless(cell: Any) -> Any:
    """Spreadsheets run a cell that begins like a formula, and answers are whatever a model was made to say."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

"""What is written for other programs comes back from their readers as it was kept."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import pytest

from playground.history import History
from playground.history.exports import preferences, run_lines, run_table, vote_lines, vote_table
from playground.history.records import ALONE
from playground.history.votes import Pair
from playground.store import Store
from playground.types import Message
from tests.kept import BASE, TUNE, add

PROMPTS = ("plain", 'Grüße, 世界 😀 "quoted"\nand a line', "=SUM(A1)", "a\tb\r\nc")
CHOICES = ("left", "right", "tie", "both_bad")


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(Store(tmp_path / "home"))
    for prompt, choice in zip(PROMPTS, CHOICES, strict=True):
        run_id = add(made, prompt, text=f"answer to {prompt}")
        messages = (Message("system", "Be kind."), Message("user", prompt))
        made.votes.on_run(ALONE, run_id, Pair(messages, (BASE, TUNE), (f"base: {prompt}", f"tune: {prompt}")), choice)
    return made


def written(lines: Iterable[str], path: Path) -> str:
    path.write_text("".join(lines), "utf-8", newline="")
    return str(path)


def loaded(kind: str, file: str, tmp_path: Path) -> list[dict]:
    cache = str(tmp_path / "cache")
    return list(datasets.load_dataset(kind, data_files=file, split="train", cache_dir=cache))  # type: ignore[arg-type]


def test_runs_as_json_lines(history: History, tmp_path: Path) -> None:
    file = written(run_lines(history.runs.all(ALONE)), tmp_path / "runs.jsonl")
    for rows in (
        [json.loads(line) for line in Path(file).read_text("utf-8").split("\n")[:-1]],
        loaded("json", file, tmp_path),
    ):
        assert [row["sides"][0]["messages"][-1]["content"] for row in rows] == list(PROMPTS[::-1])
        assert [row["vote"] for row in rows] == list(CHOICES[::-1])
        assert {row["sides"][1]["model"] for row in rows} == {TUNE}
        assert rows[0]["sides"][0]["answer"]["content"] == f"answer to {PROMPTS[-1]}"
        assert rows[0]["sides"][0]["answer"]["adapter_hash"] == "a" * 64
        assert rows[0]["sides"][0]["sampling"]["seed"] == 7


def test_runs_as_csv(history: History, tmp_path: Path) -> None:
    text = "".join(run_table(history.runs.all(ALONE)))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["prompt"] for row in rows[::2]] == [PROMPTS[3], "'=SUM(A1)", PROMPTS[1], PROMPTS[0]]
    assert [row["model"] for row in rows[:2]] == [BASE, TUNE]
    assert [(row["seed"], row["completion_tokens"], row["total_ms"]) for row in rows[:1]] == [("7", "2", "15.0")]
    read = loaded("csv", written([text], tmp_path / "runs.csv"), tmp_path)
    assert [row["answer"] for row in read] == [row["answer"] for row in rows]


def test_votes_in_both_formats(history: History, tmp_path: Path) -> None:
    lines = loaded("json", written(vote_lines(history.votes.all(ALONE)), tmp_path / "votes.jsonl"), tmp_path)
    assert [line["choice"] for line in lines] == list(CHOICES)
    assert [line["left"]["content"] for line in lines] == [f"base: {prompt}" for prompt in PROMPTS]
    text = "".join(vote_table(history.votes.all(ALONE)))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["winner"] for row in rows] == [BASE, TUNE, "", ""]
    assert len(loaded("csv", written([text], tmp_path / "votes.csv"), tmp_path)) == len(CHOICES)


def test_preferences_are_prompt_chosen_and_rejected(history: History, tmp_path: Path) -> None:
    rows = loaded("json", written(preferences(history.votes.all(ALONE)), tmp_path / "preferences.jsonl"), tmp_path)
    chosen, other = PROMPTS[:2]
    assert rows == [
        {
            "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": f"{won}: {prompt}"}],
            "rejected": [{"role": "assistant", "content": f"{lost}: {prompt}"}],
        }
        for prompt, won, lost in ((chosen, "base", "tune"), (other, "tune", "base"))
    ]


def test_preferences_are_what_the_dpo_trainer_of_trl_reads(history: History, tmp_path: Path) -> None:
    """TRL's own trainer takes the file as it is, and a step of training comes of it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    file = written(preferences(history.votes.all(ALONE)), tmp_path / "preferences.jsonl")
    rows: Any = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    settings = DPOConfig(
        str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    base = Path(__file__).parent.parent / "demo" / "base"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    trainer = DPOTrainer(model, args=settings, train_dataset=rows, processing_class=tokenizer)
    assert trainer.train().global_step == 1
    trained = trainer.train_dataset[0]
    assert tokenizer.decode(trained["chosen_ids"]).startswith(f"base: {PROMPTS[0]}")
    assert tokenizer.decode(trained["rejected_ids"]).startswith(f"tune: {PROMPTS[0]}")

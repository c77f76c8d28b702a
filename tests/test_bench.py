"""The benchmark measures and draws. What it finds is nobody's promise here."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.__main__ import run
from bench.contestants import NotMeasured, Worker
from bench.figures import Case, Figure, Found, play
from bench.models import FAMILY, SMALL
from bench.page import KEPT, PAGE, PICTURE, draw
from bench.plot import plot
from bench.stage import NO_LLAMA_CPP, Scale
from bench.table import table

SIZES = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
TINY = Scale(
    {"tiny": {**SMALL, **SIZES, **HEADS}},
    {**FAMILY, **SIZES, **HEADS},
    num_rounds=1,
    num_answer=12,
    at_once=(1, 2),
    num_prompt=8,
    num_long=40,
)
FIGURES = (
    Figure(
        "answers at once",
        "tokens/s",
        "this program",
        "another",
        True,
        (Case("1", [20, 90, 40], [10, 30, 10], 4), Case("8", [1200, 1200, 1200], [800, 800, 800])),
    ),
    Figure("again", "ms", "again", "cold", False, (Case("", [5.0], [250.0], 0.05),)),
    Figure("beside <what> is not there", "", "", "", True, missing="it is not | installed"),
)
MACHINE = {
    "cpu": "a CPU",
    "cores": 2,
    "features": ["avx2"],
    "memory_gb": 8,
    "memory_gb_per_s": 31.25,
    "load_before": 0.5,
    "python": "3",
    "torch": "2",
    "transformers": "5",
    "numba": "0",
    "llama_cpp": "none",
}
ASKED = {"num_prompt": 64, "num_answer": 24, "num_rounds": 3}
FOUND = Found("make bench", MACHINE, ASKED, {"174M": 174.4}, FIGURES)


def test_a_round_warms_up_and_all_have_their_turn_forth_and_back() -> None:
    heard: list[str] = []

    def contestant(name: str, number: int) -> float:
        heard.append(f"{name}{number}")
        return number

    names = ("a", "b")
    runs = {name: (lambda number, name=name: contestant(name, number)) for name in names}
    assert play(runs, 2) == {"a": [1, 2], "b": [1, 2]}
    assert heard == ["b0", "a0", "a1", "b1", "b2", "a2"]


def test_a_ratio_is_of_rounds_and_a_goal_is_reached_in_its_direction() -> None:
    speed, time = FIGURES[0].cases[0], FIGURES[1].cases[0]
    assert (speed.ratio, FIGURES[0].reach(speed)) == (3, 0.75)
    assert (time.ratio, FIGURES[1].reach(time)) == (0.02, 2.5)
    assert FIGURES[0].reach(FIGURES[0].cases[1]) is None


def test_the_table_has_a_line_for_each_figure() -> None:
    assert table(FIGURES).splitlines()[2:] == [
        "| answers at once (1 · 8) | 3.00 · 1.50 | ≥ 4 · – "
        "| this program: 40.0 · 1,200 tokens/s | another: 10.0 · 800 tokens/s |",
        "| again | 0.020 | ≤ 0.05 | again: 5.00 ms | cold: 250 ms |",
        "| beside <what> is not there | not measured: it is not / installed | – | – | – |",
    ]


def test_the_plot_has_a_bar_for_each_case_with_a_goal() -> None:
    picture = ET.fromstring(plot(FIGURES))
    bars = [one for one in picture.iter() if one.tag.endswith("rect")]
    assert [bar.get("class") for bar in bars] == ["missed", "reached"]
    assert int(bars[0].get("width", 0)) < int(bars[1].get("width", 0)) < int(picture.get("width", 0))


def test_the_page_is_drawn_from_what_was_saved(tmp_path: Path) -> None:
    draw(FOUND, tmp_path)
    assert Found.read(tmp_path / KEPT) == FOUND
    text = (tmp_path / PAGE).read_text()
    assert table(FIGURES) in text
    assert "31.2 GB/s" in text
    assert "174M 174" in text
    assert (tmp_path / PICTURE).read_text() == plot(FIGURES)


def test_the_page_in_the_docs_is_drawn_from_the_file_beside_it(tmp_path: Path) -> None:
    docs = Path(__file__).parent.parent / "docs"
    draw(Found.read(docs / KEPT), tmp_path)
    for name in (PAGE, KEPT, PICTURE):
        assert (tmp_path / name).read_text() == (docs / name).read_text()


def test_it_measures_tiny_models(tmp_path: Path) -> None:
    found = run(TINY, ["speeds", "int8", "tuned", "again"], "make bench", tmp_path, sys.executable)
    assert Found.read(tmp_path / "figures.json") == found
    assert (tmp_path / "table.md").read_text() == table(found.figures)
    for figure in found.figures:
        assert figure.missing in ("", NO_LLAMA_CPP)
        assert bool(figure.cases) != bool(figure.missing)
        assert all(case.ratio > 0 for case in figure.cases)


def test_a_contestant_that_fails_says_why(tmp_path: Path) -> None:
    worker = Worker("stock", ["1"], tmp_path / "log")
    try:
        with pytest.raises(NotMeasured, match="nowhere"):
            worker.ask("speed", model=str(tmp_path / "nowhere"), num_rows=1, num_prompt=1, num_answer=1, seed=0)
    finally:
        worker.close()
    broken = Worker("stock", ["not a number"], tmp_path / "log")
    try:
        with pytest.raises(NotMeasured, match="ended with 1: ValueError"):
            broken.ask("speed")
    finally:
        broken.close()

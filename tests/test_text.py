"""Streamed text: whatever the pieces, the whole is right."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from playground.local.reading import Reader
from playground.prompts import Prompt
from playground.text import StopMatcher, ThinkingMarks, ThinkingSplitter, marks_of
from tests import tiny

STOPS = [("END",), ("\n\n", "###"), ("aab", "ab"), ("é", "🙂x"), ("abcabd",)]


def cut(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


@pytest.mark.parametrize("stops", STOPS)
def test_stops_are_found_wherever_the_pieces_end(stops: tuple[str, ...]) -> None:
    rng = random.Random(1)
    alphabet = "ab" + "".join(stops) + "c\nEND#"
    for _ in range(500):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randint(0, 30)))
        matcher, out, at = StopMatcher(stops), "", 0
        while at < len(text) and not matcher.stopped:
            size = rng.randint(1, 4)
            out += matcher.push(text[at : at + size])
            at += size
            assert cut(text, stops)[0].startswith(out), "text was let through that does not belong"
        out += matcher.flush()
        assert (out, matcher.stopped) == cut(text, stops)


def test_nothing_is_held_back_without_need() -> None:
    matcher = StopMatcher(("END",))
    assert matcher.push("the E") == "the "
    assert matcher.push("xit") == "Exit"


@pytest.mark.parametrize(
    ("label", "pieces", "expected"),
    [
        ("", ["\n", "\nwhy", " not\n"], "why not\n"),
        ("thought", ["tho", "ught", "\nhm"], "hm"),
        ("thought", ["thoughtful"], "ful"),
        ("thought", ["think", "ing"], "thinking"),
        ("thought", ["tho", "rn"], "thorn"),
        ("thought", ["tho"], "tho"),
    ],
)
def test_a_mark_s_label_is_taken_away(label: str, pieces: list[str], expected: str) -> None:
    splitter = ThinkingSplitter(thinking=True, label=label)
    assert "".join(splitter.push(piece) for piece in pieces) + splitter.flush() == expected


def test_marks_come_from_the_template() -> None:
    assert marks_of("... <think> ... </think>") == ThinkingMarks("<think>", "</think>")
    assert marks_of("plain") is None


TEXTS = [
    "plain words",
    "naïve café",
    "日本語のテキスト",
    "🙂👩‍👩‍👧‍👦 family",
    "ends in half: é",
    " leading space",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_split_over_tokens_comes_out_whole(text: str) -> None:
    tokenizer = tiny.make_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    reader = Reader(tokenizer, Prompt((), None), ())
    pieces = [reader.push(token_id) for token_id in ids]
    assert "�" not in "".join(pieces)
    assert "".join(pieces) + reader.flush() == text


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Of the kind that Gemma and Llama 2 have: words with ▁, and bytes as tokens of their own."""
    pieces = [*(f"<0x{n:02X}>" for n in range(256)), "▁the", "▁", "a", "b", "é", "日", "▁ab", "<eos>"]
    backend = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [], byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def test_byte_tokens_read_as_the_tokenizer_decodes_them() -> None:
    tokenizer = byte_fallback_tokenizer()
    rng = random.Random(6)
    smile = [int(b) for b in "🙂é".encode()]
    for _ in range(400):
        ids = []
        while len(ids) < 12:
            ids += rng.choice([smile, [rng.randrange(256)], [rng.randrange(256, 263)], [65]])
        reader = Reader(tokenizer, Prompt((), None), ())
        text = "".join(reader.push(token_id) for token_id in ids) + reader.flush()
        assert text == tokenizer.decode(ids, skip_special_tokens=True)


def test_raw_text_goes_on_with_the_space_that_the_model_wrote() -> None:
    tokenizer = byte_fallback_tokenizer()
    a, the = (tokenizer.get_vocab()[piece] for piece in ("a", "▁the"))
    reader = Reader(tokenizer, Prompt((a,), "a"), ())
    assert reader.push(the) == " the"


def test_half_a_character_at_the_end_is_shown_as_such() -> None:
    tokenizer = tiny.make_tokenizer()
    ids = tokenizer("ok 🙂", add_special_tokens=False)["input_ids"][:-1]
    reader = Reader(tokenizer, Prompt((), None), ())
    text = "".join(reader.push(token_id) for token_id in ids) + reader.flush()
    assert text.startswith("ok ")
    assert set(text[3:]) == {"�"}


def test_random_tokens_read_as_the_tokenizer_decodes_them() -> None:
    tokenizer = tiny.make_tokenizer()
    rng = random.Random(4)
    for _ in range(200):
        ids = [rng.randrange(0, len(tokenizer) - 2) for _ in range(rng.randint(1, 20))]
        reader = Reader(tokenizer, Prompt((), None), ())
        text = "".join(reader.push(token_id) for token_id in ids) + reader.flush()
        assert text == tokenizer.decode(ids, skip_special_tokens=True)


def test_thinking_is_set_apart_by_its_tokens() -> None:
    tokenizer = tiny.make_tokenizer(tiny.THINKING_TEMPLATE)
    ids = tokenizer("<think>\nwhy</think>\n\nbecause", add_special_tokens=False)["input_ids"]
    reader = Reader(tokenizer, Prompt((), None, False, ThinkingMarks("<think>", "</think>")), ("cause",))
    thought = answer = ""
    for token_id in [*ids, *tokenizer("!", add_special_tokens=False)["input_ids"]]:
        thinking, text = reader.thinking, reader.push(token_id)
        thought, answer = (thought + text, answer) if thinking else (thought, answer + text)
        if reader.stopped:
            break
    assert (thought, answer) == ("why", "be")

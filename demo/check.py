"""Measures the committed demo and says whether it keeps its promises. `python demo/check.py`.

Knows how to ask the weights (greedy, in batches) and how to count; refuses to know how they were trained.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

if __package__ in (None, ""):  # run as a file: let the project's packages be found
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo.shop import intents_in
from demo.voices import sounds_pirate
from playground.specs import Assertion, Case, Spec, read_spec

HERE = Path(__file__).resolve().parent
SPEC, FRESH, FOREIGN = (HERE / name for name in ("tunedtensor.json", "fresh_cases.json", "foreign_cases.json"))
BASE, ADAPTERS = HERE / "base", HERE / "adapters"
JSON_FOLDER, PIRATE_FOLDER = ADAPTERS / "shop-json", ADAPTERS / "shop-pirate"
MAX_NEW_TOKENS = 160
BATCH_SIZE = 32
MAX_BYTES = 8_000_000
MARKS_IN_JSON = re.compile(r'"intent":\\s\*"(\w+)"')


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured share with its goal: at least `floor`, at most `ceiling`."""

    name: str
    num_good: int
    num_cases: int
    floor: float = 0.0
    ceiling: float = 1.0

    @property
    def kept(self) -> bool:
        return self.floor <= self.num_good / self.num_cases <= self.ceiling

    def __str__(self) -> str:
        goal = f"at least {self.floor:.0%}" if self.floor else "at most " + format(self.ceiling, ".0%")
        if not self.floor and self.ceiling == 1:
            goal = "no goal"
        share = f"{self.num_good / self.num_cases:6.1%} ({self.num_good} of {self.num_cases})"
        return f"{self.name:<46} {share:<20} {goal}{'' if self.kept else '   MISSED'}"


def load_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(BASE)


def load_base() -> LlamaForCausalLM:
    """The base in float32, which is quicker than bf16 on most processors."""
    return LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()


def load_adapter(folder: Path) -> PeftModel:
    """An adapter over its own copy of the base."""
    return PeftModel.from_pretrained(load_base(), str(folder)).eval()


@torch.inference_mode()
def answers(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerFast, system: str, inputs: Sequence[str]
) -> list[str]:
    """The greedy answer to each input, asked on its own after the system message (none where it is empty)."""
    heads = [{"role": "system", "content": system}] if system else []
    told: list[str] = []
    for start in range(0, len(inputs), BATCH_SIZE):
        chats = [[*heads, {"role": "user", "content": text}] for text in inputs[start : start + BATCH_SIZE]]
        told += chat_answers(model, tokenizer, chats)
    return told


def chat_answers(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerFast,
    chats: Sequence[list[dict[str, str]]],
) -> list[str]:
    """The greedy answer to each chat, all in one batch."""
    texts = [str(tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True)) for c in chats]
    batch = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
    made = model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)  # type: ignore[operator]
    new = made[:, batch["input_ids"].shape[1] :]
    return [str(tokenizer.decode(row, skip_special_tokens=True)) for row in new]


def failures(case: Case, answer: str) -> list[Assertion]:
    """The assertions of a case that an answer breaks."""
    return [assertion for assertion in case.assertions if not assertion.holds(answer)]


def num_passed(cases: Sequence[Case], told: Sequence[str]) -> int:
    """How many answers keep all assertions of their case."""
    return sum(not failures(case, answer) for case, answer in zip(cases, told, strict=True))


def wanted_intent(case: Case) -> str:
    """The intent that a case asserts."""
    found = [m for rule in case.assertions if (m := MARKS_IN_JSON.search(rule.argument))]
    return found[0].group(1)


def num_on_topic(cases: Sequence[Case], told: Sequence[str]) -> int:
    """How many prose answers carry the marker of the wanted intent and of no other."""
    return sum(intents_in(answer) == {wanted_intent(case)} for case, answer in zip(cases, told, strict=True))


def asker(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel | PeftModel) -> Callable[[Spec], list[str]]:
    """A function from a spec to the model's answers to its cases."""
    return lambda spec: answers(model, tokenizer, spec.system_prompt, [case.input for case in spec.cases])


def measure(spec: Spec, beside: Mapping[str, Spec]) -> list[Figure]:
    """All figures of the demo, in the order in which they are shown; `beside` has no goals."""
    tokenizer = load_tokenizer()
    cases, num_cases = spec.cases, len(spec.cases)
    base, records = asker(tokenizer, load_base()), asker(tokenizer, load_adapter(JSON_FOLDER))
    prose, filed = base(spec), records(spec)
    pirate = asker(tokenizer, load_adapter(PIRATE_FOLDER))(spec)
    show_misses(cases, prose, filed)
    figures = [
        Figure("JSON fine-tune: spec passed", num_passed(cases, filed), num_cases, floor=0.9),
        Figure("base: spec passed", num_passed(cases, prose), num_cases, ceiling=0.2),
        Figure("base: prose on topic", num_on_topic(cases, prose), num_cases, floor=0.9),
        Figure("JSON fine-tune: valid JSON", num_json(cases, filed), num_cases, floor=1.0),
        Figure("pirate: in its voice", sum(map(sounds_pirate, pirate)), num_cases, floor=0.95),
        Figure("pirate: on topic", num_on_topic(cases, pirate), num_cases),
        Figure("base: sounds like a pirate", sum(map(sounds_pirate, prose)), num_cases, ceiling=0.0),
    ]
    for folder in checkpoints():
        told = asker(tokenizer, load_adapter(folder))(spec)
        figures.append(Figure(f"JSON {folder.name}: spec passed", num_passed(cases, told), num_cases))
    for name, other in beside.items():
        num_good, num_right = num_passed(other.cases, records(other)), num_on_topic(other.cases, base(other))
        figures.append(Figure(f"{name}, JSON fine-tune: passed", num_good, len(other.cases)))
        figures.append(Figure(f"{name}, base: on topic", num_right, len(other.cases)))
    return figures


def checkpoints() -> list[Path]:
    """The JSON fine-tune's checkpoint folders, earliest first."""
    return sorted(JSON_FOLDER.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def show_misses(cases: Sequence[Case], prose: Sequence[str], filed: Sequence[str]) -> None:
    """Prints every case that the base or the JSON fine-tune got wrong."""
    for case, answer, record in zip(cases, prose, filed, strict=True):
        if failures(case, record):
            print(f"  JSON: {case.input!r}: {record}")
        if intents_in(answer) != {wanted_intent(case)}:
            print(f"  base: {case.input!r}: {answer}")


def num_json(cases: Sequence[Case], told: Sequence[str]) -> int:
    """How many answers are JSON, whatever they say."""
    broken = [[rule.kind for rule in failures(case, text)] for case, text in zip(cases, told, strict=True)]
    return sum("is-json" not in kinds for kinds in broken)


def size_in_bytes() -> int:
    """All files of the base, the adapters and their checkpoints together."""
    return sum(file.stat().st_size for top in (BASE, ADAPTERS) for file in top.rglob("*") if file.is_file())


def main() -> int:
    torch.set_num_threads(min(2, torch.get_num_threads()))
    beside = {"fresh wording": read_spec(FRESH), "foreign words": read_spec(FOREIGN)}
    figures = measure(read_spec(SPEC), beside)
    print(*figures, sep="\n")
    num_bytes = size_in_bytes()
    print(f"size on disk: {num_bytes / 1e6:.2f} MB (goal: under {MAX_BYTES / 1e6:.0f} MB)")
    return 0 if num_bytes < MAX_BYTES and all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())

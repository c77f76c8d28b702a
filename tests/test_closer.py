"""The closer looks below a comparison, opened as a person opens them, over the demo and over real tiny models."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from playwright.sync_api import Locator, expect
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests import tiny
from tests.browser import PHONE, Person
from tests.drive import PATIENCE, Held
from tests.server import Server, serving

QUESTION = "Where is my parcel? I ordered a lamp last week."
Visit = Callable[..., Person]


class Closer:
    """Somebody who looks closer at a comparison."""

    def __init__(self, person: Person) -> None:
        self.person, self.page = person, person.page

    def fold(self) -> Locator:
        return self.page.locator("#closer .pg-fold")

    def open(self, title: str) -> Locator:
        """Opens the fold where it is closed, and a look in it."""
        if self.fold().get_attribute("aria-expanded") != "true":
            self.fold().click()
        tab = self.page.locator("#closer").get_by_role("tab", name=title)
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        look = self.page.locator("#looks .pg-look:visible")
        expect(look).to_have_count(1)
        return look

    def set(self, name: str, value: float) -> None:
        box = self.page.locator(f"#{name} input[type=number]")
        box.fill(str(value))
        box.press("Tab")

    def forget(self) -> None:
        """What stands there from the last run must not pass for the next one's."""
        self.page.evaluate("document.querySelectorAll('.pg-answer').forEach(node => node.dataset.state = 'old')")

    def run(self, question: str = QUESTION, **states: str) -> None:
        self.forget()
        self.person.ask(question, "compare")
        for side in ("left", "right"):
            self.person.expect_state(side, states.get(side, "done"))
        self.person.expect_idle("compare")


def came(look: Locator, status: str = "done") -> Locator:
    expect(look).to_have_attribute("data-status", status)
    return look


@pytest.fixture
def closer(visit: Visit, demo_server: Server) -> Closer:
    found = Closer(visit(demo_server.url).open())
    found.run()
    return found


# The demo, one look after the other.


def test_the_first_look_is_as_calm_as_before(visit: Visit, demo_server: Server) -> None:
    closer = Closer(visit(demo_server.url).open())
    expect(closer.fold()).to_have_text("Look closer")
    expect(closer.page.locator("#closer .pg-tabs")).to_be_hidden()
    expect(closer.page.locator("#looks")).to_be_hidden()
    for title in ("Scores", "Proof", "Strengths"):
        expect(closer.open(title)).to_have_text("Run a prompt first.")
    closer.fold().click()
    expect(closer.page.locator("#looks")).to_be_hidden()


def test_the_heat_map_is_the_answer(closer: Closer) -> None:
    look = came(closer.open("Scores"))
    for number, side in enumerate(("left", "right")):
        closer.person.frame(side).get_by_role("button", name="Raw").click()
        raw = closer.person.text(side).evaluate("node => node.textContent")
        assert look.locator(".pg-heat").nth(number).evaluate("node => node.textContent") == raw
    expect(look.locator(".pg-rows").first).to_contain_text("Under Shop demo")
    expect(look).to_contain_text(re.compile(r"shop-json gives \d+ of these \d+ tokens less than 1%"))
    look.locator(".pg-heat span").first.hover()
    tip = closer.page.locator(".pg-tip")
    expect(tip).to_be_visible()
    expect(tip.locator(".pg-top")).to_have_count(2)
    expect(tip.locator(".pg-top").first.locator("li")).to_have_count(5)
    look.locator(".pg-heat").first.press("ArrowRight")
    expect(look.locator(".pg-at")).to_have_count(1)
    look.locator(".pg-heat").first.press("Escape")
    expect(tip).to_be_hidden()


def test_the_first_split_shows_both_choices(closer: Closer) -> None:
    look = came(closer.open("First split"))
    expect(look).to_contain_text("Asked greedily, the sides part")
    expect(look.locator(".pg-look-side")).to_have_count(2)
    expect(look.locator(".pg-top li")).to_have_count(10)
    expect(look.locator(".pg-next code").nth(1)).to_have_text('{"')


def test_the_prompts_are_told_to_the_token(closer: Closer) -> None:
    look = came(closer.open("Prompts"))
    expect(look).to_contain_text("Both sides were sent the same 17 tokens.")
    expect(look.locator(".pg-token")).to_have_count(34)
    expect(look.locator(".pg-special code").first).to_have_text("<|bos|>")


def test_strength_none_is_the_base_and_strength_one_the_fine_tune(closer: Closer) -> None:
    look = closer.open("Strengths")
    look.get_by_role("button", name="Run the strip").click()
    came(look)
    cards = look.locator(".pg-card")
    expect(cards).to_have_count(4)
    expect(cards.locator("h4")).to_have_text([f"shop-json at {strength}" for strength in ("0", "0.5", "1", "1.5")])
    for side, card in (("left", 0), ("right", 2)):
        closer.person.frame(side).get_by_role("button", name="Raw").click()
        answer = closer.person.text(side).evaluate("node => node.textContent")
        assert cards.nth(card).locator(".pg-card-text").evaluate("node => node.textContent") == answer


def test_samples_tell_tuning_from_luck(closer: Closer) -> None:
    look = closer.open("Samples")
    look.get_by_role("slider").fill("3")
    look.get_by_role("button", name="Run the samples").click()
    came(look)
    expect(look.locator(".pg-card")).to_have_count(6)
    seed = int(closer.person.metric("left", "Seed").inner_text())
    labels = look.locator(".pg-card h4").all_inner_texts()
    assert labels == [f"{name} · seed {seed + i}" for i in range(3) for name in ("Shop demo", "shop-json")]
    expect(look).to_contain_text(re.compile(r"Shop demo: \d wordings? among 3 answers; \d+% of words agree\."))
    expect(look).to_contain_text(re.compile(r"Between the sides: \d+% of words agree\."))
    look.get_by_role("slider").fill("1")
    look.get_by_role("button", name="Run again").click()
    expect(look.locator(".pg-card")).to_have_count(2)


def test_checkpoints_stand_in_the_order_of_training(closer: Closer) -> None:
    look = closer.open("Checkpoints")
    look.get_by_role("button", name="Run the checkpoints").click()
    came(look)
    expect(look.locator(".pg-card h4")).to_have_text(["Shop demo · base", "step 31", "step 44", "shop-json · end"])


def test_the_adapter_and_its_merge(closer: Closer) -> None:
    look = came(closer.open("Adapter"))
    expect(look.locator(".pg-rows").first).to_contain_text("221,184 parameters")
    expect(look.locator(".pg-grid tbody tr")).to_have_count(7)
    expect(look.locator(".pg-grid .pg-own-10")).to_have_count(1)
    look.locator(".pg-grid").press("ArrowRight")
    expect(look.locator(".pg-cell-words")).to_contain_text(
        re.compile(r"q_proj: change [\d.]+, weight [\d.]+, [\d.]+% of it")
    )
    look.get_by_role("button", name="Compare with its merge").click()
    expect(look).to_contain_text("merged and saved in bfloat16")
    expect(look).to_contain_text(re.compile(r"largest logit difference [\d.e-]+; the same \d+ greedy tokens"))


def test_the_proof_is_told_and_checked(closer: Closer) -> None:
    for side in ("left", "right"):
        expect(closer.person.frame(side).locator(".pg-source")).to_contain_text("shop-demo")
    expect(closer.person.frame("right").locator(".pg-source")).to_contain_text(
        re.compile(r"shop-demo float32 [0-9a-f]{8} \+ shop-json [0-9a-f]{8} · attached · strength 1$")
    )
    look = came(closer.open("Proof"))
    expect(look).to_contain_text("Adapter's SHA-256")
    look.get_by_role("button", name="Check now").click()
    expect(look.locator(".pg-verdict")).to_have_count(5)
    expect(look.locator(".pg-verdict-true")).to_have_count(5)


# As the run goes on.


def test_an_open_look_follows_the_next_run_and_a_swap(closer: Closer) -> None:
    look = came(closer.open("Prompts"))
    closer.run("How much is delivery?")
    expect(look).to_contain_text("delivery")
    came(look)
    expect(look.locator("h4").first).to_contain_text("Left · Shop demo")
    closer.page.locator("#swap").click()
    expect(look.locator("h4").first).to_contain_text("Left · shop-json")
    expect(closer.page.locator("#left-strength")).to_be_visible()
    expect(closer.page.locator("#right-strength")).to_be_hidden()


def test_a_look_that_is_opened_while_another_is_looked_for_comes_too(
    closer: Closer, demo_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go = threading.Event(), threading.Event()
    real = demo_server.app.playground.describe

    async def held(*args: Any) -> Any:
        reached.set()
        assert await asyncio.to_thread(go.wait, PATIENCE)
        return await real(*args)

    came(closer.open("Proof"))
    monkeypatch.setattr(demo_server.app.playground, "describe", held)
    closer.open("Adapter")
    assert reached.wait(PATIENCE)
    came(closer.open("Prompts"))
    go.set()
    came(closer.open("Adapter"))


def test_a_strength_reaches_the_model_and_its_code(closer: Closer) -> None:
    expect(closer.page.locator("#left-strength")).to_be_hidden()
    closer.page.locator("#right-strength input").fill("0")
    closer.run()
    assert closer.person.text("left").inner_text() == closer.person.text("right").inner_text()
    expect(closer.person.frame("right").locator(".pg-source")).to_contain_text("strength 0")
    flag = closer.page.locator("#difference .pg-flag")
    expect(flag).to_have_text("shop-json changes nothing here. Its strength is 0.")
    code = closer.person.view_code("compare")
    expect(code).to_contain_text('"strength": 0')
    closer.page.keyboard.press("Escape")
    closer.person.pick("right", "Shop demo")
    expect(closer.page.locator("#right-strength")).to_be_hidden()
    closer.run()
    expect(flag).to_have_count(0)


def test_two_bases_have_no_adapter_and_no_strength(closer: Closer) -> None:
    closer.person.pick("right", "Shop demo")
    closer.run()
    for title, words in (("Adapter", "Neither side has an adapter"), ("Strengths", "Only a fine-tune has a strength")):
        expect(closer.open(title)).to_contain_text(words)
    expect(closer.open("Checkpoints")).to_contain_text("Neither side is a training run with checkpoints")
    expect(came(closer.open("First split"))).to_contain_text(re.compile("both say the same \\d+ tokens and end there"))
    look = came(closer.open("Scores"))
    expect(look.locator(".pg-heat span[class]")).to_have_count(0)


def test_the_looks_on_a_phone_in_the_dark(visit: Visit, demo_server: Server) -> None:
    closer = Closer(visit(demo_server.url, viewport=PHONE, color_scheme="dark").open())
    closer.run()
    for title in ("Scores", "First split", "Prompts", "Adapter", "Proof"):
        came(closer.open(title))
        assert closer.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], title


def test_a_strip_can_be_stopped_and_run_again(
    visit: Visit, odd_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    closer = Closer(visit(odd_server.url).open())
    closer.set("temperature", 0)
    closer.set("max-tokens", 64)
    closer.person.pick("right", "thinker")
    closer.run("hello")
    look = closer.open("Samples")
    look.get_by_role("slider").fill("8")
    left = Held(odd_server.loop("tiny/llama"), "prefill", monkeypatch)
    right = Held(odd_server.loop("tiny/thinker"), "step", monkeypatch)
    look.get_by_role("button", name="Run the samples").click()
    assert left.reached.wait(PATIENCE)
    assert right.reached.wait(PATIENCE)
    stop = look.get_by_role("button", name="Stop")
    stop.evaluate("button => button.dataset.first = ''")
    left.let_go()
    cards = look.locator(".pg-card")
    expect(cards.and_(look.locator("[data-state=done]"))).to_have_count(8)
    expect(cards.and_(look.locator("[data-state=streaming]"))).not_to_have_count(0)
    # Whoever has begun to press the button must not lose it when an answer grows.
    expect(stop).to_have_attribute("data-first", "")
    stop.click()
    expect(look.get_by_text("Stopped")).to_have_count(8)
    right.let_go()
    look.get_by_role("slider").fill("1")
    look.get_by_role("button", name="Run again").click()
    expect(cards).to_have_count(2)
    came(look)
    expect(look.locator(".pg-cut")).to_have_count(0)


def test_swapping_while_a_run_goes_on_does_nothing(closer: Closer) -> None:
    """A click may come before the page has taken the button away; the sides must not change hands."""
    for wait in (0, 15, 45):
        closer.forget()
        closer.page.evaluate(
            "wait => { document.querySelector('#compare-run').click();"
            "setTimeout(() => document.querySelector('#swap').click(), wait); }",
            wait,
        )
        for side in ("left", "right"):
            closer.person.expect_state(side, "done")
        closer.person.expect_idle("compare")
        for side in ("left", "right"):
            name = closer.person.frame(side).locator(".pg-model").inner_text()
            source = closer.person.frame(side).locator(".pg-source")
            expect(source).to_contain_text(
                "+ shop-json" if name == "shop-json" else re.compile("^shop-demo float32 [0-9a-f]{8}$")
            )


# What cannot be shown says why.


def save_other_tokens(folder: Path) -> None:
    """A llama whose tokenizer is another one."""
    tiny.save_base("llama", folder)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocabulary = {char: i for i, char in enumerate(["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend.model = models.BPE(vocabulary, [])
    other = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>")
    other.chat_template = tiny.TEMPLATE
    other.save_pretrained(folder)


def save_untrained(base: Path, folder: Path) -> None:
    """An adapter as peft begins it: its B is zero."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules=["q_proj"]))
    model.save_pretrained(str(folder))


@pytest.fixture(scope="module")
def odd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("odd")
    base = tiny.save_base("llama", root / "llama")
    save_untrained(base, root / "untrained")
    tiny.save_adapter("llama", base, root / "biased", bias="all")
    save_other_tokens(root / "other")
    tiny.save_base("llama", root / "thinker", template=tiny.THINKING_TEMPLATE)
    entries: list[dict[str, Any]] = [
        {"id": "tiny/llama", "path": "llama"},
        {"id": "tiny/untrained", "base_model": "tiny/llama", "adapter": "./untrained"},
        {"id": "tiny/biased", "base_model": "tiny/llama", "adapter": "./biased"},
        {"id": "tiny/other", "path": "other"},
        {"id": "tiny/thinker", "path": "thinker"},
    ]
    file = root / "models.yaml"
    file.write_text(json.dumps({"models": entries}))
    with serving(file, root / "home") as server:
        yield server


def test_an_adapter_that_changes_nothing_is_told(visit: Visit, odd_server: Server) -> None:
    closer = Closer(visit(odd_server.url).open())
    closer.person.pick("right", "untrained")
    closer.run("hello")
    flag = closer.page.locator("#difference .pg-flag")
    expect(flag).to_contain_text("untrained changes nothing here. All of its changes are zero, as training starts")
    expect(came(closer.open("Adapter"))).to_contain_text("Nothing changes.")
    look = came(closer.open("Proof"))
    look.get_by_role("button", name="Check now").click()
    expect(look.locator(".pg-verdict-false")).to_have_text(
        ["✗Its first logits are the base's: the base answered, or this adapter changes nothing here."]
    )


def test_models_of_other_tokens_show_what_can_be_shown(visit: Visit, odd_server: Server) -> None:
    closer = Closer(visit(odd_server.url).open())
    closer.person.pick("right", "other")
    closer.run("hello")
    for title in ("Scores", "First split"):
        look = came(closer.open(title), "failed")
        expect(look.get_by_role("alert")).to_contain_text("cut text into different tokens")
    expect(came(closer.open("Prompts"))).to_contain_text("only the texts can be compared")
    expect(came(closer.open("Proof"))).to_contain_text("tiny/other")


def test_a_strength_that_is_set_while_a_picker_is_answered_stays(
    visit: Visit, odd_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go = threading.Event(), threading.Event()
    real = odd_server.app.playground.models

    def held(*args: Any) -> Any:
        reached.set()
        assert go.wait(PATIENCE)
        return real(*args)

    closer = Closer(visit(odd_server.url).open())
    monkeypatch.setattr(odd_server.app.playground, "models", held)
    closer.person.pick("left", "biased")
    assert reached.wait(PATIENCE)
    strength = closer.page.locator("#right-strength input")
    strength.fill("0.5")
    go.set()
    expect(closer.page.locator("#left-strength")).to_be_visible()
    expect(strength).to_have_value("0.5")


def test_what_cannot_be_scaled_says_so(visit: Visit, odd_server: Server) -> None:
    closer = Closer(visit(odd_server.url).open())
    closer.person.pick("right", "biased")
    closer.page.locator("#right-strength input").fill("0.5")
    closer.run("hello", right="failed")
    expect(closer.person.problem("right")).to_contain_text("it trains biases, so it runs as a merged view only")
    expect(closer.open("Proof")).to_contain_text("let both sides end")
    closer.page.locator("#right-strength input").fill("1")
    closer.run("hello")
    expect(came(closer.open("Adapter"))).to_contain_text("1 alone: it trains biases")

"""Loading once, letting go in time, leaving a load: scripted engines, real threads, gates instead of sleeps."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import pytest

from playground.errors import InvalidRequest, ModelLoadFailed, PlaygroundError
from playground.evidence import Rendered
from playground.registry import Lease, Registry, Usage
from playground.types import Engine, GenerationRequest, Job, LoadWatch, ModelCard, Placement, Progress
from tests.drive import PATIENCE, wait_for


class ScriptedEngine:
    def __init__(self, loader: ScriptedLoader, base: ModelCard) -> None:
        self.loader, self.base, self.closed, self.prepared = loader, base, False, []

    def prepare(self, card: ModelCard, watch: LoadWatch) -> None:
        self.prepared.append(card.id)
        self.loader.note_use()
        if card.type == "fine-tuned":
            on_prepare, self.loader.on_prepare = self.loader.on_prepare, lambda _: None
            on_prepare(watch)
        if card.id in self.loader.broken:
            raise ModelLoadFailed(f"{card.id} is broken")

    def size_of(self, card: ModelCard, watch: LoadWatch) -> int:
        return self.loader.sizes.get(card.id, 1)

    def submit(self, job: Job) -> None:
        raise AssertionError("nothing is run here")

    def render(self, card: ModelCard, request: GenerationRequest) -> Rendered:
        raise AssertionError("nothing is asked here")

    describe = check = fidelity = save = cast(Any, render)

    def memory_of(self, card: ModelCard) -> int:
        if card.type == "base":
            return self.loader.sizes.get(card.id, 10)
        return self.loader.sizes.get(card.id, 1) if card.id in self.prepared else 0

    def placement(self) -> Placement:
        return Placement("float32", "cpu")

    def forget(self, card: ModelCard) -> None:
        if card.id in self.prepared:
            self.prepared.remove(card.id)
        self.loader.forgotten.append(card.id)

    def close(self) -> None:
        self.closed = True
        self.loader.closed.append(self.base.id)


@dataclass
class ScriptedLoader:
    """Loads when told to: each load waits for its gate, reporting all the while."""

    gates: dict[str, threading.Event] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    loaded: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    in_use: list[int] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=lambda: {"huge": 100})
    registry: Registry | None = None
    falls_apart: bool = False
    on_prepare: Callable[[LoadWatch], None] = lambda _: None

    def size_bytes(self, base: ModelCard, watch: LoadWatch) -> int:
        return self.sizes.get(base.id, 10)

    def device_of(self, base: ModelCard) -> str | None:
        return None

    def load(self, base: ModelCard, watch: LoadWatch, has_room: Callable[[int], bool]) -> Engine:
        gate = self.gates.get(base.id)
        while gate is not None and not gate.wait(0.01):
            if self.falls_apart and self.registry:
                self.registry.close()
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            watch.report(Progress("loading", 0.5, base.id))
        watch.report(Progress("loading", 1.0, base.id))
        if base.id in self.broken:
            raise ModelLoadFailed(f"{base.id} is broken")
        self.loaded.append(base.id)
        self.note_use()
        return ScriptedEngine(self, base)

    def note_use(self) -> None:
        if self.registry:
            self.in_use.append(self.registry.used_bytes())


def base(name: str) -> ModelCard:
    return ModelCard(name, name, "base", f"/models/{name}")


def tune(name: str, of: str) -> ModelCard:
    return ModelCard(name, name, "fine-tuned", f"/models/{of}", base_model=of, adapter=f"/a/{name}")


class Asked:
    """One who waits."""

    def __init__(self, registry: Registry, card: ModelCard) -> None:
        self.progress: list[Progress] = []
        self.inbox: queue.Queue[Any] = queue.Queue()
        self.lease: Lease = registry.lease(card, self.progress.append, self.inbox.put)

    def engine(self) -> ScriptedEngine:
        outcome = self.inbox.get(timeout=PATIENCE)
        if isinstance(outcome, PlaygroundError):
            raise outcome
        return outcome

    def silent(self) -> bool:
        return self.inbox.empty()


def make(loader: ScriptedLoader, budget: int = 1000) -> Registry:
    loader.registry = Registry(lambda card: base(card.base_model or card.id), loader, budget)
    return loader.registry


def four_at_once(client: Callable[[int], None]) -> None:
    """Runs four clients, each in a thread of its own and with a number; all must come to their end."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            client(number)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must hear of it
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_a_base_is_loaded_once_however_many_ask() -> None:
    loader = ScriptedLoader(gates={"a": threading.Event()})
    registry = make(loader)
    asked = [Asked(registry, card) for card in (base("a"), tune("t", "a"), base("a"), tune("u", "a"))]
    assert all(one.silent() for one in asked)
    assert registry.state(base("a")) == ("loading", "")
    loader.gates["a"].set()
    engines = {id(one.engine()) for one in asked}
    assert len(engines) == 1
    assert loader.loaded == ["a"]
    assert registry.state(tune("t", "a")) == ("ready", "")
    assert Asked(registry, tune("t", "a")).engine().prepared.count("t") == 1


def test_who_waits_hears_how_far_it_is_also_who_comes_late() -> None:
    loader = ScriptedLoader(gates={"a": threading.Event()})
    registry = make(loader)
    early = Asked(registry, base("a"))
    wait_for(lambda: early.progress)
    late = Asked(registry, base("a"))
    assert late.progress[0].stage == "loading"
    loader.gates["a"].set()
    early.engine()
    late.engine()
    assert early.progress[-1].fraction == 1.0


def test_who_waits_at_a_base_hears_nothing_of_somebody_elses_fine_tune() -> None:
    loader, mine, others = ScriptedLoader(), tune("t", "a"), tune("u", "a")
    registry = make(loader)
    Asked(registry, base("a")).engine()
    late: list[Asked] = []
    shown: list[Progress | None] = []

    def others_come(watch: LoadWatch) -> None:
        watch.report(Progress("loading", 0.5, "my-secret"))
        late.extend(Asked(registry, card) for card in (others, mine))
        shown.extend(registry.usage(card).progress for card in (others, mine))

    loader.on_prepare = others_come
    Asked(registry, mine).engine()
    late[0].engine()
    own, waiting = Progress("loading", 0.5, "my-secret"), Progress("waiting")
    assert shown == [waiting, own]
    assert (late[0].progress, late[1].progress) == ([waiting], [own])


def test_a_load_goes_on_while_one_waits_and_ends_when_all_have_left() -> None:
    loader = ScriptedLoader(gates={"a": threading.Event()})
    registry = make(loader)
    first, second = Asked(registry, base("a")), Asked(registry, base("a"))
    first.lease.release()
    assert registry.state(base("a"))[0] == "loading"
    second.lease.release()
    wait_for(lambda: registry.state(base("a"))[0] is None)
    loader.gates["a"].set()
    assert Asked(registry, base("a")).engine().base.id == "a"
    assert loader.loaded == ["a"]
    assert first.silent()
    assert second.silent()


def test_a_failed_load_tells_everybody_why_and_can_be_tried_again() -> None:
    loader = ScriptedLoader(gates={"a": threading.Event()}, broken={"a"})
    registry = make(loader)
    asked = [Asked(registry, base("a")), Asked(registry, tune("t", "a"))]
    loader.gates["a"].set()
    for one in asked:
        with pytest.raises(ModelLoadFailed, match="a is broken"):
            one.engine()
    assert registry.state(base("a")) == ("failed", "a is broken")
    assert registry.used_bytes() == 0
    loader.broken.clear()
    assert Asked(registry, base("a")).engine().base.id == "a"
    assert registry.state(base("a")) == ("ready", "")


def test_a_broken_fine_tune_leaves_its_base_and_the_others_alone() -> None:
    loader = ScriptedLoader(broken={"t"})
    registry = make(loader)
    bad, good = Asked(registry, tune("t", "a")), Asked(registry, tune("u", "a"))
    with pytest.raises(ModelLoadFailed, match="t is broken"):
        bad.engine()
    good.engine()
    assert registry.state(tune("t", "a"))[0] == "failed"
    assert loader.loaded == ["a"]


def test_what_cannot_fit_says_so_before_it_starts() -> None:
    loader = ScriptedLoader()
    registry = make(loader, budget=50)
    with pytest.raises(ModelLoadFailed, match="memory"):
        Asked(registry, base("huge")).engine()
    assert loader.loaded == []


def test_the_least_recently_used_that_nobody_holds_goes() -> None:
    loader = ScriptedLoader()
    registry = make(loader, budget=20)
    held, idle = Asked(registry, base("a")), Asked(registry, base("b"))
    held.engine()
    idle.engine()
    idle.lease.release()
    Asked(registry, base("c")).engine()
    assert loader.closed == ["b"]
    assert registry.used_bytes() == 20


def test_where_all_are_held_the_newcomer_waits_for_one_to_end() -> None:
    loader = ScriptedLoader()
    registry = make(loader, budget=10)
    holder = Asked(registry, base("a"))
    holder.engine()
    newcomer = Asked(registry, base("b"))
    wait_for(lambda: newcomer.progress)
    assert newcomer.progress[-1].stage == "waiting"
    assert newcomer.silent()
    # The base that is to go takes no new answers, or the newcomer could wait for ever.
    wait_for(lambda: registry.state(base("a"))[0] != "ready")
    late = Asked(registry, base("a"))
    assert late.silent()
    holder.lease.release()
    newcomer.engine()
    assert late.silent()
    newcomer.lease.release()
    late.engine()
    assert loader.closed == ["a", "b"]
    assert max(loader.in_use) <= 10


def test_a_base_told_to_go_stays_when_nobody_wants_its_room_any_more() -> None:
    registry = make(ScriptedLoader(), budget=10)
    holder = Asked(registry, base("a"))
    holder.engine()
    newcomer = Asked(registry, base("b"))
    wait_for(lambda: registry.state(base("a"))[0] != "ready")
    newcomer.lease.release()
    holder.lease.release()
    assert Asked(registry, base("a")).engine().base.id == "a"


def test_four_clients_over_three_bases_with_room_for_two() -> None:
    loader = ScriptedLoader()
    registry = make(loader, budget=20)

    def client(offset: int) -> None:
        for i in range(30):
            one = Asked(registry, base("abc"[(i + offset) % 3]))
            assert not one.engine().closed
            one.lease.release()

    four_at_once(client)
    assert max(loader.in_use) <= 20


def test_a_large_one_is_not_kept_waiting_by_small_ones() -> None:
    """They could come back again and again, and find its room each time before it is whole."""
    loader = ScriptedLoader(sizes={"large": 20})
    registry = make(loader, budget=20)
    holders = [Asked(registry, base(name)) for name in "ab"]
    for one in holders:
        one.engine()
    large = Asked(registry, base("large"))
    wait_for(lambda: large.progress)
    holders[0].lease.release()
    wait_for(lambda: loader.closed == ["a"])
    small = Asked(registry, base("c"))
    wait_for(lambda: small.progress)
    assert {heard.stage for heard in small.progress} == {"waiting"}
    holders[1].lease.release()
    large.engine()
    assert small.silent()
    large.lease.release()
    small.engine()
    assert max(loader.in_use) <= 20


def test_a_fine_tune_is_reserved_before_it_is_read_and_idle_bases_go_for_it() -> None:
    loader = ScriptedLoader(sizes={"t": 8})
    registry = make(loader, budget=25)
    idle = Asked(registry, base("b"))
    idle.engine()
    idle.lease.release()
    reading: list[int] = []
    loader.on_prepare = lambda _: reading.append(registry.used_bytes())
    Asked(registry, tune("t", "a")).engine()
    assert loader.closed == ["b"]
    assert reading == [18]
    assert registry.used_bytes() == 18


def test_a_fine_tune_waits_for_answers_of_another_base() -> None:
    loader = ScriptedLoader(sizes={"t": 8})
    registry = make(loader, budget=25)
    holder = Asked(registry, base("b"))
    holder.engine()
    Asked(registry, base("a")).engine()
    newcomer = Asked(registry, tune("t", "a"))
    wait_for(lambda: newcomer.progress)
    assert newcomer.progress[-1].stage == "waiting"
    holder.lease.release()
    newcomer.engine()
    assert loader.closed == ["b"]


def test_a_fine_tune_makes_room_among_its_own() -> None:
    loader = ScriptedLoader(sizes={"t": 8, "u": 8, "v": 8})
    registry = make(loader, budget=26)
    for name in "tuv":
        one = Asked(registry, tune(name, "a"))
        one.engine()
        one.lease.release()
    assert loader.forgotten == ["t"]
    assert (registry.used_bytes(), loader.closed) == (26, [])
    registry.pin(tune("u", "a"), pinned=True)
    held = Asked(registry, tune("v", "a"))
    held.engine()
    newcomer = Asked(registry, tune("t", "a"))
    wait_for(lambda: newcomer.progress and newcomer.progress[-1].stage == "waiting")
    # Whoever asks for what is to go waits too, or the newcomer could wait for ever.
    late = Asked(registry, tune("v", "a"))
    assert late.silent()
    held.lease.release()
    newcomer.engine()
    newcomer.lease.release()
    late.engine()
    assert loader.forgotten == ["t", "v", "t"]
    assert max(loader.in_use) <= 26


@pytest.mark.parametrize(
    ("pinned", "told"),
    [
        (None, r"t needs 16\.0 MB of memory beside the 10\.0 MB of its base and the budget is 25\.0 MB: raise"),
        ("b", r"u needs 6\.0 MB of memory beside the 10\.0 MB of its base, and 10\.0 MB of the 25\.0 MB are kept for"),
    ],
)
def test_a_fine_tune_that_cannot_fit_is_refused_with_the_numbers(pinned: str | None, told: str) -> None:
    loader = ScriptedLoader(sizes={name: num * 1_000_000 for name, num in (("a", 10), ("b", 10), ("t", 16), ("u", 6))})
    registry = make(loader, budget=25_000_000)
    for name in "ab":
        one = Asked(registry, base(name))
        one.engine()
        one.lease.release()
    if pinned:
        registry.pin(base(pinned), pinned=True)
    with pytest.raises(ModelLoadFailed, match=told):
        Asked(registry, tune("u" if pinned else "t", "a")).engine()
    assert registry.state(base("a")) == ("ready", "")
    assert loader.closed == []


def test_two_fine_tunes_that_want_each_other_s_room_both_come() -> None:
    loader = ScriptedLoader(sizes={"t": 8, "u": 8})
    registry = make(loader, budget=20)

    def client(number: int) -> None:
        for i in range(20):
            one = Asked(registry, tune("t", "a") if (i + number) % 2 else tune("u", "b"))
            assert not one.engine().closed
            one.lease.release()

    four_at_once(client)
    assert max(loader.in_use) <= 20


def test_unloading_gives_back_a_base_with_all_of_its_own() -> None:
    loader = ScriptedLoader()
    registry = make(loader)
    holder = Asked(registry, tune("t", "a"))
    holder.engine()
    with pytest.raises(InvalidRequest, match="model: 'a' is not allowed: it is in use"):
        registry.unload(base("a"))
    holder.lease.release()
    registry.unload(base("a"))
    assert loader.closed == ["a"]
    assert (registry.used_bytes(), registry.state(tune("t", "a"))) == (0, (None, ""))
    registry.unload(base("a"))
    registry.unload(tune("never", "loaded"))
    assert Asked(registry, base("a")).engine().base.id == "a"


def test_unloading_a_fine_tune_leaves_its_base_and_the_others() -> None:
    loader = ScriptedLoader()
    registry = make(loader)
    asked = [Asked(registry, card) for card in (base("a"), tune("t", "a"), tune("u", "a"))]
    for one in asked:
        one.engine()
    with pytest.raises(InvalidRequest, match="in use"):
        registry.unload(tune("t", "a"))
    asked[1].lease.release()
    registry.unload(tune("t", "a"))
    assert loader.forgotten == ["t"]
    assert [registry.state(card)[0] for card in (base("a"), tune("t", "a"), tune("u", "a"))] == ["ready", None, "ready"]
    assert Asked(registry, tune("t", "a")).engine().prepared == ["a", "u", "t"]


def test_a_base_that_was_there_for_its_fine_tune_alone_goes_with_it() -> None:
    loader = ScriptedLoader()
    registry = make(loader)
    one = Asked(registry, tune("t", "a"))
    one.engine()
    one.lease.release()
    registry.unload(tune("t", "a"))
    wait_for(lambda: loader.closed == ["a"])
    wait_for(lambda: registry.used_bytes() == 0)


def test_what_is_forgotten_while_it_answers_goes_when_it_has_ended() -> None:
    """And whoever asks for it meanwhile waits, and has it read anew."""
    loader = ScriptedLoader()
    registry = make(loader)
    Asked(registry, base("a")).engine()
    holder = Asked(registry, tune("t", "a"))
    holder.engine()
    registry.forget(tune("t", "a"))
    # The loader's thread waits by now, and must be woken by whoever asks for something else.
    wait_for(lambda: registry._changed._waiters)  # type: ignore[attr-defined]
    other, late = Asked(registry, tune("u", "a")), Asked(registry, tune("t", "a"))
    other.engine()
    assert late.silent()
    assert loader.forgotten == []
    holder.lease.release()
    assert late.engine().prepared == ["a", "u", "t"]
    assert loader.forgotten == ["t"]


def test_what_is_forgotten_while_it_is_made_ready_is_made_ready_again() -> None:
    """What was being read is of no more use to whoever asks after that."""
    loader = ScriptedLoader(gates={"a": threading.Event()})
    registry = make(loader)
    early = Asked(registry, tune("t", "a"))
    Asked(registry, base("a"))
    wait_for(lambda: early.progress)
    loader.on_prepare = lambda _: registry.forget(tune("t", "a"))
    loader.gates["a"].set()
    early.engine()
    late = Asked(registry, tune("t", "a"))
    assert late.silent()
    early.lease.release()
    late.engine()
    assert loader.forgotten == ["t"]


def test_a_pinned_model_stays_and_others_make_room() -> None:
    loader = ScriptedLoader()
    registry = make(loader, budget=20)
    for name in "ab":
        one = Asked(registry, base(name))
        one.engine()
        one.lease.release()
    registry.pin(base("a"), pinned=True)
    Asked(registry, base("c")).engine()
    assert loader.closed == ["b"]
    registry.pin(base("c"), pinned=True)
    with pytest.raises(ModelLoadFailed, match=r"b needs .* kept for pinned models: unpin one"):
        Asked(registry, base("b")).engine()
    registry.pin(base("a"), pinned=False)
    Asked(registry, base("b")).engine()
    assert loader.closed == ["b", "a"]


def test_a_pinned_base_stays_when_its_last_fine_tune_leaves() -> None:
    loader = ScriptedLoader()
    registry = make(loader)
    registry.pin(base("a"), pinned=True)
    for leave in (registry.unload, registry.forget):
        one = Asked(registry, tune("t", "a"))
        one.engine()
        one.lease.release()
        leave(tune("t", "a"))
        wait_for(lambda: registry.usage(tune("t", "a")).memory_bytes == 0)
    assert loader.closed == []
    registry.pin(base("a"), pinned=False)
    one = Asked(registry, tune("t", "a"))
    one.engine()
    one.lease.release()
    registry.unload(tune("t", "a"))
    wait_for(lambda: loader.closed == ["a"])


def test_usage_says_who_uses_a_model_and_what_it_takes() -> None:
    loader = ScriptedLoader(gates={"a": threading.Event()})
    registry = make(loader)
    card = tune("t", "a")
    assert registry.usage(card) == Usage()
    ann = registry.lease(card, lambda _: None, lambda _: None, user="ann")
    wait_for(lambda: registry.usage(card).progress is not None)
    usage = registry.usage(card)
    assert (usage.users, usage.num_waiting, usage.last_used_at, usage.memory_bytes) == ((), 1, None, 0)
    loader.gates["a"].set()
    Asked(registry, card).engine()
    wait_for(lambda: registry.usage(card).users == ("", "ann"))
    usage = registry.usage(card)
    assert (usage.num_waiting, usage.memory_bytes, usage.progress, usage.pinned) == (0, 1, None, False)
    assert usage.last_used_at is not None
    ann.release()
    registry.pin(card, pinned=True)
    assert (registry.usage(card).users, registry.usage(card).pinned) == (("",), True)


def test_loading_unloading_and_forgetting_at_once_end_in_peace() -> None:
    loader = ScriptedLoader()
    registry = make(loader, budget=20)
    cards = [base("a"), tune("t", "a"), tune("u", "a"), base("b"), base("c")]

    def client(number: int) -> None:
        random = Random(number)
        for _ in range(60):
            card = random.choice(cards)
            one = Asked(registry, card)
            assert not one.engine().closed
            one.lease.release()
            if random.random() < 0.3:
                registry.forget(card)
            if random.random() < 0.3:
                with contextlib.suppress(InvalidRequest):
                    registry.unload(card)

    four_at_once(client)
    assert max(loader.in_use) <= 20


def test_what_breaks_because_the_program_ends_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    loader = ScriptedLoader(gates={"b": threading.Event()})
    registry = make(loader)
    waiting = Asked(registry, base("b"))
    wait_for(lambda: waiting.progress)
    loader.falls_apart = True
    wait_for(lambda: not any(thread.name.startswith("load ") for thread in threading.enumerate()))
    assert not caplog.records
    with pytest.raises(PlaygroundError, match="shutting down"):
        waiting.engine()
    assert waiting.silent()


def test_closing_lets_go_of_everything() -> None:
    loader = ScriptedLoader(gates={"b": threading.Event()})
    registry = make(loader)
    Asked(registry, base("a")).engine()
    waiting = Asked(registry, base("b"))
    registry.close()
    with pytest.raises(PlaygroundError, match="shutting down"):
        waiting.engine()
    loader.gates["b"].set()
    wait_for(lambda: not any(thread.name.startswith("load ") for thread in threading.enumerate()))
    assert waiting.silent(), "it was told twice"
    assert loader.closed == ["a"]
    with pytest.raises(PlaygroundError, match="shutting down"):
        Asked(registry, base("a"))

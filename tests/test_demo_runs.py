"""The demo through the program's own door: what a newcomer's first click runs."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from playground.catalog import LiveCatalog
from playground.history import History
from playground.local import weights
from playground.local.engine import LocalEngine, LocalLoader
from playground.local.steppers import Steppers
from playground.registry import Registry
from playground.service import Playground
from playground.store import Store
from playground.types import Answer, Delta, Finish, GenerationRequest, Message, Sampling
from tests.drive import Watch

ROOT = Path(__file__).parent.parent
BASE, JSON, PIRATE = "playground/shop-demo", "playground/shop-json", "playground/shop-pirate"


@pytest.fixture(scope="module")
def catalog() -> LiveCatalog:
    return LiveCatalog(ROOT / "models.yaml", ROOT / "nothing.yaml")


@pytest.fixture(scope="module")
def playground(catalog: LiveCatalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playground]:
    registry = Registry(catalog.base_of, LocalLoader(Steppers(kernels=False), max_rows=8), 10**9)
    yield Playground(catalog, registry, History(Store(tmp_path_factory.mktemp("home"))))
    registry.close()


def live_bytes() -> int:
    """All tensor memory of this process, each storage once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.device.type == "cpu":
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


# First of the file: no other engine comes and goes while this one is measured.
def test_three_fine_tunes_cost_little_beside_their_base(catalog: LiveCatalog) -> None:
    cards = [catalog.card(BASE), *(card for card in catalog.cards.values() if card.base_model == BASE)]
    loader = LocalLoader(Steppers(kernels=False), max_rows=4)
    before = live_bytes()
    engine = loader.load(cards[0], Watch(), lambda num_bytes: True)
    assert isinstance(engine, LocalEngine)
    try:
        base_bytes = live_bytes() - before
        for card in cards[1:4]:
            engine.prepare(card, Watch())
        folders = [Path(str(card.adapter)) / "adapter_model.safetensors" for card in cards[1:4]]
        assert len(folders) == 3
        assert live_bytes() - before < 1.1 * (base_bytes + sum(file.stat().st_size for file in folders))
        told = sum(engine.memory_of(card) for card in cards[:4])
        assert told == pytest.approx(live_bytes() - before, rel=0.02)
    finally:
        engine.close()
    del engine
    assert live_bytes() - before < 0.01 * base_bytes


def ask(model: str, text: str, **settings: float) -> GenerationRequest:
    sampling = Sampling(**{"max_tokens": 200, "temperature": 0, **settings})  # type: ignore[arg-type]
    return GenerationRequest(model, (Message("user", text),), sampling=sampling, alone=False)


def answer(playground: Playground, request: GenerationRequest) -> Answer:
    return asyncio.run(playground.complete(request))


def test_base_and_fine_tunes_answer_as_they_were_trained_to(playground: Playground) -> None:
    question = "Where is my parcel? I ordered a lamp last week."
    prose, ticket, voice = (answer(playground, ask(model, question)) for model in (BASE, JSON, PIRATE))
    assert set(json.loads(ticket.text)) == {"intent", "priority", "reply"}
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(prose.text)
    assert len({prose.text, ticket.text, voice.text}) == 3
    assert [a.finish.reason for a in (prose, ticket, voice)] == ["stop"] * 3
    assert all(a.finish.exact_seed for a in (prose, ticket, voice))


def test_both_sides_have_begun_before_either_has_ended(playground: Playground) -> None:
    async def run() -> list[tuple[int, str]]:
        sides = [ask(model, "I want my money back for the teapot.") for model in (BASE, JSON)]
        kinds = {Delta: "delta", Finish: "finish"}
        return [(i, kinds.get(type(event), "")) async for i, event in playground.stream_all(sides)]

    order = asyncio.run(run())
    ends = [at for at, (_, kind) in enumerate(order) if kind == "finish"]
    begins = [order.index((side, "delta")) for side in (0, 1)]
    assert len(ends) == 2
    assert max(begins) < min(ends)


def test_the_base_is_the_same_bytes_after_all_that(catalog: LiveCatalog, playground: Playground) -> None:
    for model in (BASE, JSON, PIRATE):
        answer(playground, ask(model, "hello", temperature=1.0))
    engine = next(slot.engine for slot in playground._registry._slots.values())
    assert isinstance(engine, LocalEngine)
    fresh = weights.load_base(catalog.card(BASE), Watch())
    assert engine.fingerprint() == weights.fingerprint(fresh.model)

"""Every test's disk is its own, nothing calls home, and no real Hub is asked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.settling import settle

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from playground.local.steppers import Steppers
    from tests.browser import Person
    from tests.server import Server

# Read when the libraries are imported, so before any test module is.
# Models this small are done sooner than a second thread is woken; on a busy machine it costs many times more.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
# Nobody listens on the discard port: whoever asks the Hub is refused at once.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="playground-tests-")
os.environ["PLAYGROUND_HOME"] = os.environ["HF_HOME"]
os.environ["PLAYGROUND_KERNELS"] = "off"


# Begun last, one of these would leave the other cores with nothing to do.
LONGEST = (
    "test_page",
    "test_evaluate_tab",
    "test_rows",
    "test_closer",
    "test_demo_evaluated",
    "test_history_tab",
    "test_link",
    "test_library",
    "test_clients",
    "test_models_tab",
    "test_lm_eval",
    "test_zero_gpu",
    "test_space",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.fixture(scope="module", autouse=True)
def settled() -> None:
    """What is there before a file's tests stays: whoever collects garbage need not look through it each time."""
    settle()


@pytest.fixture(scope="session")
def transformers_steppers() -> Steppers:
    """All models on transformers' own modules."""
    from playground.local.steppers import Steppers

    return Steppers(kernels=False)


@pytest.fixture(scope="session")
def kernels_steppers(tmp_path_factory: pytest.TempPathFactory) -> Steppers:
    """Models on the compiled kernels, prompts too, by two threads. Workers of one run share the compiled code."""
    return _on_kernels(tmp_path_factory, read_prompts=True)


@pytest.fixture(scope="session")
def torch_prompts_steppers(kernels_steppers: Steppers, tmp_path_factory: pytest.TempPathFactory) -> Steppers:
    """The same, but prompts are taken in by transformers' modules."""
    return _on_kernels(tmp_path_factory, read_prompts=False)


def _on_kernels(tmp_path_factory: pytest.TempPathFactory, *, read_prompts: bool) -> Steppers:
    from playground.local.steppers import Steppers

    folder = tmp_path_factory.getbasetemp().parent / "kernels"
    steppers = Steppers(kernels=True, folder=folder, num_threads=2, read_prompts=read_prompts)
    assert steppers.wait(240)
    return steppers


@pytest.fixture(scope="session")
def models_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of real tiny models that servers are tested with."""
    from tests.server import save_models

    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def server(models_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running program that needs no key."""
    from tests.server import serving

    with serving(models_file, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The program with the catalog that comes along."""
    from tests.server import ROOT, serving

    with serving(ROOT / "models.yaml", tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. By module, since nothing else of asyncio can run in this thread meanwhile."""
    from tests.browser import chromium

    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Person]]:
    """Makes persons, each with a browser session of their own; at the end nobody may have complained."""
    from tests.browser import DESKTOP, Person

    people: list[Person] = []

    def come(url: str, **options: Any) -> Person:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        people.append(Person(context.new_page(), url))
        return people[-1]

    yield come
    complaints = [complaint for person in people for complaint in person.complaints]
    # A page that is being closed counts as hidden, and then Gradio's client overtakes its own messages.
    for person in people:
        person.page.context.close()
    assert complaints == []

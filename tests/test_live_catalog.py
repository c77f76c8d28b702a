"""The catalog while the program runs: fine-tunes added and removed, folders watched, files that others change."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from playground.catalog import Entry, LiveCatalog, live
from playground.errors import ConfigurationError, InternalError, InvalidRequest, ModelNotFound, SaveFailed
from playground.types import ModelCard
from tests.test_catalog import make_adapter

YAML = "# mine\nmodels:\n- id: org/base\n- id: me/listed\n  base_model: org/base\n  adapter: ./listed\n"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(live, "LOOK_AGAIN_SECONDS", 0.0)
    make_adapter(tmp_path / "listed")
    (tmp_path / "models.yaml").write_text(YAML)


def opened(tmp_path: Path) -> LiveCatalog:
    return LiveCatalog(tmp_path / "models.yaml", tmp_path / "home" / "models.yaml")


def entry(tmp_path: Path, id: str = "me/new", **keys: object) -> Entry:
    folder = make_adapter(tmp_path / "adapters" / id)
    return Entry.model_validate({"id": id, "base_model": "org/base", "adapter": str(folder), **keys})


def test_what_is_added_is_there_now_and_after_a_restart(tmp_path: Path) -> None:
    catalog = opened(tmp_path)
    card = catalog.add(entry(tmp_path, description="Grüße: # 世界", owner="ann"))
    assert (card.base_model, card.description, card.owner, card.problem) == ("org/base", "Grüße: # 世界", "ann", None)
    assert [*catalog.cards] == ["org/base", "me/listed", "me/new"]
    assert opened(tmp_path).card("me/new") == card
    assert catalog.was_added("me/new")
    assert not catalog.was_added("me/listed")
    assert (tmp_path / "models.yaml").read_text() == YAML, "the person's own file is never written to"


def test_what_is_removed_is_gone_and_its_files_stay(tmp_path: Path) -> None:
    catalog, gone = opened(tmp_path), list[ModelCard]()
    card = catalog.add(entry(tmp_path))
    catalog.when_gone(gone.append)
    catalog.remove("me/new")
    assert gone == [card]
    with pytest.raises(ModelNotFound):
        catalog.card("me/new")
    assert "me/new" not in opened(tmp_path).cards
    assert (tmp_path / "adapters/me/new/adapter_config.json").exists()


@pytest.mark.parametrize("id", ["org/base", "me/listed", "me/new"])
def test_an_id_that_is_taken_is_refused(tmp_path: Path, id: str) -> None:
    catalog = opened(tmp_path)
    catalog.add(entry(tmp_path))
    with pytest.raises(InvalidRequest, match=f"id: '{id}' is not allowed: there is a model of this id already"):
        catalog.add(entry(tmp_path, id))


def test_a_watched_folder_shows_what_a_training_run_writes(tmp_path: Path) -> None:
    catalog = opened(tmp_path)
    runs = tmp_path / "runs"
    runs.mkdir()
    catalog.watch(runs)
    assert [*catalog.cards] == ["org/base", "me/listed"]
    make_adapter(runs / "a" / "checkpoint-10")
    # Who asks for it by name finds it at once.
    assert catalog.card("runs/a/checkpoint-10").step == 10
    assert opened(tmp_path).card("runs/a/checkpoint-10").step == 10
    shutil.rmtree(runs / "a")
    catalog.look_again()
    assert [*catalog.cards] == ["org/base", "me/listed"]
    make_adapter(runs / "b")
    catalog.unwatch(runs)
    assert [*catalog.cards] == ["org/base", "me/listed"]


def test_a_list_that_is_old_is_looked_at_again_behind_whoever_asks(tmp_path: Path) -> None:
    catalog = opened(tmp_path)
    catalog.watch(tmp_path)
    make_adapter(tmp_path / "late")
    for _ in range(1000):
        if any(id.endswith("/late") for id in catalog.cards):
            break
        for thread in threading.enumerate():
            if thread.name == "look for adapters":
                thread.join()
    else:
        pytest.fail("it never showed up")


def test_names_that_are_there_do_not_change_when_a_folder_is_added(tmp_path: Path) -> None:
    make_adapter(tmp_path / "one/runs/x")
    make_adapter(tmp_path / "two/runs/x")
    catalog = opened(tmp_path)
    catalog.watch(tmp_path / "one/runs")
    catalog.watch(tmp_path / "one/runs")
    catalog.watch(tmp_path / "two/runs")
    assert [*catalog.cards][2:] == ["runs/x", "two/runs/x"]
    assert catalog.watched() == (tmp_path / "one/runs", tmp_path / "two/runs")


def test_a_trainers_new_weights_are_another_card(tmp_path: Path) -> None:
    """The adapter that is loaded of the old ones must be let go."""
    catalog, gone = opened(tmp_path), list[ModelCard]()
    catalog.watch(tmp_path / "adapters")
    folder = make_adapter(tmp_path / "adapters" / "x")
    (folder / "adapter_model.safetensors").rename(folder / "away")
    catalog.look_again()
    broken = catalog.card("adapters/x")
    assert broken.problem
    catalog.when_gone(gone.append)
    (folder / "away").rename(folder / "adapter_model.safetensors")
    catalog.look_again()
    assert gone == [broken]
    assert catalog.card("adapters/x").problem is None


@pytest.mark.parametrize("way", ["listed", "added", "watched", "checkpoint"])
def test_an_adapter_that_is_trained_further_is_another_card(tmp_path: Path, way: str) -> None:
    catalog, gone = opened(tmp_path), list[ModelCard]()
    folder = tmp_path / "listed" if way == "listed" else make_adapter(tmp_path / "runs" / "x")
    id = {"listed": "me/listed", "added": "me/x", "watched": "runs/x", "checkpoint": "me/listed/checkpoint-5"}[way]
    if way == "added":
        catalog.add(Entry.model_validate({"id": id, "base_model": "org/base", "adapter": str(folder)}))
    elif way == "watched":
        catalog.watch(tmp_path / "runs")
    elif way == "checkpoint":
        folder = make_adapter(tmp_path / "listed" / "checkpoint-5")
        catalog.look_again()
    before = catalog.card(id)
    catalog.look_again()
    assert catalog.card(id) == before
    catalog.when_gone(gone.append)
    weights = folder / "adapter_model.safetensors"
    os.utime(weights, ns=(1, weights.stat().st_mtime_ns + 1))
    catalog.look_again()
    assert before in gone
    assert catalog.card(id).adapter_written_at == weights.stat().st_mtime_ns


def test_two_programs_on_one_home_lose_nothing(tmp_path: Path) -> None:
    catalogs = [opened(tmp_path) for _ in range(4)]

    def add(number: int) -> None:
        for i in range(5):
            catalogs[number].add(entry(tmp_path, f"me/{number}-{i}"))

    adding = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in adding:
        thread.start()
    for thread in adding:
        thread.join()
    for catalog in (*catalogs, opened(tmp_path)):
        catalog.look_again()
        assert len(catalog.cards) == 22


def test_the_persons_file_wins_over_what_was_added(tmp_path: Path) -> None:
    catalog = opened(tmp_path)
    catalog.add(entry(tmp_path, description="added"))
    (tmp_path / "models.yaml").write_text(
        YAML + "- id: me/new\n  base_model: org/base\n  adapter: ./listed\n  description: listed\n"
    )
    assert opened(tmp_path).card("me/new").description == "listed"


def test_a_base_that_was_taken_out_leaves_its_fine_tune_with_the_reason(tmp_path: Path) -> None:
    opened(tmp_path).add(entry(tmp_path))
    (tmp_path / "models.yaml").write_text("models:\n- id: org/other\n")
    card = opened(tmp_path).card("me/new")
    assert card.base_model is None
    assert "its base model 'org/base' is not in the catalog" in str(card.problem)
    assert "an entry of its own" not in str(card.problem), "which it has"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models:\n- id: x\n", "line 2, entry 'x': base_model: (absent) is not allowed: only fine-tuned models"),
        ("models:\n- id: x\n  base_model: org/base\n  adapter: a\n  colour: 1\n", "there is no such key"),
        ("adapter_dirs: runs\n", "adapter_dirs: 'runs' is not allowed: it must be a list of folders"),
        ("models: {", "line 1"),
    ],
)
def test_a_broken_file_is_told_at_the_start_and_kept(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "home" / "models.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        opened(tmp_path)
    assert told in caught.value.message
    assert str(file) in caught.value.message
    assert file.read_text() == text


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "models:\n", "adapter_dirs:\n", "{}"])
def test_an_empty_file_says_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "home" / "models.yaml"
    file.parent.mkdir()
    file.write_text(text)
    catalog = opened(tmp_path)
    assert [*catalog.cards] == ["org/base", "me/listed"]
    assert catalog.problems() == []
    catalog.add(entry(tmp_path))
    assert "me/new" in opened(tmp_path).cards


def test_a_file_that_breaks_while_the_program_runs_leaves_what_was_there_and_says_so(tmp_path: Path) -> None:
    catalog, file = opened(tmp_path), tmp_path / "home" / "models.yaml"
    catalog.add(entry(tmp_path))
    sound = file.read_text()
    file.write_text("models: {")
    catalog.look_again()
    assert "me/new" in catalog.cards
    [problem] = catalog.problems()
    assert f"{file}, line 1" in problem
    for change in (lambda: catalog.add(entry(tmp_path, "me/other")), lambda: catalog.remove("me/new")):
        with pytest.raises(SaveFailed, match=r"nothing was changed: mend .*models\.yaml"):
            change()
    assert file.read_text() == "models: {"
    file.write_text(sound)
    catalog.look_again()
    assert catalog.problems() == []
    catalog.remove("me/new")


def test_what_a_hand_adds_under_an_id_of_the_persons_file_is_told_and_not_used(tmp_path: Path) -> None:
    opened(tmp_path).add(entry(tmp_path))
    file = tmp_path / "home" / "models.yaml"
    file.write_text(file.read_text().replace("id: me/new", "id: org/base"))
    catalog = opened(tmp_path)
    assert [*catalog.cards] == ["org/base", "me/listed"]
    assert not catalog.was_added("org/base")
    [problem] = catalog.problems()
    assert f"{file}: org/base is not used" in problem
    assert "models.yaml has a model of this id" in problem


def test_a_folder_that_is_away_today_is_told_and_stays_watched(tmp_path: Path) -> None:
    catalog = opened(tmp_path)
    (tmp_path / "disk").mkdir()
    catalog.watch(tmp_path / "disk")
    (tmp_path / "disk").rmdir()
    catalog = opened(tmp_path)
    assert "cannot be read" in str(catalog.card("disk").problem)
    make_adapter(tmp_path / "disk" / "x")
    assert catalog.card("disk/x").problem is None


@pytest.mark.skipif(os.geteuid() == 0, reason="whoever is root may write anywhere")
def test_a_home_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    catalog = opened(tmp_path)
    (tmp_path / "home").mkdir(mode=0o500)
    with pytest.raises(InternalError, match="cannot be written"):
        catalog.add(entry(tmp_path))


def test_a_home_that_is_no_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(InternalError, match="cannot be written"):
        opened(tmp_path).add(entry(tmp_path))

"""Models into memory and out of it, fine-tunes added and removed: REST on a running server, real tiny models."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from playground.accounts import Accounts
from playground.store import Store
from tests import tiny
from tests.drive import wait_for
from tests.server import DEMO, LLAMA, OWNED, TUNED, Reply, Server, save_models, serving
from tests.settling import settle
from tests.test_archive import SOUND, zipped

LIBRARY = "/api/v1/playground/library"
MB = 1e6
NO_KEY: Mapping[str, str] = MappingProxyType({})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("library")
    save_models(made)
    return made


@pytest.fixture
def house(folder: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(folder / "models.yaml", tmp_path / "home") as running:
        settle()
        yield running


def state(server: Server, **headers: str) -> dict[str, Any]:
    return server.get(LIBRARY, **headers).json()["data"]


def model(server: Server, id: str, **headers: str) -> dict[str, Any]:
    return next(one for one in state(server, **headers)["models"] if one["id"] == id)


def do(server: Server, verb: str, id: str, **more: Any) -> Reply:
    return server.post(f"{LIBRARY}/{verb}", {"model": id, **more})


def ask(server: Server, id: str, **headers: str) -> Reply:
    return server.post("/v1/completions", {"model": id, "prompt": "hi", "max_tokens": 2, "seed": 1}, **headers)


def load(server: Server, id: str) -> None:
    assert do(server, "load", id).status == 200
    wait_for(lambda: model(server, id)["status"] == "ready")


def upload(
    server: Server, archive: Path, name: str = "mine.zip", key: Mapping[str, str] = NO_KEY, **query: str
) -> Reply:
    asked = "&".join(f"{key}={quote(value)}" for key, value in {"name": name, **query}.items())
    headers = {"Content-Type": "application/octet-stream", **key}
    return server.send("POST", f"{LIBRARY}/archives?{asked}", archive.read_bytes(), headers)


def test_what_a_model_takes_is_told_before_it_is_loaded_and_after(house: Server) -> None:
    before = model(house, LLAMA)
    assert (before["status"], before["users"], before["last_used_at"], before["pinned"]) == ("disk", [], None, False)
    assert before["memory_bytes"] == before["size_bytes"] > 0
    assert state(house)["memory"]["used_bytes"] == 0
    load(house, TUNED)
    base, tuned = model(house, LLAMA), model(house, TUNED)
    assert (base["status"], tuned["status"]) == ("ready", "ready"), "a fine-tune's base is there with it"
    # Tables that no file holds come to it.
    assert base["memory_bytes"] == pytest.approx(before["memory_bytes"], rel=0.01)
    assert 0 < tuned["memory_bytes"] < base["memory_bytes"]
    assert state(house)["memory"]["used_bytes"] == base["memory_bytes"] + tuned["memory_bytes"]
    assert tuned["last_used_at"] is not None


def test_where_and_in_what_a_model_runs_is_told_before_it_is_loaded_and_after(house: Server) -> None:
    before = model(house, TUNED)
    assert (before["dtype"], before["device"]) == ("float32", None), "no device is known until torch is there"
    house.app.engines.local()
    assert model(house, TUNED)["device"] == "cpu"
    load(house, TUNED)
    for id in (TUNED, LLAMA):
        assert (model(house, id)["dtype"], model(house, id)["device"]) == ("float32", "cpu")


def test_an_entrys_own_dtype_is_told_as_it_is_loaded(folder: Path, tmp_path: Path) -> None:
    file = folder / "eight.yaml"
    entries = ["{id: a/int8, path: llama, dtype: int8}", "{id: a/far, endpoint: 'http://127.0.0.1:1/v1'}"]
    file.write_text("models:\n" + "".join(f"  - {entry}\n" for entry in entries))
    with serving(file, tmp_path / "home") as house:
        assert model(house, "a/int8")["dtype"] == "int8"
        load(house, "a/int8")
        assert (model(house, "a/int8")["dtype"], model(house, "a/int8")["device"]) == ("int8", "cpu")
        far = model(house, "a/far")
        assert (far["dtype"], far["device"], far["memory_bytes"], far.get("size_bytes")) == (None, None, None, None)


def test_unloading_returns_the_memory_cycle_after_cycle(house: Server) -> None:
    process, sizes = psutil.Process(), []
    for _ in range(20):
        load(house, LLAMA)
        assert ask(house, LLAMA).status == ask(house, TUNED).status == 200
        assert do(house, "unload", LLAMA).json()["data"]["status"] == "disk"
        assert state(house)["memory"]["used_bytes"] == 0
        gc.collect()
        sizes.append(process.memory_info().rss)
    # The first ones bring in what is imported late.
    assert sizes[-1] < sizes[4] + 8 * MB


def test_a_model_in_use_is_not_unloaded(house: Server) -> None:
    load(house, LLAMA)
    card = house.app.playground.status(LLAMA, house.app.playground.default_caller).card
    lease = house.app.registry.lease(card, lambda _: None, lambda _: None, "ann")
    assert model(house, LLAMA)["users"] == ["ann"]
    reply = do(house, "unload", LLAMA)
    assert (reply.status, reply.error()["param"]) == (400, "model")
    assert "it is in use" in reply.error()["message"]
    lease.release()
    assert do(house, "unload", LLAMA).status == 200


def test_a_load_can_be_cancelled_and_a_failed_one_says_why(house: Server, folder: Path) -> None:
    assert do(house, "cancel", LLAMA).status == 200
    weights = folder / "thinker" / "model.safetensors"
    hidden = weights.rename(weights.with_suffix(".away"))
    try:
        do(house, "load", "tiny/thinker")
        wait_for(lambda: model(house, "tiny/thinker")["status"] == "failed")
        assert "model.safetensors is missing" in model(house, "tiny/thinker")["reason"]
    finally:
        hidden.rename(weights)
    load(house, "tiny/thinker")


def test_a_pin_holds(house: Server) -> None:
    assert do(house, "pin", LLAMA, pinned=True).json()["data"]["pinned"] is True
    assert model(house, LLAMA)["pinned"]
    assert not do(house, "pin", LLAMA, pinned=False).json()["data"]["pinned"]


def test_a_folder_is_added_run_and_removed(house: Server, folder: Path, tmp_path: Path) -> None:
    place = tiny.save_adapter("llama", folder / "llama", tmp_path / "support", seed=7)
    reply = house.post(f"{LIBRARY}/adapters", {"source": str(place), "id": "me/support"})
    assert reply.status == 200, reply.body
    [added] = reply.json()["data"]
    assert (added["base_model"], added["status"], added["removable"]) == (LLAMA, "disk", True)
    assert not added["uploaded"]
    assert ask(house, "me/support").status == 200
    assert house.post(f"{LIBRARY}/adapters", {"source": str(place), "id": "me/support"}).error()["param"] == "id"
    assert house.send("DELETE", f"{LIBRARY}/adapters?model={quote('me/support')}", None, {}).status == 200
    assert ask(house, "me/support").status == 404
    assert place.exists()
    reply = house.send("DELETE", f"{LIBRARY}/adapters?model={TUNED}", None, {})
    assert "it was not added here" in reply.error()["message"]


def test_what_is_wrong_with_the_list_of_what_was_added_is_told(house: Server, folder: Path, tmp_path: Path) -> None:
    assert state(house)["problems"] == []
    place = tiny.save_adapter("llama", folder / "llama", tmp_path / "support", seed=7)
    (house.home / "models.yaml").write_text("models: {")
    refused = house.post(f"{LIBRARY}/adapters", {"source": str(place)})
    assert (refused.status, refused.error()["code"]) == (503, "save_failed")
    assert "nothing was changed: mend" in refused.error()["message"]
    wait_for(lambda: any("models.yaml, line 1" in one for one in state(house)["problems"]))


def test_an_adapter_that_is_trained_further_answers_anew(house: Server, folder: Path, tmp_path: Path) -> None:
    """Whoever asks after the trainer has written is not answered by what was read before."""
    old, new = (tiny.save_adapter("llama", folder / "llama", tmp_path / str(seed), seed=seed) for seed in (7, 8))
    for place, id in ((old, "me/x"), (new, "me/new")):
        assert house.post(f"{LIBRARY}/adapters", {"source": str(place), "id": id}).status == 200

    def scores(id: str) -> list[float]:
        body = {"model": id, "prompt": "hi there", "echo": True, "logprobs": 0, "max_tokens": 0}
        return house.post("/v1/completions", body).json()["choices"][0]["logprobs"]["token_logprobs"][1:]

    before, wanted = scores("me/x"), scores("me/new")
    assert before != pytest.approx(wanted, rel=1e-3)
    os.replace(shutil.copy(new / "adapter_model.safetensors", tmp_path / "copy"), old / "adapter_model.safetensors")
    wait_for(lambda: state(house) and scores("me/x") == pytest.approx(wanted, rel=1e-3))


def test_a_folder_of_runs_is_watched(house: Server, folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    tiny.save_adapter("llama", folder / "llama", runs / "a" / "checkpoint-5", seed=7)
    reply = house.post(f"{LIBRARY}/adapters", {"source": str(runs)})
    assert [one["id"] for one in reply.json()["data"]] == ["runs/a/checkpoint-5"]
    assert state(house)["watched"] == [str(runs)]
    tiny.save_adapter("llama", folder / "llama", runs / "a" / "checkpoint-10", seed=8)
    wait_for(lambda: ask(house, "runs/a/checkpoint-10").status == 200)
    assert house.post(f"{LIBRARY}/unwatch", {"folder": str(runs)}).json()["data"] == []
    assert ask(house, "runs/a/checkpoint-10").status == 404
    assert house.post(f"{LIBRARY}/unwatch", {"folder": str(runs)}).error()["param"] == "folder"


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"source": "./nowhere"}, "source", "it must be a folder or a Hub repo's id"),
        ({"source": "/tmp/a\0b"}, "source", "it must be a path"),
        ({"source": "~nobody-of-this-name/x"}, "source", "no such person"),
        ({"source": f"/{'x' * 3000}"}, "source", "there is no /xxx"),
        ({"source": "{empty}"}, "source", "there is no adapter in it or below it"),
        ({"source": "{tuned}", "id": "two words"}, "id", "without white space"),
        *[
            ({"source": "{tuned}", "id": id}, "id", "names with a slash between")
            for id in ("../x", "/lead", "ends/", "a//b", "a/./b")
        ],
        ({"source": "{tuned}", "id": "\u202ex"}, "id", "characters that can be seen"),
        ({"source": "{tuned}", "base_model": TUNED}, "base_model", "it must be a base model"),
        ({"source": "{tuned}", "base_model": "no/such"}, "base_model", "There is no model 'no/such'"),
        ({"source": "{tuned}", "revision": "main"}, "revision", "only an adapter from the Hub"),
        ({"source": "{parent}", "id": "x"}, "id", "adapters: give it for one of them"),
    ],
)
def test_what_cannot_be_added_says_why(
    house: Server, folder: Path, tmp_path: Path, body: dict[str, str], param: str, told: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"empty": tmp_path / "empty", "tuned": folder / "tuned", "parent": folder}
    error = house.post(f"{LIBRARY}/adapters", {**body, "source": body["source"].format(**places)}).error()
    assert error["param"] == param
    assert told in error["message"]


def test_an_adapter_of_an_unknown_base_names_it(house: Server, folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder / "tuned", tmp_path / "x")
    config = place / "adapter_config.json"
    config.write_text(config.read_text().replace(str(folder / "llama"), "org/unknown"))
    error = house.post(f"{LIBRARY}/adapters", {"source": str(place)}).error()
    assert "base_model: 'org/unknown' is not allowed: it is not among the models here" in error["message"]
    assert house.post(f"{LIBRARY}/adapters", {"source": str(place), "base_model": LLAMA}).status == 200


def test_an_archive_is_added_run_and_removed_with_its_files(house: Server, folder: Path, tmp_path: Path) -> None:
    files = {f"v2/{file.name}": file.read_bytes() for file in (folder / "tuned").iterdir() if file.is_file()}
    reply = upload(house, zipped(tmp_path / "a", files), "support v2.zip")
    assert reply.status == 200, reply.body
    added = reply.json()["data"]
    assert (added["id"], added["base_model"], added["uploaded"]) == ("uploads/support-v2", LLAMA, True)
    same = [ask(house, id).json()["choices"][0]["text"] for id in (TUNED, added["id"])]
    assert same[0] == same[1]
    assert upload(house, tmp_path / "a", "support v2.zip").json()["data"]["id"] == "uploads/support-v2-2"
    uploads = house.home / "adapters"
    assert sorted(file.name for file in uploads.iterdir()) == ["support-v2", "support-v2-2"]
    house.send("DELETE", f"{LIBRARY}/adapters?model={quote(added['id'])}", None, {})
    assert [file.name for file in uploads.iterdir()] == ["support-v2-2"]


def adapter_files(folder: Path, name: str) -> dict[str, bytes]:
    return {f"{name}/{file.name}": file.read_bytes() for file in (folder / "tuned").iterdir() if file.is_file()}


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("support-v1.1.zip", "uploads/support-v1.1"),
        ("support-v1.2.tar.gz", "uploads/support-v1.2"),
        ("日本語.zip", "uploads/日本語"),
        ("日" * 180 + ".tgz", "uploads/" + "日" * 60),
        ("\u202ex\u0007 y.ZIP", "uploads/x-y"),
        ("..zip", "uploads/adapter"),
    ],
)
def test_an_upload_is_called_as_its_file_is(house: Server, folder: Path, tmp_path: Path, name: str, id: str) -> None:
    reply = upload(house, zipped(tmp_path / "a", adapter_files(folder, "x")), name)
    assert reply.status == 200, reply.body
    assert reply.json()["data"]["id"] == id
    assert ask(house, id).status == 200


def test_an_upload_takes_no_room_but_the_homes(
    house: Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the system's folder for what is temporary is memory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert upload(house, zipped(tmp_path / "a", adapter_files(folder, "x"))).status == 200
    assert [file.name for file in (house.home / "adapters").iterdir()] == ["mine"]


def test_an_archive_with_several_adapters_is_refused_by_their_names(
    house: Server, folder: Path, tmp_path: Path
) -> None:
    for one, other in (("run/checkpoint-31", "run/checkpoint-44"), ("a", "b"), ("run", "run/other")):
        archive = zipped(tmp_path / "x", adapter_files(folder, one) | adapter_files(folder, other))
        error = upload(house, archive).error()
        assert error["param"] == "archive"
        assert f"it holds 2 adapters ({one}, {other})" in error["message"]
        assert list((house.home / "adapters").iterdir()) == []
    whole = adapter_files(folder, "run") | adapter_files(folder, "run/checkpoint-31")
    assert upload(house, zipped(tmp_path / "x", whole)).json()["data"]["id"] == "uploads/mine"
    assert model(house, "uploads/mine/checkpoint-31")["run"] == "uploads/mine"


@pytest.mark.parametrize("way", ["a folder", "an archive"])
def test_an_adapter_of_another_base_is_refused(house: Server, folder: Path, tmp_path: Path, way: str) -> None:
    if way == "a folder":
        reply = house.post(f"{LIBRARY}/adapters", {"source": str(folder / "tuned"), "base_model": DEMO})
    else:
        reply = upload(house, zipped(tmp_path / "a", adapter_files(folder, "x")), base_model=DEMO)
    assert reply.error()["param"] == "base_model"
    assert (
        f"'{DEMO}' is not allowed: its adapter_config.json says that it was trained on {LLAMA}"
        in reply.error()["message"]
    )
    assert not any(one["removable"] for one in state(house)["models"])


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (SOUND | {"../x.json": b"{}"}, "leads out"),
        (SOUND | {"x.bin": b"\x80"}, "pickles"),
        (SOUND, "'org/base' is not allowed: it is not among the models here"),
        ({"x.safetensors": SOUND["adapter_model.safetensors"]}, "it holds no adapter"),
        ({**SOUND, "adapter_model.safetensors": b"{}"}, "adapter_model.safetensors"),
    ],
)
def test_an_archive_that_is_refused_leaves_nothing(
    house: Server, tmp_path: Path, files: dict[str, bytes], told: str
) -> None:
    reply = upload(house, zipped(tmp_path / "a", files))
    assert reply.status == 400
    assert told in reply.error()["message"]
    assert list((house.home / "adapters").iterdir()) == []
    assert not any(one["removable"] for one in state(house)["models"])


def test_fifty_adapters_come_are_compared_and_go(house: Server, folder: Path, tmp_path: Path) -> None:
    process, sizes = psutil.Process(), []
    load(house, LLAMA)
    for number in range(50):
        place = tiny.save_adapter("llama", folder / "llama", tmp_path / str(number), seed=number)
        id = f"me/{number}"
        assert house.post(f"{LIBRARY}/adapters", {"source": str(place), "id": id}).status == 200
        body = {"models": [LLAMA, id], "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        assert house.post("/api/v1/playground/compare", body).status == 200
        assert house.send("DELETE", f"{LIBRARY}/adapters?model={id}", None, {}).status == 200
        wait_for(lambda: state(house)["memory"]["used_bytes"] == model(house, LLAMA)["memory_bytes"])
        sizes.append(process.memory_info().rss)
    assert sizes[-1] < 1.02 * sizes[9]
    assert ask(house, LLAMA).status == 200


class Keyed:
    """A server with keys of Ann, of acme, and of Bob."""

    def __init__(self, folder: Path, home: Path) -> None:
        accounts = Accounts(Store(home))
        self.ann = {"Authorization": f"Bearer {accounts.create('ann', ['acme'])}"}
        self.bob = {"Authorization": f"Bearer {accounts.create('bob', [])}"}
        self.serving = serving(folder / "models.yaml", home)


def test_with_keys_what_one_adds_is_theirs(folder: Path, tmp_path: Path) -> None:
    keyed = Keyed(folder, tmp_path / "home")
    with keyed.serving as house:
        files = {file.name: file.read_bytes() for file in (folder / "tuned").iterdir() if file.is_file()}
        data, path = zipped(tmp_path / "a", files).read_bytes(), f"{LIBRARY}/archives?name=mine.zip"
        octets = {"Content-Type": "application/octet-stream"}
        assert house.send("POST", path, data, octets).status == 401
        added = house.send("POST", path, data, {**octets, **keyed.ann}).json()["data"]
        assert (added["owner"], added["removable"]) == ("ann", True)
        assert ask(house, added["id"], **keyed.ann).status == 200
        assert ask(house, added["id"], **keyed.bob).status == 404
        remove = f"{LIBRARY}/adapters?model={quote(added['id'])}"
        assert house.send("DELETE", remove, None, keyed.bob).status == 404
        assert model(house, added["id"], **keyed.ann)["last_used_at"] is not None
        source = {"source": str(folder / "tuned")}
        refused = house.post(f"{LIBRARY}/adapters", source, **keyed.ann)
        assert (refused.status, refused.error()["code"]) == (403, "forbidden")
        assert house.send("DELETE", remove, None, keyed.ann).status == 200


def test_with_keys_nobody_learns_what_others_have(folder: Path, tmp_path: Path) -> None:
    keyed = Keyed(folder, tmp_path / "home")
    with keyed.serving as house:
        files = {file.name: file.read_bytes() for file in (folder / "tuned").iterdir() if file.is_file()}
        archive = zipped(tmp_path / "a", files)

        def told(key: dict[str, str], **query: str) -> Any:
            reply = upload(house, archive, key=key, **query)
            return (reply.status, reply.error()) if reply.status != 200 else reply.json()["data"]["id"]

        def same(one: Any, other: Any, names: tuple[str, str]) -> bool:
            return json.dumps(one).replace(*names) == json.dumps(other)

        assert told(keyed.ann) == "ann/mine"
        assert told(keyed.ann, id="ann/private") == "ann/private"
        assert told(keyed.bob) == "bob/mine", "whose number would say that somebody has one of this name"
        assert told(keyed.bob) == "bob/mine-2"
        for key, theirs in (("id", "ann/private"), ("base_model", "ann/private")):
            refused, unknown = told(keyed.bob, **{key: theirs}), told(keyed.bob, **{key: "no/such"})
            assert refused[1]["param"] == key
            assert same(refused, unknown, (theirs, "no/such")), (refused, unknown)
        assert "bob/" in told(keyed.bob, id="ann/private")[1]["message"]
        assert told(keyed.ann, base_model="ann/private")[1]["code"] == "validation_error"


def test_on_an_open_server_nobody_manages(folder: Path, tmp_path: Path) -> None:
    with serving(folder / "models.yaml", tmp_path, "--host", "127.0.0.1", "--open", SPACE_ID="me/space") as house:
        found = state(house)
        assert not found["may_manage"]
        assert OWNED not in [one["id"] for one in found["models"]]
        for verb, more in (("load", {}), ("unload", {}), ("cancel", {}), ("pin", {"pinned": True})):
            assert do(house, verb, LLAMA, **more).status == 403
        assert house.post(f"{LIBRARY}/adapters", {"source": str(folder / "tuned")}).status == 403
        assert upload(house, folder / "models.yaml").status == 403

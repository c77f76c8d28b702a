"""models.yaml and adapter folders: what is listed, in which order, and how broken ones are told."""

import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from playground.catalog import Catalog
from playground.catalog.added import NOTHING
from playground.catalog.catalog import catalog_of
from playground.catalog.models_file import read_models_file
from playground.errors import ConfigurationError, ModelLoadFailed, ModelNotFound
from playground.registry import key_of
from playground.settings import DEFAULT_MODELS_FILE
from playground.types import ModelCard

REFERENCE = {
    "Qwen/Qwen3.5-2B": 131_072,
    "Qwen/Qwen3.5-4B": 262_144,
    "google/gemma-4-E2B-it": 128_000,
    "google/gemma-4-E4B-it": 128_000,
    "meta-llama/Llama-3.2-3B-Instruct": 128_000,
    "microsoft/Phi-4-mini-instruct": 128_000,
    "ibm-granite/granite-3.3-2b-instruct": 128_000,
    "bigcode/starcoder2-3b": 16_384,
}
BASE = "models:\n- id: org/base\n"


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.chdir(tmp_path)


def write(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "models.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def load_catalog(path: Path) -> Catalog:
    return catalog_of(read_models_file(path), NOTHING)


def bases(catalog: Catalog) -> list[ModelCard]:
    return [card for card in catalog.cards.values() if card.type == "base"]


def fine_tunes(catalog: Catalog) -> list[ModelCard]:
    return [card for card in catalog.cards.values() if card.base_model == "org/base"]


def load(tmp_path, text):
    return load_catalog(write(tmp_path, text))


def problems_of(tmp_path, text):
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    return caught.value.problems


def make_safetensors(file: Path, num_bytes: int = 8) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [num_bytes], "data_offsets": [0, num_bytes]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(num_bytes))


def make_base(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def make_adapter(folder: Path, base: str | None = "org/base", **config) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": base, **config}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    make_safetensors(folder / "adapter_model.safetensors")
    return folder


# --- the file that ships ---


def test_the_file_that_ships(tmp_path):
    shutil.copy(DEFAULT_MODELS_FILE, tmp_path)
    make_base(tmp_path / "demo/base")
    for folder in ("shop-json", "shop-json/checkpoint-100", "shop-json/checkpoint-20", "shop-pirate"):
        make_adapter(tmp_path / "demo/adapters" / folder, base="../base")

    catalog = load_catalog(tmp_path / "models.yaml")

    assert {b.id: b.context_length for b in bases(catalog) if b.id in REFERENCE} == REFERENCE
    assert list(catalog.cards)[:5] == [
        "playground/shop-demo",
        "playground/shop-json",
        "playground/shop-json/checkpoint-20",
        "playground/shop-json/checkpoint-100",
        "playground/shop-pirate",
    ]
    assert len(bases(catalog)) == 9
    demo = catalog.card("playground/shop-demo")
    assert (demo.name, demo.context_length, demo.dtype) == ("Shop demo", 512, "float32")
    assert demo.source == str(tmp_path / "demo/base")
    assert demo.description
    assert all(card.problem is None for card in catalog.cards.values())


def test_nothing_heavy_is_imported():
    code = (
        "import sys, playground.catalog, playground.settings, playground.hub\n"
        "heavy = {'torch', 'transformers', 'peft', 'gradio', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=DEFAULT_MODELS_FILE.parent)


# --- cards ---


def test_a_base_from_the_hub(tmp_path):
    (card,) = bases(load(tmp_path, BASE + "  revision: v1\n  dtype: auto\n  device: cuda:1\n"))
    assert (card.id, card.name, card.type, card.source) == ("org/base", "base", "base", "org/base")
    assert (card.revision, card.dtype, card.device) == ("v1", None, "cuda:1")
    assert card.problem is None


def test_two_bases_over_one_repo(tmp_path):
    make_adapter(tmp_path / "runs/one")
    make_adapter(tmp_path / "runs/two", base=str(tmp_path / "models--org--weights/snapshots/abc"))
    text = """
        models:
        - {id: small, repo: org/weights, revision: v1, dtype: int8}
        - {id: org/base, repo: org/weights, revision: v1}
        - {id: tune, base_model: small, adapter: runs/one}
        adapter_dirs: [runs]
    """
    catalog = load(tmp_path, text)
    small, whole = bases(catalog)
    assert (small.name, small.source, small.revision, small.dtype) == ("small", "org/weights", "v1", "int8")
    assert (whole.source, whole.dtype) == ("org/weights", None)
    assert key_of(small) != key_of(whole)
    tune = catalog.card("tune")
    assert tune.problem is None, "it was trained on the other entry, of the same weights"
    assert catalog.base_of(tune).dtype == "int8"
    assert catalog.card("runs/two").base_model == "small", "of several the first in the file"


def test_a_base_in_a_folder_without_a_config_is_listed_with_its_reason(tmp_path):
    (tmp_path / "weights").mkdir()
    (card,) = bases(load(tmp_path, "models: [{id: mine, path: weights}]"))
    assert "config.json" in (card.problem or "")


def test_paths_are_relative_to_the_file_and_may_start_at_home(tmp_path):
    make_base(tmp_path / "person/model")
    make_base(tmp_path / "conf/model")
    file = tmp_path / "conf/models.yaml"
    file.write_text("models: [{id: a, path: ~/model}, {id: b, path: model}]")
    catalog = load_catalog(file)
    assert catalog.card("a").source == str(tmp_path / "person/model")
    assert catalog.card("b").source == str(tmp_path / "conf/model")


def test_a_fine_tune_has_its_base_settings_unless_it_says_otherwise(tmp_path):
    text = """
        models:
        - id: org/base
          revision: r1
          context_length: 100
          dtype: bfloat16
          device: cpu
          description: about the base
          chat_template: "{{ base }}"
        - {id: one, base_model: org/base, adapter: org/lora, revision: r2}
        - {id: two, base_model: org/base, adapter: org/lora, name: Two, context_length: 50, dtype: float32,
           merge: never, chat_template: "{{ own }}", owner: alice, description: mine}
    """
    catalog = load(tmp_path, text)
    one, two = fine_tunes(catalog)

    assert (one.source, one.revision, one.adapter, one.adapter_revision) == (
        "org/base",
        "r1",
        "org/lora",
        "r2",
    )
    assert (one.context_length, one.dtype, one.device, one.chat_template) == (
        100,
        "bfloat16",
        "cpu",
        "{{ base }}",
    )
    assert (one.merge, one.description, one.owner) == ("auto", "", None)
    assert (two.name, two.context_length, two.dtype, two.merge) == ("Two", 50, "float32", "never")
    assert (two.chat_template, two.owner) == ("{{ own }}", "alice")
    base = catalog.card("org/base")
    assert catalog.base_of(one) == base
    assert catalog.base_of(two) == replace(base, dtype="float32")


def test_a_fine_tune_is_answered_where_its_base_is_unless_it_says_otherwise(tmp_path):
    text = """
        models:
        - {id: org/base, endpoint: "http://gpu:8000/v1/", served_model_name: there, api_key_env: GPU_KEY}
        - {id: one, base_model: org/base}
        - {id: two, base_model: org/base, served_model_name: lora-2, adapter: org/lora, api_key_env: TWO_KEY}
        - {id: three, base_model: org/base, endpoint: "https://other/v1"}
        - {id: org/other, provider: together, api_key_env: HF}
        - {id: four, base_model: org/other, served_model_name: me/four}
        - {id: here, path: here}
        - {id: five, base_model: here, endpoint: "http://gpu:8000/v1"}
    """
    make_base(tmp_path / "here")
    cards = load(tmp_path, text).cards

    def place(id):
        card = cards[id]
        return card.endpoint, card.provider, card.api_key_env, card.name_there

    gpu = "http://gpu:8000/v1"
    assert place("org/base") == (gpu, None, "GPU_KEY", "there")
    assert place("one") == (gpu, None, "GPU_KEY", "one")
    assert place("two") == (gpu, None, "TWO_KEY", "lora-2")
    # A key goes to no server that it was not given for.
    assert place("three") == ("https://other/v1", None, None, "three")
    assert place("four") == (None, "together", "HF", "me/four")
    assert place("five") == (gpu, None, None, "five")
    assert [id for id, card in cards.items() if not card.is_remote] == ["here"]


def test_one_engine_a_server_and_key(tmp_path):
    text = """
        models:
        - {id: a, endpoint: "http://gpu/v1"}
        - {id: b, endpoint: "http://gpu/v1"}
        - {id: c, base_model: a, api_key_env: KEY}
        - {id: d/d, provider: together}
        - {id: e/e, provider: together}
    """
    catalog = load(tmp_path, text)
    keys = {id: key_of(catalog.base_of(card)) for id, card in catalog.cards.items()}
    assert keys["a"] == keys["b"] != keys["c"]
    assert keys["d/d"] == keys["e/e"]


def test_checkpoints_of_a_remote_run_have_names_of_their_own(tmp_path):
    make_adapter(tmp_path / "run")
    make_adapter(tmp_path / "run/checkpoint-5")
    text = """
        models:
        - {id: org/base, endpoint: "http://gpu/v1"}
        - {id: me/run, base_model: org/base, adapter: ./run, served_model_name: run}
    """
    cards = load(tmp_path, text).cards.values()
    assert [card.name_there for card in cards] == ["org/base", "run", "me/run/checkpoint-5"]


def test_an_adapter_that_says_another_base_is_listed_with_its_reason(tmp_path):
    make_adapter(tmp_path / "lora", base="org/other")
    entries = """
        models:
        - {id: org/base}
        - {id: org/other}
        - {id: wrong, base_model: org/base, adapter: ./lora}
        - {id: right, base_model: org/other, adapter: ./lora}
    """
    catalog = load(tmp_path, entries)
    problem = catalog.card("wrong").problem
    assert problem is not None
    assert "org/other" in problem
    assert "org/base" in problem
    assert catalog.card("right").problem is None


def test_a_chat_template_in_a_file(tmp_path):
    (tmp_path / "chat.jinja").write_text("{% for m in messages %}é{% endfor %}")
    catalog = load(tmp_path, BASE + "  chat_template: chat.jinja\n")
    assert catalog.card("org/base").chat_template == "{% for m in messages %}é{% endfor %}"


def test_the_catalog_cannot_be_changed(tmp_path):
    catalog = load(tmp_path, BASE)
    with pytest.raises(TypeError):
        catalog.cards["x"] = catalog.card("org/base")  # type: ignore[index]
    with pytest.raises(AttributeError):
        catalog.cards = {}  # type: ignore[misc]


# --- looking a card up ---


def test_an_unknown_id_is_answered_with_near_ones(tmp_path):
    catalog = load(tmp_path, BASE)
    with pytest.raises(ModelNotFound, match="org/base") as caught:
        catalog.card("Org/Bas")
    assert caught.value.param == "model"


def test_only_visible_models_are_found_or_suggested(tmp_path):
    text = BASE + "- {id: org/base-secret, base_model: org/base, adapter: org/lora, owner: alice}\n"
    catalog = load(tmp_path, text)
    messages = []
    for id in ("org/base-secret", "org/base-secres"):
        with pytest.raises(ModelNotFound) as caught:
            catalog.card(id, visible=lambda card: card.owner in (None, "bob"))
        messages.append(caught.value.message.replace(id, "…"))
    assert messages[0] == messages[1]
    assert "secret" not in messages[0]

    assert catalog.card("org/base-secret").owner == "alice"
    assert catalog.card("org/base-secret", visible=lambda card: True).owner == "alice"
    with pytest.raises(ModelNotFound) as caught:
        catalog.card("org/base-secre")
    assert "secret" not in caught.value.message


# --- broken files ---


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        # not YAML
        ("models: [\n", ["line 2, column 1", "not valid YAML"]),
        ("models:\n\t- id: a\n", ["line 2, column 1", "not valid YAML"]),
        ("models: !!python/object:os.system {}\n", ["line 1, column 9", "python/object"]),
        ("a: 1\n---\nb: 2\n", ["line 2", "not valid YAML"]),
        (b"models:\n- id: \xff\xfe\n", ["line 2", "UTF-8"]),
        (b"models:\n- id: a\x00b\n", ["line 2, column 8", "'\\x00'"]),
        ("models:\n- {id: a, [x]: 1}\n", ["line 2", "unhashable"]),
        ("models:\n- {id: a, revision: 2024-13-45}\n", ["cannot read"]),
        # not a mapping
        ("", ["is empty"]),
        ("# nothing\n", ["is empty"]),
        ("- id: a\n", ["[{'id': 'a'}]", "must be a mapping"]),
        ("just text\n", ["'just text'", "must be a mapping"]),
        ("adapter_dirs: []\n", ["models: (absent)", "list"]),
        ("models: {}\n", ["models: {}", "list"]),
        ("models: []\n", ["models: []", "at least one"]),
        ("models: [a]\n", ["entry #1", "'a'", "mapping"]),
        # keys
        (BASE + "model: 1\n", ["line 3", "model: 1", "did you mean models?"]),
        (BASE + "  contxt_length: 5\n", ["line 3", "contxt_length: 5", "did you mean context_length?"]),
        (BASE + "  zzz: 5\n", ["zzz: 5", "no such key", "base_model"]),
        (BASE + "  1: 5\n", ["1: 5", "no such key"]),
        (BASE + "  name: x\n  name: y\n", ["line 4", "name: 'y'", "second time", "line 3"]),
        (BASE + "models: [{id: a}]\n", ["line 3", "second time"]),
        ("models:\n- {name: x}\n", ["entry #1", "id: (absent)", "must have one"]),
        # values
        ("models:\n- {id: 5}\n", ["id: 5", "text", "quotes"]),
        ("models:\n- {id: ''}\n", ["id: ''", "1 to 200"]),
        ("models:\n- {id: 'a b'}\n", ["id: 'a b'", "white space"]),
        ("models:\n- {id: a/b/c}\n", ["id: 'a/b/c'", "organization/name"]),
        (BASE + "  context_length: 0\n", ["context_length: 0", "from 1 to"]),
        (BASE + "  context_length: -5\n", ["context_length: -5", "from 1 to"]),
        (BASE + "  context_length: 1e99\n", ["context_length: '1e99'", "whole number"]),
        (BASE + f"  context_length: 1{'0' * 30}\n", ["from 1 to"]),
        (BASE + "  context_length: yes\n", ["context_length: True", "whole number"]),
        (BASE + "  context_length: 4096.0\n", ["context_length: 4096.0", "whole number"]),
        (BASE + "  context_length: '4096'\n", ["context_length: '4096'", "whole number"]),
        (BASE + "  revision: 123\n", ["revision: 123", "quotes"]),
        (BASE + "  name: [a]\n", ["name: ['a']", "must be text"]),
        (BASE + "  name:\n", ["name: None", "must have a value"]),
        (BASE + '  name: "a\\0b"\n', ["name: 'a\\x00b'", "one line"]),
        (BASE + "  name: ' '\n", ["name: ' '", "must not be empty"]),
        (BASE + "  dtype: int3\n", ["dtype: 'int3'", "'bfloat16'", "'int8'"]),
        (BASE + "  device: gpu\n", ["device: 'gpu'", "cuda:N"]),
        (BASE + "  endpoint: localhost:8000\n", ["endpoint: 'localhost:8000'", "http://"]),
        (BASE + "  endpoint: http://a:port\n", ["endpoint: 'http://a:port'", "http://"]),
        (BASE + "  endpoint: http://me:s3cret@gpu/v1\n", ["endpoint: (not shown)", "without a user", "api_key_env"]),
        (BASE + "  endpoint: http://gpu/v1?key=s3cret\n", ["endpoint: (not shown)", "anything after ?"]),
        (
            BASE + "  endpoint: http://a/v1\n  api_key_env: sk-s3cret\n",
            ["api_key_env: (not shown)", "never the key itself"],
        ),
        (
            BASE + "  endpoint: http://a/v1\n  api_key_env: hf_s3cret\n",
            ["api_key_env: (not shown)", "never the key itself"],
        ),
        (BASE + "  api_key: s3cret\n", ["api_key: (not shown)", "did you mean api_key_env?"]),
        (BASE + "  provider: Together AI\n", ["provider: 'Together AI'", "as Hugging Face writes it"]),
        # another server's model
        (BASE + "  endpoint: http://a/v1\n  provider: together\n", ["provider: 'together'", "not both"]),
        (BASE + "  served_model_name: x\n", ["served_model_name: 'x'", "endpoint or provider"]),
        (BASE + "  api_key_env: KEY\n", ["api_key_env: 'KEY'", "endpoint or provider"]),
        (BASE + "  endpoint: http://a/v1\n  dtype: float32\n", ["dtype: 'float32'", "decides this by itself"]),
        (BASE + "  provider: auto\n  revision: r\n", ["revision: 'r'", "decides this by itself"]),
        (
            BASE + "  provider: auto\n- {id: f, base_model: org/base, provider: auto}\n",
            ["provider: 'auto'", "only a base"],
        ),
        (BASE + "  provider: auto\n- {id: f g, base_model: org/base}\n", ["id: 'f g'"]),
        ("models:\n- {id: a:b, provider: auto}\n", ["id: 'a:b'", "give served_model_name"]),
        (
            BASE + "  endpoint: http://a/v1\n- {id: f, base_model: org/base, merge: never}\n",
            ["merge: 'never'", "itself"],
        ),
        (BASE + "  chat_template: chatml\n", ["chat_template: 'chatml'", ".jinja"]),
        (BASE + "  chat_template: no.jinja\n", ["chat_template: 'no.jinja'", "No such file"]),
        # what belongs together
        (BASE + "- id: org/base\n", ["line 3", "id: 'org/base'", "unique", "#1"]),
        (BASE + "  adapter: x\n", ["base_model: (absent)", "belongs to a base"]),
        (BASE + "- {id: f, base_model: org/base}\n", ["adapter: (absent)", "must name"]),
        (BASE + "- {id: f, base_model: org/bose, adapter: x}\n", ["'org/bose'", "did you mean org/base?"]),
        (
            BASE + "- {id: f, base_model: org/base, adapter: x}\n- {id: g, base_model: f, adapter: y}\n",
            ["base_model: 'f'", "must be a base model"],
        ),
        (BASE + "- {id: f, base_model: f, adapter: x}\n", ["base_model: 'f'", "must be a base model"]),
        (BASE + "- {id: f, base_model: org/base, adapter: x, path: y}\n", ["path: 'y'", "only a base"]),
        (BASE + "- {id: f, base_model: org/base, adapter: x, repo: y}\n", ["repo: 'y'", "only a base"]),
        (BASE + "  repo: a/b/c\n", ["repo: 'a/b/c'", "organization/name"]),
        (BASE + "  path: .\n  repo: a/b\n", ["repo: 'a/b'", "path names another"]),
        (
            BASE + "  dtype: int8\n- {id: f, base_model: org/base, adapter: x, merge: always}\n",
            ["merge: 'always'", "int8", "full precision"],
        ),
        (
            BASE + "- {id: f, base_model: org/base, adapter: x, merge: always, dtype: int4}\n",
            ["merge: 'always'", "int4", "full precision"],
        ),
        (BASE + "- {id: f, base_model: org/base, adapter: ./x, revision: y}\n", ["revision: 'y'", "folder"]),
        (BASE + "  merge: sometimes\n", ["merge: 'sometimes'", "'never'"]),
        (BASE + "  merge: always\n", ["merge: 'always'", "fine-tuned"]),
        (BASE + "  owner: alice\n", ["owner: 'alice'", "everyone"]),
        # folders
        (BASE + "  path: nowhere\n", ["path: 'nowhere'", "must be a folder"]),
        (BASE + "  path: models.yaml\n", ["path: 'models.yaml'", "must be a folder"]),
        (BASE + "  path: .\n  revision: v1\n", ["revision: 'v1'", "Hub"]),
        (BASE + "adapter_dirs: runs\n", ["adapter_dirs: 'runs'", "list"]),
        (BASE + "adapter_dirs: [runs]\n", ["adapter_dirs.0: 'runs'", "must be a folder"]),
        (BASE + "adapter_dirs: [3]\n", ["adapter_dirs.0: 3", "name of a folder"]),
        (BASE + "adapter_dirs:\n", ["adapter_dirs: None", "list"]),
    ],
)
def test_a_broken_file(tmp_path, text, parts):
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith(str(tmp_path / "models.yaml"))
    for part in parts:
        assert part in problem
    assert "\n" not in problem


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        load_catalog(tmp_path / "nothing.yaml")


def test_all_problems_of_a_file_come_together_in_its_order(tmp_path):
    text = """\
models:
- id: org/base
  context_length: none
  context_length: 0
  nmae: x
- text
- id: org/base
- id: f
  base_model: org/bass
  adapter: x
  merge: 3
- id: g
  adapter: y
  device: tpu
adapter_dirs: [nowhere]
model: 1
"""
    problems = problems_of(tmp_path, text)
    lines = [problem.removeprefix(f"{tmp_path}/models.yaml, ") for problem in problems]
    starts = [
        "line 4, entry 'org/base': context_length: '0' is not",
        "line 4, entry 'org/base': context_length: 0 is not",
        "line 5, entry 'org/base': nmae: 'x' is not",
        "line 6, entry #2: (the entry): 'text' is not",
        "line 7, entry 'org/base': id: 'org/base' is not",
        "line 9, entry 'f': base_model: 'org/bass' is not",
        "line 11, entry 'f': merge: 3 is not",
        "line 12, entry 'g': base_model: (absent) is not",
        "line 14, entry 'g': device: 'tpu' is not",
        "line 15: adapter_dirs.0: 'nowhere' is not",
        "line 16: model: 1 is not",
    ]
    assert len(lines) == len(starts), lines
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start), line


def test_anchors_and_merge_keys_are_no_duplicates(tmp_path):
    text = "models:\n- &one {id: org/a, dtype: float32}\n- {<<: *one, id: org/b}\n"
    assert [card.dtype for card in bases(load(tmp_path, text))] == ["float32", "float32"]


def test_a_file_that_contains_itself_ends(tmp_path):
    assert problems_of(tmp_path, "models: &a [*a]\n")


def test_a_byte_order_mark_is_no_problem(tmp_path):
    assert bases(load(tmp_path, b"\xef\xbb\xbf" + BASE.encode()))


# --- adapters that show up by themselves ---


def test_discovered_adapters_at_any_depth(tmp_path):
    make_adapter(tmp_path / "runs/final")
    make_adapter(tmp_path / "runs/b/deep/er")
    for step in (100, 20, 3):
        make_adapter(tmp_path / f"runs/train/checkpoint-{step}")
    make_adapter(tmp_path / "runs/train")
    make_adapter(tmp_path / "runs/.cache/hidden")

    catalog = load(tmp_path, BASE + "- id: org/other\nadapter_dirs: [runs]\n")

    assert list(catalog.cards) == [
        "org/base",
        "runs/b/deep/er",
        "runs/final",
        "runs/train",
        "runs/train/checkpoint-3",
        "runs/train/checkpoint-20",
        "runs/train/checkpoint-100",
        "org/other",
    ]
    last = catalog.card("runs/train/checkpoint-100")
    assert (last.run, last.step, last.name, last.base_model) == (
        "runs/train",
        100,
        "checkpoint-100",
        "org/base",
    )
    assert last.adapter == str(tmp_path / "runs/train/checkpoint-100")
    assert (catalog.card("runs/train").run, catalog.card("runs/train").step) == ("runs/train", None)
    assert catalog.card("runs/final").run is None
    assert all(card.problem is None for card in catalog.cards.values())


def test_an_adapter_dir_that_is_itself_a_run(tmp_path):
    make_adapter(tmp_path / "out/train")
    make_adapter(tmp_path / "out/train/checkpoint-5")
    catalog = load(tmp_path, BASE + "adapter_dirs: [out/train, out/train/]\n")
    assert [c.id for c in fine_tunes(catalog)] == ["train", "train/checkpoint-5"]
    assert catalog.card("train/checkpoint-5").run == "train"


def test_two_adapter_dirs_of_the_same_name_and_one_within_the_other(tmp_path):
    make_adapter(tmp_path / "a/runs/x")
    make_adapter(tmp_path / "b/runs/x")
    catalog = load(tmp_path, BASE + "adapter_dirs: [a/runs, b/runs, b]\n")
    assert [c.id for c in fine_tunes(catalog)] == ["a/runs/x", "b/runs/x"]


def test_a_discovered_id_that_is_taken(tmp_path):
    make_adapter(tmp_path / "org/base")
    catalog = load(tmp_path, BASE + "adapter_dirs: [org]\n")
    assert [c.id for c in fine_tunes(catalog)] == ["org/base~2"]


@pytest.mark.parametrize("name", ["{base}", "../../model", "model", "~/link"])
def test_the_base_is_found_by_its_folder(tmp_path, name):
    base = make_base(tmp_path / "model")
    (tmp_path / "person").mkdir()
    (tmp_path / "person/link").symlink_to(base)
    make_adapter(tmp_path / "runs/x", base=name.format(base=base))
    catalog = load(tmp_path, "models: [{id: mine, path: ./model}]\nadapter_dirs: [runs]\n")
    assert catalog.card("runs/x").base_model == "mine"
    assert catalog.card("runs/x").source == str(base)


def test_the_base_is_found_by_its_place_in_the_hubs_cache(tmp_path):
    make_adapter(tmp_path / "runs/x", base="/elsewhere/hub/models--org--base/snapshots/abc")
    catalog = load(tmp_path, BASE + "adapter_dirs: [runs]\n")
    assert catalog.card("runs/x").base_model == "org/base"


def break_adapter(folder: Path, how: str) -> None:
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if how == "pickle":
        weights.rename(folder / "adapter_model.bin")
    elif how == "no weights":
        weights.unlink()
    elif how == "no config":
        config.unlink()
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-3])
    elif how == "empty":
        weights.write_bytes(b"")
    elif how == "pointer":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    elif how == "config link in a circle":
        config.unlink()
        config.symlink_to("adapter_config.json")
    elif how == "config is a folder":
        config.unlink()
        config.mkdir()
    elif how == "weights link to nothing":
        weights.unlink()
        weights.symlink_to("gone")
    else:
        config.write_bytes(how.encode("latin-1"))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("pickle", "pickle"),
        ("no weights", "adapter_model.safetensors is missing"),
        ("no config", "adapter_config.json is missing"),
        ("cut", "cut short"),
        ("empty", "is empty"),
        ("pointer", "git lfs pull"),
        ("config link in a circle", "adapter_config.json cannot be read"),
        ("config is a folder", "adapter_config.json cannot be read"),
        ("weights link to nothing", "cannot be read"),
        ("{", "not a PEFT configuration"),
        ("\xff", "not a PEFT configuration"),
        ("[" * 100_000, "not a PEFT configuration"),
        ("[]", "JSON object"),
        ("{}", "peft_type"),
        ('{"peft_type": "IA3"}', "'IA3'"),
        ('{"peft_type": "LORA"}', "does not name its base"),
        ('{"peft_type": "LORA", "base_model_name_or_path": 3}', "does not name its base"),
        ('{"peft_type": "LORA", "base_model_name_or_path": "org/x"}', "'org/x' is not in the catalog"),
        ('{"peft_type": "LORA", "base_model_name_or_path": "a\\u0000b"}', "is not in the catalog"),
    ],
)
def test_a_broken_adapter_is_listed_with_its_reason(tmp_path, how, reason):
    break_adapter(make_adapter(tmp_path / "runs/broken"), how)
    make_adapter(tmp_path / "runs/sound")

    catalog = load(tmp_path, BASE + "adapter_dirs: [runs]\n")

    assert reason in (catalog.card("runs/broken").problem or "")
    assert str(tmp_path) not in (catalog.card("runs/broken").problem or "")
    assert catalog.card("runs/sound").problem is None


def test_an_adapter_of_an_unknown_base_comes_last(tmp_path):
    make_adapter(tmp_path / "runs/a", base="org/unknown")
    make_adapter(tmp_path / "runs/b")
    catalog = load(tmp_path, BASE + "adapter_dirs: [runs]\n")
    assert list(catalog.cards) == ["org/base", "runs/b", "runs/a"]
    lost = catalog.card("runs/a")
    assert (lost.base_model, lost.type) == (None, "fine-tuned")
    with pytest.raises(ModelLoadFailed, match="org/unknown"):
        catalog.base_of(lost)


def test_links_are_followed_and_circles_end(tmp_path):
    make_adapter(tmp_path / "elsewhere/x")
    make_adapter(tmp_path / "runs/y")
    (tmp_path / "runs/a-latest").symlink_to("y")
    (tmp_path / "runs/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs/y/up").symlink_to(tmp_path / "runs")
    (tmp_path / "runs/circle").symlink_to("circle")
    (tmp_path / "runs/gone").symlink_to("nothing")

    catalog = load(tmp_path, BASE + "adapter_dirs: [runs]\n")

    assert [c.id for c in fine_tunes(catalog)] == ["runs/linked/x", "runs/y"]
    assert "cannot be read" in (catalog.card("runs/circle").problem or "")
    assert "runs/gone" not in catalog.cards


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_folder_that_may_not_be_read(tmp_path):
    folder = make_adapter(tmp_path / "runs/locked")
    folder.chmod(0)
    catalog = load(tmp_path, BASE + "adapter_dirs: [runs]\n")
    folder.chmod(0o700)
    assert "cannot be read" in (catalog.card("runs/locked").problem or "")


def test_a_folder_name_that_is_no_text(tmp_path):
    make_adapter(tmp_path / "runs" / os.fsdecode(b"caf\xe9"))
    catalog = load(tmp_path, BASE + "adapter_dirs: [runs]\n")
    (card,) = fine_tunes(catalog)
    assert card.id == "runs/caf?"


# --- adapters with an entry ---


def listed(tmp_path, adapter, more=""):
    entry = f"- {{id: me/ft, base_model: org/base, adapter: {adapter}{more}}}\n"
    return load(tmp_path, BASE + entry)


@pytest.mark.parametrize("adapter", ["./nowhere", "/nowhere", "~/nowhere", "~nobody-here/x", "a/b/c", "x" * 5000])
def test_a_listed_adapter_that_is_not_there(tmp_path, adapter):
    assert "no folder" in (listed(tmp_path, adapter).card("me/ft").problem or "")


def test_a_listed_adapter_that_is_broken(tmp_path):
    break_adapter(make_adapter(tmp_path / "ft"), "pickle")
    assert "pickle" in (listed(tmp_path, "ft").card("me/ft").problem or "")


def test_a_listed_adapter_that_is_a_file(tmp_path):
    (tmp_path / "ft").write_text("")
    assert "not a folder" in (listed(tmp_path, "ft").card("me/ft").problem or "")


def test_a_listed_adapter_on_the_hub(tmp_path):
    card = listed(tmp_path, "org/lora").card("me/ft")
    assert (card.adapter, card.problem, card.run) == ("org/lora", None, None)


def test_checkpoints_of_a_listed_adapter_show_up(tmp_path):
    make_adapter(tmp_path / "ft", base="anything at all")
    for step in (30, 4):
        make_adapter(tmp_path / f"ft/checkpoint-{step}")
    break_adapter(make_adapter(tmp_path / "ft/checkpoint-5"), "no weights")
    (tmp_path / "ft/checkpoint-6").mkdir()
    make_adapter(tmp_path / "ft/checkpoint-best")

    catalog = listed(tmp_path, "ft", ", name: Mine, owner: alice, merge: never")

    cards = fine_tunes(catalog)
    assert [(c.id, c.run, c.step) for c in cards] == [
        ("me/ft", "me/ft", None),
        ("me/ft/checkpoint-4", "me/ft", 4),
        ("me/ft/checkpoint-5", "me/ft", 5),
        ("me/ft/checkpoint-30", "me/ft", 30),
    ]
    assert [c.name for c in cards] == ["Mine", "checkpoint-4", "checkpoint-5", "checkpoint-30"]
    assert {(c.owner, c.merge) for c in cards} == {("alice", "never")}
    assert [bool(c.problem) for c in cards] == [False, False, True, False]
    assert cards[1].description == "Step 4 of Mine"


def test_a_run_without_a_final_adapter_still_shows_its_checkpoints(tmp_path):
    make_adapter(tmp_path / "ft/checkpoint-4")
    catalog = listed(tmp_path, "ft")
    assert "adapter_config.json is missing" in (catalog.card("me/ft").problem or "")
    assert catalog.card("me/ft/checkpoint-4").problem is None


def test_an_entry_and_a_scan_list_a_folder_once_and_its_owner_owns_what_lies_below(tmp_path):
    for folder in ("ft", "ft/checkpoint-4", "ft/other/checkpoint-5", "free"):
        make_adapter(tmp_path / "runs" / folder)
    entry = "- {id: me/ft, base_model: org/base, adapter: runs/ft, owner: alice}\n"
    catalog = load(tmp_path, BASE + entry + "adapter_dirs: [runs]\n")
    assert {c.id: c.owner for c in fine_tunes(catalog)} == {
        "me/ft": "alice",
        "me/ft/checkpoint-4": "alice",
        "runs/ft/other/checkpoint-5": "alice",
        "runs/free": None,
    }


def test_checkpoints_whose_ids_an_entry_already_has(tmp_path):
    make_adapter(tmp_path / "ft")
    make_adapter(tmp_path / "ft/checkpoint-4")
    entries = (
        "- {id: ft, base_model: org/base, adapter: ft}\n"
        "- {id: ft/checkpoint-4, base_model: org/base, adapter: ft/checkpoint-4, name: Best, owner: alice}\n"
    )
    catalog = load(tmp_path, BASE + entries)
    best = catalog.card("ft/checkpoint-4")
    assert [c.id for c in fine_tunes(catalog)] == ["ft", "ft/checkpoint-4"]
    assert (best.name, best.owner, best.step, best.run) == ("Best", "alice", 4, "ft")


def test_a_broken_base_is_the_problem_of_its_fine_tunes(tmp_path):
    (tmp_path / "weights").mkdir()
    make_adapter(tmp_path / "ft")
    entry = "models:\n- {id: mine, path: weights}\n- {id: ft, base_model: mine, adapter: ft}\n"
    assert "its base model" in (load(tmp_path, entry).card("ft").problem or "")


def test_the_catalog_that_goes_with_vllm_names_what_its_container_serves():
    folder = DEFAULT_MODELS_FILE.parent / "docs/vllm"
    command = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["vllm"]["command"]
    modules = command[command.index("--lora-modules") + 1 :]
    served = [command[0], *(module.partition("=")[0] for module in modules)]
    cards = load_catalog(folder / "models.yaml").cards.values()
    assert [card.name_there for card in cards] == served
    assert {(card.endpoint, card.api_key_env) for card in cards} == {("http://127.0.0.1:8000/v1", "VLLM_API_KEY")}

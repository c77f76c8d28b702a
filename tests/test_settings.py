"""What the command line and the environment say, and everything that is wrong with it at once."""

from pathlib import Path

import pytest

from playground.errors import ConfigurationError
from playground.settings import (
    DEFAULT_MODELS_FILE,
    MEMORY_SHARE,
    Settings,
    build_parser,
    default_memory_bytes,
    home_from,
    memory_limit_bytes,
    read_settings,
)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)


def problems_of(argv, environ):
    with pytest.raises(ConfigurationError) as caught:
        read_settings(argv, environ)
    return caught.value.problems


def test_defaults(tmp_path):
    settings = read_settings([], {})

    assert settings.models_file == DEFAULT_MODELS_FILE
    assert DEFAULT_MODELS_FILE.name == "models.yaml"
    assert (settings.host, settings.port) == ("127.0.0.1", 7860)
    assert settings.home.is_relative_to(tmp_path / "person")
    assert settings.home.name == "playground"
    assert settings.inference
    assert not settings.open_to_all
    assert settings.max_rows == 16
    assert 0 < settings.memory_bytes < 2**50
    assert 0 < settings.prompt_cache_bytes <= 512_000_000


def test_reading_settings_writes_nothing(tmp_path):
    read_settings(["--home", str(tmp_path / "new" / "home")], {})
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path):
    argv = ["--models", str(tmp_path / "my.yaml"), "--host", "0.0.0.0", "--port", "8080"]
    settings = read_settings([*argv, "--home", str(tmp_path), "--inventory-only", "--open"], {})

    assert settings.models_file == tmp_path / "my.yaml"
    assert (settings.host, settings.port, settings.home) == ("0.0.0.0", 8080, tmp_path)
    assert not settings.inference
    assert settings.open_to_all


def test_environment(tmp_path):
    settings = read_settings(
        [],
        {
            "PLAYGROUND_MODELS": "~/my.yaml",
            "GRADIO_SERVER_NAME": "::1",
            "GRADIO_SERVER_PORT": "9000",
            "PLAYGROUND_HOME": str(tmp_path),
            "PLAYGROUND_INFERENCE": "off",
            "PLAYGROUND_HISTORY": "off",
            "PLAYGROUND_MEMORY_GB": "1.5",
            "PLAYGROUND_MAX_ROWS": "4",
            "PLAYGROUND_PROMPT_CACHE_GB": "0.25",
            "PLAYGROUND_ALLOWED_HOSTS": "Play.example., 10.0.0.7",
        },
    )
    assert settings == Settings(
        models_file=tmp_path / "person" / "my.yaml",
        host="::1",
        port=9000,
        home=tmp_path,
        inference=False,
        history=False,
        open_to_all=False,
        memory_bytes=1_500_000_000,
        max_rows=4,
        prompt_cache_bytes=250_000_000,
        allowed_hosts=("play.example", "10.0.0.7"),
    )


def test_command_line_wins_over_environment():
    environ = {"GRADIO_SERVER_PORT": "9000", "GRADIO_SERVER_NAME": "example.org"}
    settings = read_settings(["--port", "9001", "--host", "localhost"], environ)
    assert (settings.host, settings.port) == ("localhost", 9001)


def test_kept_prompts_take_a_small_share_of_the_budget_unless_told_otherwise():
    for given, num_bytes in (("1.6", 100_000_000), ("100", 512_000_000)):
        assert read_settings([], {"PLAYGROUND_MEMORY_GB": given}).prompt_cache_bytes == num_bytes
    assert read_settings(["--prompt-cache", "0"], {"PLAYGROUND_PROMPT_CACHE_GB": "2"}).prompt_cache_bytes == 0


def test_a_bad_environment_value_under_a_command_line_value_does_not_matter():
    assert read_settings(["--port", "9001"], {"GRADIO_SERVER_PORT": "many"}).port == 9001


def test_an_empty_variable_is_an_unset_one():
    assert read_settings([], {"GRADIO_SERVER_PORT": "", "PLAYGROUND_INFERENCE": " "}).port == 7860


def test_relative_paths_are_relative_to_where_the_person_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = read_settings(["--models", "mine.yaml", "--home", "here"], {})
    assert (settings.models_file, settings.home) == (tmp_path / "mine.yaml", tmp_path / "here")


@pytest.mark.parametrize(
    ("argv", "environ", "key", "value"),
    [
        (["--port", "0"], {}, "--port", "'0'"),
        (["--port", "65536"], {}, "--port", "'65536'"),
        (["--port", "80a"], {}, "--port", "'80a'"),
        (["--port", "1_0"], {}, "--port", "'1_0'"),
        (["--host", "http://localhost"], {}, "--host", "'http://localhost'"),
        (["--host", "localhost:80"], {}, "--host", "'localhost:80'"),
        (["--host", ""], {}, "--host", "''"),
        (["--models", ""], {}, "--models", "''"),
        ([], {"GRADIO_SERVER_PORT": "x"}, "GRADIO_SERVER_PORT", "'x'"),
        ([], {"PLAYGROUND_INFERENCE": "maybe"}, "PLAYGROUND_INFERENCE", "'maybe'"),
        ([], {"PLAYGROUND_MEMORY_GB": "0"}, "PLAYGROUND_MEMORY_GB", "'0'"),
        ([], {"PLAYGROUND_MEMORY_GB": "nan"}, "PLAYGROUND_MEMORY_GB", "'nan'"),
        ([], {"PLAYGROUND_MEMORY_GB": "inf"}, "PLAYGROUND_MEMORY_GB", "'inf'"),
        ([], {"PLAYGROUND_MEMORY_GB": "8 GB"}, "PLAYGROUND_MEMORY_GB", "'8 GB'"),
        ([], {"PLAYGROUND_PROMPT_CACHE_GB": "nan"}, "PLAYGROUND_PROMPT_CACHE_GB", "'nan'"),
        ([], {"PLAYGROUND_PROMPT_CACHE_GB": "off"}, "PLAYGROUND_PROMPT_CACHE_GB", "'off'"),
        (["--prompt-cache", "-1"], {}, "--prompt-cache", "'-1'"),
        ([], {"PLAYGROUND_MAX_ROWS": "0"}, "PLAYGROUND_MAX_ROWS", "'0'"),
        ([], {"PLAYGROUND_MAX_ROWS": "2.5"}, "PLAYGROUND_MAX_ROWS", "'2.5'"),
        ([], {"PLAYGROUND_ALLOWED_HOSTS": "play.example,"}, "PLAYGROUND_ALLOWED_HOSTS", "'play.example,'"),
        ([], {"PLAYGROUND_ALLOWED_HOSTS": "http://play"}, "PLAYGROUND_ALLOWED_HOSTS", "'http://play'"),
        ([], {"PLAYGROUND_MODELS": "\0"}, "PLAYGROUND_MODELS", "'\\x00'"),
        (["--home", "~nobody-here/x"], {}, "--home", "'~nobody-here/x'"),
    ],
)
def test_a_bad_value_names_key_value_and_rule(argv, environ, key, value):
    (problem,) = problems_of(argv, environ)
    assert problem.startswith(f"{key}: {value} is not allowed: ")
    assert len(problem.rpartition("not allowed: ")[2]) > 10


def test_all_problems_come_together(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    problems = problems_of(
        ["--port", "no", "--home", str(in_the_way / "below")],
        {"PLAYGROUND_MAX_ROWS": "-1", "PLAYGROUND_MEMORY_GB": "much", "PLAYGROUND_INFERENCE": "sure"},
    )
    keys = [problem.partition(":")[0] for problem in problems]
    assert sorted(keys) == [
        "--home",
        "--port",
        "PLAYGROUND_INFERENCE",
        "PLAYGROUND_MAX_ROWS",
        "PLAYGROUND_MEMORY_GB",
    ]


def test_home_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    (problem,) = problems_of(["--home", str(tmp_path / "file")], {})
    assert "folder" in problem


def test_the_parser_takes_no_shortened_flags(capsys):
    with pytest.raises(SystemExit):
        read_settings(["--inventory"], {})
    assert "--inventory" in capsys.readouterr().err


def test_the_parser_can_be_extended():
    parser = build_parser()
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("keys").add_argument("what")
    args = parser.parse_args(["--port", "1", "keys", "list"])
    assert (args.command, args.what, args.port) == ("keys", "list", "1")


def cgroup(root: Path, membership: str, limits: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for name, limit in limits.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(limit + "\n")
    return root


def test_no_cgroup_at_all(tmp_path):
    assert memory_limit_bytes(tmp_path) is None


@pytest.mark.parametrize(
    ("membership", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": "1000"}, 1000),
        ("0::/\n", {"memory.max": "max"}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "500", "memory.max": "900"}, 500),
        ("0::/not/visible/here\n", {"memory.max": "700"}, 700),
        ("0::/../outside\n", {"memory.max": "700"}, 700),
        ("5:cpu:/x\n9:memory:/docker/1\n", {"memory/docker/1/memory.limit_in_bytes": "2000"}, 2000),
        ("9:memory,hugetlb:/docker/1\n", {"memory/memory.limit_in_bytes": "3000"}, 3000),
        ("0::/\n", {"memory.max": "what"}, None),
        ("nonsense\n", {"memory.max": "1"}, None),
    ],
)
def test_cgroup_limits(tmp_path, membership, limits, expected):
    assert memory_limit_bytes(cgroup(tmp_path, membership, limits)) == expected


def test_the_default_budget_is_a_share_of_the_smaller_of_machine_and_cgroup(tmp_path):
    root = cgroup(tmp_path, "0::/\n", {"memory.max": "1000000"})
    assert default_memory_bytes(root) == int(1_000_000 * MEMORY_SHARE)


@pytest.mark.parametrize(
    ("environ", "on_space"), [({}, False), ({"SPACE_ID": ""}, False), ({"SPACE_ID": "me/it"}, True)]
)
def test_a_space_is_known_by_its_id(environ, on_space):
    assert read_settings([], environ).on_space is on_space


def test_the_home_alone_minds_nothing_else(tmp_path):
    args = build_parser().parse_args(["--port", "no", "--home", str(tmp_path)])
    assert home_from(args, {"PLAYGROUND_MAX_ROWS": "none"}) == tmp_path
    with pytest.raises(ConfigurationError, match="PLAYGROUND_HOME"):
        home_from(build_parser().parse_args([]), {"PLAYGROUND_HOME": "\0"})


@pytest.mark.parametrize(("given", "root_path"), [("/play", "/play"), ("/a/b/", "/a/b"), ("/", ""), ("", "")])
def test_the_path_that_a_proxy_serves(given, root_path):
    assert read_settings([], {"GRADIO_ROOT_PATH": given}).root_path == root_path


@pytest.mark.parametrize("given", ["play", "https://example.org/play", "/a//b", "/a b", '/"'])
def test_a_path_that_no_proxy_serves(given):
    (problem,) = problems_of([], {"GRADIO_ROOT_PATH": given})
    assert problem.startswith("GRADIO_ROOT_PATH: ")

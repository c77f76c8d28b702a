"""Uploaded archives: what an adapter is made of comes out of them whole, and nothing else comes out at all."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from playground.catalog import archive
from playground.catalog.archive import unpack
from playground.errors import InvalidRequest

CONFIG = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "org/base"}).encode()
HEADER = json.dumps({"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + bytes(8)
SOUND = {"adapter_config.json": CONFIG, "adapter_model.safetensors": WEIGHTS}
LIMIT = 1_000_000


def zipped(path: Path, files: dict[str, bytes], **modes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = modes.get("mode", 0) << 16
            opened.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w:gz", extra: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    with tarfile.open(path, mode) as opened:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
        for info in extra:
            opened.addfile(info)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def all_files(top: Path) -> dict[str, bytes]:
    return {str(file.relative_to(top)): file.read_bytes() for file in top.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "make",
    [
        lambda path, files: zipped(path, files),
        lambda path, files: tarred(path, files, "w"),
        lambda path, files: tarred(path, files, "w:gz"),
        lambda path, files: tarred(path, files, "w:bz2"),
        lambda path, files: tarred(path, files, "w:xz"),
    ],
    ids=["zip", "tar", "gz", "bz2", "xz"],
)
def test_an_adapter_comes_out_whole(tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path]) -> None:
    (tmp_path / "out").mkdir()
    files = {f"run/{name}": content for name, content in SOUND.items()}
    files |= {"run/checkpoint-5/adapter_config.json": CONFIG, "run/chat_template.jinja": b"{{ messages }}"}
    beside = {"run/README.md": b"# hi", "run/.gitattributes": b"x", "run/merges.txt": b"a b"}
    unpack(make(tmp_path / "a", files | beside), tmp_path / "out", LIMIT)
    assert all_files(tmp_path / "out") == files


def test_what_tar_and_finder_make_of_a_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "tar").mkdir()
    unpack(tarred(tmp_path / "a", {f"./{name}": content for name, content in SOUND.items()}), tmp_path / "tar", LIMIT)
    assert all_files(tmp_path / "tar") == SOUND
    (tmp_path / "zip").mkdir()
    run = {f"run/{name}": content for name, content in SOUND.items()}
    beside = {"__MACOSX/run/._adapter_config.json": b"\0\5\x16\7", "__MACOSX/._run": b"x", "run/._x.bin": b"\0"}
    unpack(zipped(tmp_path / "b", run | beside | {"run/.DS_Store": b"x"}), tmp_path / "zip", LIMIT)
    assert all_files(tmp_path / "zip") == run


LINKS = {
    "symlink": special("run/link.json", tarfile.SYMTYPE, "/etc/passwd"),
    "hardlink": special("run/link.json", tarfile.LNKTYPE, "/etc/passwd"),
    "fifo": special("run/pipe.json", tarfile.FIFOTYPE),
    "device": special("run/disk.json", tarfile.BLKTYPE),
}
ATTACKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a name that climbs": (
        lambda p: zipped(p, SOUND | {"../evil.json": b"{}"}),
        "'../evil.json' is not allowed: its name",
    ),
    "a name from the root": (lambda p: tarred(p, SOUND | {"/tmp/evil.json": b"{}"}), "leads out"),
    "a climb in the middle": (lambda p: zipped(p, SOUND | {"a/../../evil.json": b"{}"}), "leads out"),
    "a windows path": (lambda p: zipped(p, SOUND | {"..\\evil.json": b"{}"}), "leads out"),
    "a drive": (lambda p: tarred(p, SOUND | {"C:evil.json": b"{}"}), "leads out"),
    **{
        f"a tar {kind}": (lambda p, info=info: tarred(p, SOUND, extra=(info,)), "links and devices are not unpacked")
        for kind, info in LINKS.items()
    },
    "a zip symlink": (
        lambda p: zipped(p, {**SOUND, "x.json": b"/etc/passwd"}, mode=0o120777),
        "links and devices are not unpacked",
    ),
    "a pickle": (lambda p: zipped(p, SOUND | {"training_args.bin": b"\x80\x04."}), "pickles can run code"),
    "nothing but a pickle": (lambda p: zipped(p, {"adapter_model.bin": b"\x80\x04."}), "pickles can run code"),
    "a program": (lambda p: zipped(p, SOUND | {"modeling.py": b"print()"}), "'modeling.py' is not allowed"),
    "an archive within": (lambda p: zipped(p, SOUND | {"more.zip": b"PK"}), "an adapter is safetensors and JSON"),
    "a bomb": (
        lambda p: zipped(p, {**SOUND, "big.safetensors": bytes(4 * LIMIT)}),
        f"unpacked it is larger than {LIMIT:,} bytes",
    ),
    "a bomb of files": (
        lambda p: zipped(p, {**SOUND, **{f"{i}.json": b"{}" for i in range(archive.MAX_FILES)}}),
        "more than 1000 files",
    ),
    "a config that names remote code": (
        lambda p: zipped(p, SOUND | {"config.json": b'{"a": [{"auto_map": {"AutoModel": "x.Y"}}]}'}),
        "auto_map names code",
    ),
    "a config that trusts": (
        lambda p: zipped(p, SOUND | {"config.json": b'{"trust_remote_code": true}'}),
        "trust_remote_code names code",
    ),
    "a name that stands twice": (lambda p: tarred(p, SOUND | {"ADAPTER_config.json": b"{}"}), "it is there twice"),
    "a name that stands twice, once with a dot": (
        lambda p: tarred(p, SOUND | {"./adapter_config.json": b"{}"}),
        "it is there twice",
    ),
    "a dot in the middle": (lambda p: tarred(p, SOUND | {"a/./b.json": b"{}"}), "none that a trainer gives"),
    "a climb after a dot": (lambda p: tarred(p, SOUND | {"./../b.json": b"{}"}), "leads out"),
    "a root after a dot": (lambda p: tarred(p, SOUND | {".//tmp/b.json": b"{}"}), "leads out"),
    "a link of Finder's name": (
        lambda p: tarred(p, SOUND, extra=(special("__MACOSX/link.json", tarfile.SYMTYPE, "/etc/passwd"),)),
        "links and devices are not unpacked",
    ),
    "a name with a newline": (lambda p: tarred(p, SOUND | {"a\nb.json": b"{}"}), "none that a trainer gives"),
    "a file that is a folder": (
        lambda p: tarred(p, SOUND | {"x.json": b"{}", "x.json/y.json": b"{}"}),
        "it is a file and a folder",
    ),
    "no weights": (lambda p: zipped(p, {"adapter_config.json": CONFIG}), "no .safetensors file"),
    "no JSON": (lambda p: zipped(p, SOUND | {"config.json": b"{"}), "'config.json' is not allowed: it is not JSON"),
    "nested JSON": (lambda p: zipped(p, SOUND | {"config.json": b"[" * 100_000}), "it is not JSON"),
}


@pytest.mark.parametrize(("make", "told"), ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_refused_by_name(tmp_path: Path, make: Callable[[Path], Path], told: str) -> None:
    out = tmp_path / "a" / "b" / "out"
    out.mkdir(parents=True)
    with pytest.raises(InvalidRequest, match=told) as raised:
        unpack(make(tmp_path / "archive"), out, LIMIT)
    assert raised.value.param == "archive"
    outside = [file for file in tmp_path.rglob("*") if file.is_file() and out not in file.parents]
    assert outside == [tmp_path / "archive"]
    assert sum(len(content) for content in all_files(out).values()) <= LIMIT + archive._CHUNK
    assert not any(file.is_symlink() for file in out.rglob("*"))


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    made = bytearray(zipped(tmp_path / "plain", SOUND).read_bytes())
    for mark, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = made.find(mark)
        while place >= 0:
            made[place + at] |= 1
            place = made.find(mark, place + 4)
    (tmp_path / "a").write_bytes(made)
    with pytest.raises(InvalidRequest, match="it is encrypted"):
        unpack(tmp_path / "a", tmp_path, LIMIT)


@pytest.mark.parametrize("make", [zipped, tarred], ids=["zip", "tar"])
def test_whatever_is_broken_says_so(tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path]) -> None:
    whole = make(tmp_path / "whole", {**SOUND, "more.safetensors": os.urandom(3000)}).read_bytes()
    for number, cut in enumerate(range(0, len(whole), 97)):
        broken = bytearray(whole)
        if number % 2:
            broken[cut] ^= 0xFF
        else:
            del broken[cut:]
        (tmp_path / "a").write_bytes(broken)
        out = tmp_path / f"out{number}"
        out.mkdir()
        try:
            unpack(tmp_path / "a", out, LIMIT)
        except InvalidRequest as error:
            assert error.message.startswith("archive: ")  # noqa: PT017 - some breaks are not seen, none is anything else

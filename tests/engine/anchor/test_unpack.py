"""Zip files from elsewhere: only a package's files come out, whatever is tried."""

import json
import random
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.anchor import unpack as unpacking
from engine.anchor.unpack import MANIFEST, unpack
from engine.errors import AvatarError
from tests.engine.anchor.packed import Entries, manifest_of, write_zip

WHOLE: Entries = {
    "avatar.json": b'{"schema": 2}',
    "anchor.mp4": bytes(range(256)) * 40,
    "clips/wave.mp4": b"film",
    "clips/wave.matte.mp4": b"matte",
    "mouth/model.json": b"{}",
    "mouth/face_encoder.onnx": b"onnx",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Empty, with a neighbour that must stay as it is."""
    (tmp_path / "in" / "neighbour").mkdir(parents=True)
    (tmp_path / "in" / "neighbour" / "avatar.json").write_text("mine")
    (tmp_path / "in" / "package").mkdir()
    return tmp_path / "in" / "package"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "a.zip", WHOLE)


def unpacked(archive: Path, folder: Path) -> Entries:
    unpack(archive, folder, lambda *_: None)
    return tree(folder)


def tree(folder: Path) -> Entries:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive: Path, folder: Path) -> str:
    """The one sentence; the neighbour is untouched and nothing lies outside."""
    with pytest.raises(AvatarError) as caught:
        unpack(archive, folder, lambda *_: None)
    assert "\n" not in str(caught.value)
    assert "a.zip" in str(caught.value)
    untouched(folder)
    return str(caught.value)


def untouched(folder: Path) -> None:
    assert {path.name for path in folder.parent.iterdir()} == {"neighbour", "package"}
    assert tree(folder.parent / "neighbour") == {"avatar.json": b"mine"}
    assert all(not path.is_symlink() for path in folder.rglob("*"))


def test_a_whole_archive_comes_out_as_it_went_in(archive: Path, folder: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    unpack(archive, folder, lambda *told: heard.append(told))
    assert tree(folder) == WHOLE
    assert {step for step, _, _ in heard} == {"unpack"}
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)
    assert heard[-1][1] == heard[-1][2] == 10


def test_what_zip_programs_add_is_borne(tmp_path: Path, folder: Path) -> None:
    """Entries for the folders, stored or deflated, from a system without modes."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for place in ("clips/", "mouth/"):
            opened.writestr(zipfile.ZipInfo(place), b"")
        for number, (name, content) in enumerate(WHOLE.items()):
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 0, 0x20
            opened.writestr(entry, content, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number % 2])
        opened.writestr(MANIFEST, manifest_of(WHOLE))
    assert unpacked(archive, folder) == WHOLE


@pytest.mark.parametrize(
    "name",
    [
        "../neighbour/avatar.json",
        "clips/../../neighbour/avatar.json",
        "/etc/passwd",
        "C:/avatar.json",
        "C:avatar.json",
        "..\\neighbour\\avatar.json",
        "\\\\server\\share\\avatar.json",
        "./avatar.json",
        "mouth//model.json",
        "AVATAR.JSON",
        "Anchor.mp4",
        "clips/Wave.mp4",
        "avatar.json\n",
        "avatar.json ",
        "avatar.json/",
        "clips/",
        "clips/a/b.mp4",
        "clips/.mp4",
        f"clips/{'a' * 33}.mp4",
        "clips/wävé.mp4",
        "clips/wave.mp4:stream",
        "mouth/run.py",
        "mouth/face_encoder.onnx.data",
        "mouth/weights.bin",
        "anchor.mp4.part",
        ".footage.json",
        "__MACOSX/._avatar.json",
        "con",
        "a" * 5000,
    ],
)
def test_names_that_no_package_has(name: str, tmp_path: Path, folder: Path) -> None:
    assert "a.zip" in refusal(write_zip(tmp_path / "a.zip", {**WHOLE, name: b"evil"}), folder)
    assert tree(folder) == {}


def test_a_name_cut_by_a_nul(archive: Path, folder: Path) -> None:
    """zipfile shows what is before the NUL, other programs what is behind."""
    content = archive.read_bytes().replace(b"clips/wave.mp4", b"avatar.json\0xy")
    archive.write_bytes(content)
    assert "avatar.json\\x00xy" in refusal(archive, folder)


def test_random_names_never_leave_the_folder(tmp_path: Path, folder: Path) -> None:
    rng = random.Random(6)
    parts = [
        "..",
        ".",
        "/",
        "\\",
        "C:",
        "\n",
        "\t",
        "~",
        "clips",
        "mouth",
        "wave",
        ".mp4",
        ".MP4",
        "avatar.json",
    ]
    parts += ["neighbour", "é", "\u202e", "%2e%2e", "\u2215", "con", "*", "|", "-", " "]
    for _ in range(150):
        name = "".join(rng.choices(parts, k=rng.randint(1, 6)))
        if unpacking_allows(name):
            continue
        refusal(write_zip(tmp_path / "a.zip", {name: b"evil"}), folder)
        assert tree(folder) == {}


def unpacking_allows(name: str) -> bool:
    return name in (
        "clips/wave.mp4",
        "clips/mouth.mp4",
        "clips/con.mp4",
        "clips/neighbour.mp4",
        "avatar.json",
    )


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices(kind: int, tmp_path: Path, folder: Path) -> None:
    entries = {**WHOLE, "anchor.mp4": b"../neighbour/avatar.json"}
    archive = write_zip(tmp_path / "a.zip", entries, modes={"anchor.mp4": kind | 0o777})
    assert "link or a device" in refusal(archive, folder)


def test_a_name_that_comes_twice(tmp_path: Path, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        archive = tmp_path / "a.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            for content in (b"one", b"two"):
                opened.writestr("anchor.mp4", content)
            opened.writestr(MANIFEST, manifest_of({"anchor.mp4": b"two"}))
    assert "anchor.mp4 twice" in refusal(archive, folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing(method: int, tmp_path: Path, folder: Path) -> None:
    assert "unusual" in refusal(write_zip(tmp_path / "a.zip", WHOLE, method=method), folder)


def test_an_encrypted_file(archive: Path, folder: Path) -> None:
    content = bytearray(archive.read_bytes())
    place = content.index(b"PK\x01\x02")
    struct.pack_into("<H", content, place + 8, 1)
    archive.write_bytes(content)
    assert "encrypted" in refusal(archive, folder)


def test_a_bomb_of_zeros(tmp_path: Path, folder: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {**WHOLE, "avatar.json": bytes(20 << 20)})
    assert archive.stat().st_size < 60_000
    assert "far more" in refusal(archive, folder)
    assert sum(map(len, tree(folder).values())) < 8 << 20


def test_a_file_beyond_its_bound(tmp_path: Path, folder: Path) -> None:
    assert "larger than" in refusal(
        write_zip(tmp_path / "a.zip", {**WHOLE, "mouth/model.json": bytes(2 << 20)}), folder
    )


def test_more_than_all_may_hold(archive: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_BYTES", 5000)
    assert "far more" in refusal(archive, folder)


def claim(archive: Path, size: int) -> None:
    """Both headers say that anchor.mp4 has `size` bytes."""
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(b"anchor.mp4", content.index(signature))
        struct.pack_into("<I", content, content.rindex(signature, 0, start) + offset, size)
    archive.write_bytes(content)


def test_a_header_that_says_too_little(archive: Path, folder: Path) -> None:
    claim(archive, 3)
    refusal(archive, folder)


def test_a_header_that_says_too_much(archive: Path, folder: Path) -> None:
    """What is really there counts."""
    claim(archive, 1 << 30)
    assert unpacked(archive, folder) == WHOLE
    claim(archive, (1 << 30) + 1)
    with pytest.raises(AvatarError, match="larger than"):
        unpack(archive, folder, lambda *_: None)


def test_too_many_files(tmp_path: Path, folder: Path) -> None:
    many = {f"clips/c{number}.mp4": b"x" for number in range(100)}
    assert "more than 80 files" in refusal(write_zip(tmp_path / "a.zip", many), folder)


def test_a_directory_that_would_fill_the_memory(tmp_path: Path, folder: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for number in range(6000):
            opened.writestr(f"{number:0200d}", b"")
    assert "directory is too large" in refusal(archive, folder)


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (b"{", "damaged"),
        (b"\xff", "damaged"),
        (b"[]", "schema"),
        (b"[" * 60_000, "damaged"),
        (b'{"schema": 2, "files": {}}', "schema"),
        (b'{"schema": 1, "files": []}', "lists no files"),
        (b'{"schema": 1, "files": {"avatar.json": 3}}', "lists no files"),
        (b'{"schema": 1, "files": {}}', "only in"),
        (b'{"schema": 1}', "lists no files"),
        (b" " * 70_000, "larger than"),
    ],
)
def test_manifests_that_are_none(manifest: bytes, says: str, tmp_path: Path, folder: Path) -> None:
    assert says in refusal(write_zip(tmp_path / "a.zip", WHOLE, manifest), folder)


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    manifest = json.loads(manifest_of(WHOLE))
    change(manifest["files"])
    return json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (changed(lambda files: files.pop("anchor.mp4")), "'anchor.mp4' is only in"),
        (changed(lambda files: files.update({"mask.png": {"sha256": ""}})), "'mask.png' is only in"),
        (changed(lambda files: files["anchor.mp4"].update(sha256="0" * 64)), "anchor.mp4 is not what"),
        (changed(lambda files: files["anchor.mp4"].pop("sha256")), "anchor.mp4 is not what"),
        (changed(lambda files: files["anchor.mp4"].update(sha256=7)), "anchor.mp4 is not what"),
    ],
)
def test_a_manifest_that_does_not_fit(manifest: bytes, says: str, tmp_path: Path, folder: Path) -> None:
    assert says in refusal(write_zip(tmp_path / "a.zip", WHOLE, manifest), folder)


def test_no_manifest(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("avatar.json", b"{}")
    assert "no manifest.json" in refusal(tmp_path / "a.zip", folder)


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all", b"PK\x05\x06" + bytes(18), bytes(3 << 20)])
def test_what_is_no_zip_file(content: bytes, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    refusal(tmp_path / "a.zip", folder)


def test_no_file_at_all(tmp_path: Path, folder: Path) -> None:
    assert "no file" in refusal(tmp_path / "a.zip", folder)
    (tmp_path / "a.zip").mkdir()
    assert "no file" in refusal(tmp_path / "a.zip", folder)


def test_random_damage_is_told_or_harmless(archive: Path, folder: Path) -> None:
    """Whatever is flipped, cut or doubled: one sentence, or the very files of before."""
    whole = archive.read_bytes()
    rng = random.Random(66)
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(content))
            match rng.randrange(4):
                case 0:
                    content[place] = rng.randrange(256)
                case 1:
                    del content[place : place + rng.randint(1, 40)]
                case 2:
                    content[place:place] = content[place : place + rng.randint(1, 40)]
                case _:
                    # The directory at the end is where most can be said wrongly.
                    content[-1 - rng.randrange(min(900, len(content)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        archive.write_bytes(content)
        try:
            unpack(archive, folder, lambda *_: None)
        except AvatarError:
            refused += 1
        else:
            assert tree(folder) == WHOLE
        untouched(folder)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert refused > 200

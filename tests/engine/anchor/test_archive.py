"""Avatars out and in again: nothing lost, nothing half-written, nobody else touched."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.anchor import archive as archives
from engine.anchor import package
from engine.anchor.archive import clear_imports, export_avatar, import_avatar, validate_archive
from engine.anchor.card import CARD, Consent, read_card, write_card
from engine.anchor.package import MASK, Avatar, list_avatars, package_files
from engine.anchor.package_checks import problems
from engine.anchor.unpack import MANIFEST
from engine.errors import AvatarError
from tests.engine.anchor.packed import Entries, entries_of, write_zip
from tests.engine.anchor.test_package import old_card

AGREED = Consent("person", "Mei", "I agreed.", "2026-02-03")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the user's own avatars; there is no other and it does not exist yet."""
    monkeypatch.setattr(package, "_PACKAGED", tmp_path / "shipped")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture(scope="module")
def packed(avatar_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_avatar(avatar_folder, tmp_path_factory.mktemp("packed") / "fake.zip")


@pytest.fixture
def entries(packed: Path) -> Entries:
    return entries_of(packed)


def tree(folder: Path) -> Entries:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_out_and_in_again_it_is_the_same(avatar_folder: Path, packed: Path, own: Path) -> None:
    assert import_avatar(packed) == own / "fake"
    assert tree(own / "fake") == tree(avatar_folder)
    assert list_avatars() == ["fake"]
    assert {path.name for path in own.iterdir()} == {"fake"}
    Avatar.load(own / "fake")


def test_the_archive_holds_the_package_and_its_manifest(packed: Path) -> None:
    with zipfile.ZipFile(packed) as opened:
        names = opened.namelist()
        manifest = json.loads(opened.read(MANIFEST))
    assert sorted(names) == sorted(
        [
            CARD,
            MANIFEST,
            "anchor.mp4",
            "mouth/face_encoder.onnx",
            "mouth/model.json",
            "mouth/mouth_decoder.onnx",
        ]
    )
    assert manifest["schema"] == 1
    assert manifest["files"].keys() == set(names) - {MANIFEST}
    assert manifest["files"]["anchor.mp4"]["bytes"] > 1000


def test_the_same_avatar_gives_the_same_file(avatar_folder: Path, packed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(avatar_folder, tmp_path / "fake")
    assert export_avatar(copy, tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_progress_is_told_step_by_step(avatar_folder: Path, own: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    export_avatar(avatar_folder, tmp_path / "f.zip", tell=lambda *told: heard.append(told))
    assert list(dict.fromkeys(step for step, _, _ in heard)) == ["check", "mouth", "pack"]
    assert heard[-1][1] == heard[-1][2] > 0
    heard.clear()
    import_avatar(tmp_path / "f.zip", tell=lambda *told: heard.append(told))
    assert list(dict.fromkeys(step for step, _, _ in heard)) == ["unpack", "check", "mouth"]


def test_a_shared_mouth_is_packed(avatar_folder: Path, own: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(avatar_folder, tmp_path / "others" / "fake")
    shutil.move(copy / "mouth", copy.parent / "mouths" / "tiny")
    write_card(copy, replace(read_card(copy), mouth="../mouths/tiny"))
    (copy / "notes.txt").write_text("not for others")
    folder = import_avatar(export_avatar(copy, tmp_path / "f.zip"))
    assert tree(folder) == tree(avatar_folder)


def test_clips_and_mattes_go_along(avatar_folder: Path, own: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(avatar_folder, tmp_path / "others" / "fake")
    (copy / "clips").mkdir()
    for name in ("matte.mp4", "clips/wave.mp4", "clips/wave.matte.mp4"):
        shutil.copyfile(copy / "anchor.mp4", copy / name)
    card = read_card(copy)
    wave = replace(card.idle, name="wave", kind="greeting", file="clips/wave.mp4", loop="once")
    write_card(copy, replace(card, clips=(card.idle, wave)))
    folder = import_avatar(export_avatar(copy, tmp_path / "f.zip"), name="小美")
    assert tree(folder).keys() == tree(copy).keys()
    assert package_files(folder, read_card(folder)).keys() == tree(copy).keys()
    loaded = Avatar.load(folder)
    assert [clip.name for clip in loaded.card.clips] == ["idle", "wave"]
    assert loaded.mattes is not None


def test_another_name(packed: Path, own: Path) -> None:
    import_avatar(packed)
    assert import_avatar(packed, name="second") == own / "second"
    assert read_card(own / "second").name == "second"
    assert read_card(own / "fake").name == "fake"
    assert {path.name for path in own.iterdir()} == {"fake", "second"}


def test_a_copied_folder_goes_out_under_its_own_name(avatar_folder: Path, own: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(avatar_folder, tmp_path / "twin")
    assert import_avatar(export_avatar(copy, tmp_path / "f.zip")) == own / "twin"


def refused(archive: Path, own: Path, name: str | None = None) -> str:
    """Why; everything of the user's stays as it was, and no folder is made for nothing."""
    existed, before = own.exists(), tree(own)
    with pytest.raises(AvatarError) as caught:
        import_avatar(archive, name=name)
    assert "\n" not in str(caught.value)
    assert tree(own) == before
    assert own.exists() == existed
    assert not existed or all(not path.name.startswith(".") for path in own.iterdir())
    return str(caught.value)


def test_a_name_that_is_taken(packed: Path, own: Path, avatar_folder: Path, tmp_path: Path) -> None:
    import_avatar(packed)
    assert "avatar fake already" in refused(packed, own)
    assert "avatar fake already" in refused(packed, own, "fake")
    shutil.copytree(avatar_folder, tmp_path / "shipped" / "kai")
    assert "avatar kai already" in refused(packed, own, "kai")
    (own / "half").mkdir()
    assert "avatar half already" in refused(packed, own, "half")


@pytest.mark.parametrize(
    "name", ["", "..", "../up", "a/b", "/etc", ".hidden", "mouths", "a b", "jobs", "x" * 65, "a\n"]
)
def test_names_that_cannot_be(name: str, packed: Path, own: Path, entries: Entries, tmp_path: Path) -> None:
    assert "cannot name" in refused(packed, own, name)
    card = {**json.loads(entries[CARD]), "name": name}
    spoilt = write_zip(tmp_path / "a.zip", {**entries, CARD: json.dumps(card).encode()})
    reason = refused(spoilt, own)
    assert "cannot name" in reason
    assert validate_archive(spoilt)[0].sentence == reason


def with_card(entries: Entries, **fields: object) -> Entries:
    return {**entries, CARD: json.dumps({**json.loads(entries[CARD]), **fields}).encode()}


def without(entries: Entries, name: str) -> Entries:
    return {key: content for key, content in entries.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda e: with_card(e, consent=None), "who agreed"),
        (lambda e: with_card(e, schema=1), "damaged"),
        (lambda e: with_card(e, schema=3), "schema 3"),
        (lambda e: with_card(e, schema="2; rm -rf"), "schema"),
        (lambda e: with_card(e, fps=30), "fps"),
        (lambda e: with_card(e, mouth="../../ada/mouth"), ""),
        (lambda e: with_card(e, size=[64, 64]), "64x64"),
        (lambda e: {**e, CARD: b"{"}, "damaged"),
        (lambda e: without(e, CARD), "no avatar package"),
        (lambda e: without(e, "anchor.mp4"), "anchor.mp4"),
        (lambda e: without(e, "mouth/model.json"), "model.json"),
        (lambda e: {**e, "anchor.mp4": b"#EXTM3U\nfile:///etc/passwd"}, "no MP4"),
        (lambda e: {**e, "mouth/mouth_decoder.onnx": b"\x80\x04pickle"}, "mouth_decoder.onnx"),
    ],
)
def test_packages_that_are_unfit(
    spoil: Callable[[Entries], Entries], says: str, entries: Entries, own: Path, tmp_path: Path
) -> None:
    spoilt = write_zip(tmp_path / "a.zip", spoil(entries))
    if not says:  # its own mouth is taken whatever the card says
        assert read_card(import_avatar(spoilt)).mouth == "mouth"
        return
    assert says in refused(spoilt, own)
    assert any(says in check.sentence for check in problems(validate_archive(spoilt)))


def test_a_hostile_zip_leaves_nothing(entries: Entries, own: Path, tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {**entries, "../evil": b"x"})
    assert "evil" in refused(tmp_path / "a.zip", own)
    own.mkdir()
    assert "evil" in refused(tmp_path / "a.zip", own)
    assert not list(tmp_path.rglob("evil"))


def test_an_archive_is_validated_without_being_imported(packed: Path, own: Path) -> None:
    checks = validate_archive(packed)
    assert checks[0].code == "archive"
    assert {check.verdict for check in checks} == {"ok"}
    assert not own.exists()


class Stop(BaseException):
    """The user's Ctrl-C."""


@pytest.mark.parametrize("at", ["unpack", "check", "mouth"])
def test_an_import_that_is_interrupted(at: str, packed: Path, own: Path) -> None:
    def tell(step: str, done: int, of: int) -> None:
        if step == at:
            raise Stop

    for _ in range(2):
        with pytest.raises(Stop):
            import_avatar(packed, tell=tell)
        assert not own.exists()
    import_avatar(packed)
    before = tree(own)
    with pytest.raises(Stop):
        import_avatar(packed, name="second", tell=tell)
    assert tree(own) == before
    assert {path.name for path in own.iterdir()} == {"fake"}


KILLED = """
import os, signal, sys
from pathlib import Path
from engine.anchor.archive import import_avatar
def tell(step, done, of):
    if step == "check":
        os.kill(os.getpid(), signal.SIGKILL)
import_avatar(Path(sys.argv[1]), tell=tell)
"""


def test_an_import_that_is_killed_is_no_avatar(packed: Path, own: Path) -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", KILLED, packed], cwd=root, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list_avatars() == []
    assert all(path.name.startswith(".") for path in own.iterdir())
    assert import_avatar(packed) == own / "fake"
    assert list_avatars() == ["fake"]


def test_where_nothing_may_be_written(packed: Path, own: Path) -> None:
    own.write_text("a file where the folder should be")
    with pytest.raises(AvatarError, match="cannot be written"):
        import_avatar(packed)
    assert own.read_text() == "a file where the folder should be"


def test_an_export_does_not_replace_a_file(avatar_folder: Path, tmp_path: Path, packed: Path) -> None:
    target = tmp_path / "f.zip"
    target.write_text("mine")
    with pytest.raises(AvatarError, match="--force"):
        export_avatar(avatar_folder, target)
    assert target.read_text() == "mine"
    assert export_avatar(avatar_folder, target, force=True).read_bytes() == packed.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["f.zip"]


def test_an_export_that_is_interrupted(avatar_folder: Path, tmp_path: Path) -> None:
    def tell(step: str, done: int, of: int) -> None:
        if step == "pack":
            raise Stop

    (tmp_path / "f.zip").write_text("mine")
    for target in ("f.zip", "g.zip"):
        with pytest.raises(Stop):
            export_avatar(avatar_folder, tmp_path / target, force=True, tell=tell)
    assert tree(tmp_path) == {"f.zip": b"mine"}


def test_an_export_to_nowhere(avatar_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match="cannot be written"):
        export_avatar(avatar_folder, tmp_path / "none" / "f.zip")
    (tmp_path / "folder").mkdir()
    with pytest.raises(AvatarError, match="cannot be written"):
        export_avatar(avatar_folder, tmp_path / "folder", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_damaged_avatar_is_not_exported(avatar_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(avatar_folder, tmp_path / "fake")
    (copy / "anchor.mp4").write_bytes(b"")
    (copy / "mouth" / "model.json").unlink()
    with pytest.raises(AvatarError, match=r"fake is not exported: .*no MP4.*\(1 more"):
        export_avatar(copy, tmp_path / "f.zip")
    assert not (tmp_path / "f.zip").exists()


def test_what_is_too_large_is_not_exported(
    avatar_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 100)
    with pytest.raises(AvatarError, match="larger than"):
        export_avatar(avatar_folder, tmp_path / "f.zip")
    assert not list(tmp_path.iterdir())


def test_schema_1_goes_out_with_a_consent_as_schema_2(avatar_folder: Path, own: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(avatar_folder, tmp_path / "old")
    old_card(copy)
    before = tree(copy)
    with pytest.raises(AvatarError, match="--consent-by"):
        export_avatar(copy, tmp_path / "f.zip")
    folder = import_avatar(export_avatar(copy, tmp_path / "f.zip", consent=AGREED))
    assert tree(copy) == before
    assert json.loads((folder / CARD).read_text())["schema"] == 2
    assert read_card(folder).consent == AGREED
    assert (folder / MASK).read_bytes() == (copy / MASK).read_bytes()
    np.testing.assert_array_equal(Avatar.load(folder).mask(3), Avatar.load(copy).mask(3))


def test_a_consent_is_not_written_over(avatar_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match="a consent already"):
        export_avatar(avatar_folder, tmp_path / "f.zip", consent=AGREED)


def test_two_imports_at_once(packed: Path, own: Path) -> None:
    """Of the same name one wins, whole; the other is told."""
    inner: list[str] = []

    def tell(step: str, done: int, of: int) -> None:
        if step == "mouth" and not inner:
            inner.append(str(import_avatar(packed)))

    with pytest.raises(AvatarError, match="cannot be written"):
        import_avatar(packed, tell=tell)
    assert inner == [str(own / "fake")]
    assert {path.name for path in own.iterdir()} == {"fake"}
    Avatar.load(own / "fake")


def test_modes_are_the_users(packed: Path, own: Path) -> None:
    """Nothing that is imported can be run."""
    folder = import_avatar(packed)
    assert not any(os.access(path, os.X_OK) for path in folder.rglob("*") if path.is_file())


def test_what_a_killed_import_left_is_cleared(packed: Path, own: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from engine.anchor.archive import import_avatar
        import_avatar(Path({str(packed)!r}), tell=lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    """
    root = Path(__file__).parents[3]
    environment = os.environ | {"KOUBO_AVATARS": str(own)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=root, env=environment, check=False
    )
    assert done.returncode == -9
    (left,) = own.iterdir()
    assert left.name.startswith(".import-")
    young, old = own / ".import-young", own / ".import-old"
    for folder in (young, old):
        (folder / "package").mkdir(parents=True)
    os.utime(old, (1e9, 1e9))
    clear_imports(own)
    assert list(own.iterdir()) == [young], "its lock may be about to come"


def test_an_import_that_goes_on_is_left_alone(packed: Path, own: Path) -> None:
    clearing = threading.Thread(target=clear_imports, args=(own,))

    def tell(step: str, done: int, of: int) -> None:
        if not clearing.ident:
            clearing.start()
            clearing.join()

    assert import_avatar(packed, tell=tell) == own / "fake"
    assert clearing.ident
    assert {path.name for path in own.iterdir()} == {"fake"}


def test_there_is_nothing_to_clear_where_there_is_no_folder(tmp_path: Path) -> None:
    clear_imports(tmp_path / "nowhere")

"""Avatar packages: loading, finding, and every kind of damage."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.anchor import package
from engine.anchor.card import CARD, read_card, write_card
from engine.anchor.crop import extract
from engine.anchor.footage import footage_of, remember_footage
from engine.anchor.package import (
    MASK,
    RESERVED,
    Avatar,
    check_free,
    check_name,
    delete,
    find_avatar,
    is_own,
    list_avatars,
    own_avatars,
    package_files,
    shipped_mouth,
)
from engine.errors import AvatarError
from engine.mouth.sheet import read_sheet
from tests.fakes import FRAME_SIZE, FRAMES, SIZE, paint_face

OTHER_SIZE = json.dumps(
    {"schema": 2, "preset": "tiny", "size": 96, "mel_lead_ticks": 3, "maps": [[3, 96, 96]], "trained": {}}
).encode()


@pytest.fixture
def copy(avatar_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(avatar_folder, tmp_path / "avatars" / "fake")


def test_loads_frames_mask_and_faces(avatar: Avatar) -> None:
    assert (avatar.name, avatar.frames, avatar.size, avatar.crop_size) == ("fake", FRAMES, FRAME_SIZE, SIZE)
    width, height = FRAME_SIZE
    assert avatar.frame(0).shape == (height * 3 // 2, width)
    assert np.abs(avatar.rgb(3).astype(int) - paint_face(width, height, seed=3)).mean() < 4
    assert avatar.mask(0).shape == (SIZE, SIZE)
    assert avatar.mask(0).max() > 0.95
    np.testing.assert_array_equal(avatar.face(2), extract(avatar.rgb(2), avatar.card.crops[2], SIZE))
    assert avatar.face(2) is avatar.face(2)


def test_what_is_shared_cannot_be_changed(avatar: Avatar) -> None:
    with pytest.raises(ValueError, match="read-only"):
        avatar.frame(0)[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        avatar.face(0)[0, 0] = 1


def test_a_card_comes_back_as_it_was_written(avatar: Avatar, tmp_path: Path) -> None:
    write_card(tmp_path, avatar.card)
    card = read_card(tmp_path)
    for crop, before in zip(card.crops, avatar.card.crops, strict=True):
        assert crop.cx == pytest.approx(before.cx, abs=1e-4)
        assert crop.angle == pytest.approx(before.angle, abs=1e-6)
    assert card == avatar.card


def test_a_mouth_may_be_shared_beside_the_package(copy: Path) -> None:
    shutil.move(copy / "mouth", copy.parent / "mouths" / "tiny")
    change(mouth="../mouths/tiny")(copy)
    assert Avatar.load(copy).mouth == (copy.parent / "mouths" / "tiny").resolve()


def change(**fields: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        card = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps({**card, **fields}))

    return apply


def change_clip(**fields: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        clip = json.loads((folder / CARD).read_text())["clips"][0]
        change(clips=[{**clip, **fields}])(folder)

    return apply


def old_card(folder: Path) -> None:
    """Make the package in `folder` one of schema 1."""
    card = json.loads((folder / CARD).read_text())
    (clip,) = card.pop("clips")
    clip.pop("outlines")
    clip.pop("shares")
    (folder / CARD).write_text(
        json.dumps({**card, **clip, "name": card["name"], "schema": 1, "consent": "drawn"})
    )
    cv2.imwrite(str(folder / MASK), np.full((SIZE, SIZE), 200, np.uint8))


def old(damage: Callable[[Path], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        old_card(folder)
        damage(folder)

    return apply


def without(key: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        card = json.loads((folder / CARD).read_text())
        del card[key]
        (folder / CARD).write_text(json.dumps(card))

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return apply


def cut(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:3000])

    return apply


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (remove(CARD), "no avatar package"),
        (overwrite(CARD, b"{"), "damaged"),
        (overwrite(CARD, b"\xff\xfe\x00"), "damaged"),
        (overwrite(CARD, b"[]"), "no JSON object"),
        (change(schema=3), "schema 3"),
        (change(fps=30), "fps is 30"),
        (change_clip(loop="sideways"), "sideways"),
        (change(size=[161, 192]), "odd"),
        (change(size=[160]), "damaged"),
        (change(size="big"), "size"),
        (change_clip(crops=[]), "0 crops"),
        (change_clip(frames=9), "10 crops for 9"),
        (change_clip(crops=[[1, 2, 3]] * FRAMES), "damaged"),
        (change_clip(crops=[[1, 2, float("nan"), 0]] * FRAMES), "crops holds nan"),
        (change_clip(crops=[[1, 2, 0, 0]] * FRAMES), "side 0"),
        (change_clip(outlines=[[0.5] * 35] * FRAMES), "18 points"),
        (change_clip(outlines=[[0.5] * 36] * 3), "3 outlines"),
        (change_clip(shares=[1.5] * FRAMES), "share is 1.5"),
        (change_clip(kind="talking"), "begin with an idle one"),
        (change_clip(kind="dance"), "dance"),
        (change_clip(name="../up"), "lower-case"),
        (change_clip(file="../../anchor.mp4"), "not in anchor.mp4"),
        (change(clips=[]), "begin with an idle one"),
        (change(consent={"shown": "person", "by": "", "statement": "x", "on": "2026-01-31"}), "nobody"),
        (change(consent={"shown": "person", "by": "I", "statement": "x", "on": "soon"}), "soon"),
        (change(crop_size=True), "crop_size"),
        (change(title="Fake"), "title"),
        (change(licence=None), "licence is no text"),
        (without("consent"), "consent is missing"),
        (remove("anchor.mp4"), "anchor.mp4"),
        (overwrite("anchor.mp4", b"no video"), "anchor.mp4"),
        (cut("anchor.mp4"), "damaged"),
        (
            change_clip(crops=[[80, 110, 90, 0]] * 4, frames=4, outlines=[], shares=[1] * 4),
            "holds 10 pictures",
        ),
        (change(size=[192, 160]), "another size"),
        (old(remove("mask.png")), "mask.png"),
        (old(overwrite("mask.png", b"no picture")), "mask.png"),
        (old(change(crop_size=96)), "mask.png|mouth draws"),
        (change(mouth="../../mouth"), "outside"),
        (change(mouth="/etc"), "outside"),
        (change(mouth="elsewhere"), "lacks"),
        (remove("mouth/mouth_decoder.onnx"), "mouth_decoder.onnx"),
        (overwrite("mouth/model.json", b"{}"), "model.json"),
        (overwrite("mouth/model.json", b'{"schema": 9, "size": 64}'), "schema 9"),
        (overwrite("mouth/model.json", b'{"schema": 1, "size": 64}'), "exported by Koubo 0.1"),
        (overwrite("mouth/model.json", OTHER_SIZE), "mouth draws 96"),
    ],
)
def test_damage_is_told_in_one_sentence(copy: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(copy)
    with pytest.raises(AvatarError, match=says) as caught:
        Avatar.load(copy)
    assert "\n" not in str(caught.value)


def test_a_package_of_schema_1_is_read_as_one_idle_clip(copy: Path, avatar: Avatar) -> None:
    old_card(copy)
    read = Avatar.load(copy)
    assert [clip.name for clip in read.card.clips] == ["idle"]
    assert (read.card.idle.loop, read.card.crops) == ("pingpong", avatar.card.crops)
    assert read.card.consent is None
    np.testing.assert_allclose(read.mask(4), 200 / 255, atol=1e-6)


def test_a_mouth_without_a_sheet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"model\.json"):
        read_sheet(tmp_path)


def test_avatars_are_found_by_name_and_by_path(
    copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(package, "_PACKAGED", tmp_path / "shipped")
    monkeypatch.setenv("KOUBO_AVATARS", str(copy.parent))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(copy, tmp_path / "home" / ".local" / "share" / "koubo" / "avatars" / "mine")
    shutil.copytree(copy, tmp_path / "home" / ".local" / "share" / "koubo" / "avatars" / "fake")
    assert list_avatars() == ["fake", "mine"]
    assert find_avatar("fake") == copy
    assert find_avatar(str(copy)) == copy
    with pytest.raises(AvatarError, match="'nobody'; known avatars: fake, mine"):
        find_avatar("nobody")
    with pytest.raises(AvatarError, match="no avatar"):
        find_avatar("../avatars")


def test_no_avatar_at_all_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(package, "_PACKAGED", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KOUBO_AVATARS", raising=False)
    with pytest.raises(AvatarError, match="none is installed"):
        find_avatar("ada")


def test_new_avatars_go_to_the_first_named_folder_else_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KOUBO_AVATARS", raising=False)
    assert own_avatars() == tmp_path / ".local" / "share" / "koubo" / "avatars"
    monkeypatch.setenv("KOUBO_AVATARS", os.pathsep.join(["", "/first", "/second"]))
    assert own_avatars() == Path("/first")


@pytest.fixture
def places(avatar_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Avatars everywhere: `shipped/ada`, `named/mei`, and `yours` at home."""
    monkeypatch.setattr(package, "_PACKAGED", tmp_path / "shipped")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KOUBO_AVATARS", os.pathsep.join([str(tmp_path / "named"), str(tmp_path / "shipped")]))
    home = tmp_path / "home" / ".local" / "share" / "koubo" / "avatars"
    for folder in (
        tmp_path / "shipped" / "ada",
        tmp_path / "named" / "mei",
        home / "yours",
        tmp_path / "far",
    ):
        shutil.copytree(avatar_folder, folder)
    return tmp_path


@pytest.mark.parametrize("name", ["mei", "Mei-2", "小美", "josé", "4k", "a_b", "x" * 64])
def test_names_that_an_avatar_may_have(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".mei",
        "-mei",
        "_mei",
        "a/b",
        "a\\b",
        "a.b",
        "a b",
        "mei\n",
        "\0",
        "x" * 65,
        "C:",
        "~",
        *RESERVED,
    ],
)
def test_names_that_it_may_not_have(name: str) -> None:
    with pytest.raises(AvatarError, match="cannot name an avatar"):
        check_name(name)


def test_a_name_is_free_where_no_avatar_has_it(places: Path) -> None:
    check_free("new-one")
    for name in ("ada", "mei", "yours"):
        with pytest.raises(AvatarError, match=f"an avatar {name} already"):
            check_free(name)
    (places / "named" / "folder").mkdir()
    with pytest.raises(AvatarError, match="an avatar folder already"):
        check_free("folder")


def test_own_avatars_are_those_of_home_and_of_named_folders(places: Path) -> None:
    own = {name for name in list_avatars() if is_own(find_avatar(name))}
    assert own == {"mei", "yours"}
    assert not is_own(places / "far")


def everything(places: Path) -> set[str]:
    return {str(path.relative_to(places)) for path in places.rglob("*")}


@pytest.mark.parametrize("name", ["mei", "yours"])
def test_deleting_takes_one_avatar_and_nothing_else(name: str, places: Path) -> None:
    before, folder = everything(places), find_avatar(name)
    delete(name)
    gone = str(folder.relative_to(places))
    assert everything(places) == {path for path in before if path != gone and not path.startswith(f"{gone}/")}


def test_what_was_noted_of_its_footage_goes_along(places: Path) -> None:
    for name in ("mei", "lin"):
        remember_footage(places / "named" / name, places / f"{name}.mp4")
    delete("mei")
    assert footage_of(places / "named" / "mei") is None
    assert footage_of(places / "named" / "lin") == places / "lin.mp4"


def test_deleting_by_path(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delete(str(places / "named" / "mei"))
    monkeypatch.chdir(find_avatar("yours").parent.parent)
    delete("avatars/yours")
    assert list_avatars() == ["ada"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ada", "comes with Koubo"),
        ("{}/shipped/ada", "comes with Koubo"),
        ("{}/named/../shipped/ada", "comes with Koubo"),
        ("{}/far", "lies in"),
        ("{}/named", "lies in"),
        ("{}/named/mei/mouth", "lies in"),
        ("{}/named/mouths", "stays as it is"),
        ("nobody", "no avatar 'nobody'"),
        ("../named/mei", "no avatar"),
        ("", "lies in"),
        (".", "lies in"),
        ("/", "lies in"),
    ],
)
def test_what_is_not_deleted(name: str, says: str, places: Path) -> None:
    (places / "named" / "mouths").mkdir()
    before = everything(places)
    with pytest.raises(AvatarError, match=says) as caught:
        delete(name.format(places))
    assert "\n" not in str(caught.value)
    assert everything(places) == before


def test_a_mouth_that_another_needs_is_not_deleted(places: Path) -> None:
    shutil.copytree(places / "named" / "mei", places / "named" / "lin")
    change(mouth="../mei/mouth")(places / "named" / "lin")
    (places / "named" / "broken").mkdir()
    (places / "named" / "broken" / CARD).write_text("{")
    with pytest.raises(AvatarError, match="lin speaks with the mouth of mei"):
        delete("mei")
    delete("lin")
    delete("mei")
    assert {path.name for path in (places / "named").iterdir()} == {"broken"}


def test_a_damaged_avatar_can_be_deleted(places: Path) -> None:
    (places / "named" / "mei" / CARD).write_text("{")
    delete("mei")
    assert "mei" not in list_avatars()


def test_a_link_is_deleted_not_what_it_leads_to(places: Path) -> None:
    (places / "named" / "link").symlink_to(places / "far")
    delete("link")
    assert not (places / "named" / "link").exists()
    assert (places / "far" / CARD).is_file()


def test_a_removal_that_breaks_off_leaves_no_half_avatar(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine goes off while files are removed: what is left has no avatar's place."""

    def power_cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", power_cut)
    monkeypatch.setattr(tempfile.TemporaryDirectory, "_rmtree", power_cut)
    with pytest.raises(KeyboardInterrupt):
        delete("mei")
    assert list_avatars() == ["ada", "yours"]
    assert all(path.name.startswith(".mei-") for path in (places / "named").iterdir())


def test_where_nothing_may_be_removed(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(AvatarError, match="cannot be removed"):
        delete("mei")
    monkeypatch.undo()
    assert (places / "named" / "mei" / "anchor.mp4").is_file()


def test_the_files_of_a_package_by_their_names_in_one_that_stands_alone(copy: Path) -> None:
    files = package_files(copy, read_card(copy))
    inside = {str(path.relative_to(copy)): path for path in copy.rglob("*") if path.is_file()}
    assert files == inside
    shutil.move(copy / "mouth", copy.parent / "mouths" / "tiny")
    change(mouth="../mouths/tiny")(copy)
    (copy / "matte.mp4").write_bytes(b"")
    shared = package_files(copy, read_card(copy))
    assert shared.keys() == {*inside, "matte.mp4"}
    assert shared["mouth/model.json"].is_file()
    old_card(copy)
    assert MASK in package_files(copy, read_card(copy))


def test_shipped_mouths_are_found_by_name() -> None:
    assert (shipped_mouth("lite192") / "model.json").is_file()
    with pytest.raises(AvatarError, match=r"no mouth called giant; shipped: .*lite192"):
        shipped_mouth("giant")

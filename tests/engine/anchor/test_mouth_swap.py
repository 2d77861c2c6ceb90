"""Another mouth for an avatar, whole or not at all."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor import mouth_swap
from engine.anchor.card import CARD, read_card, write_card
from engine.anchor.mouth_swap import BEFORE, mend, swap_mouth
from engine.anchor.package import MASK, Avatar
from engine.errors import AvatarError
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET, read_sheet, write_sheet
from tests.fakes import SIZE, make_avatar
from tests.tiny_mouth import write_tiny_mouth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_avatar(tmp_path / "avatars", "mine")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    mouth = write_tiny_mouth(tmp_path / "new", SIZE)
    write_sheet(mouth, replace(read_sheet(mouth), trained={"new": True}))
    return mouth


def is_new(folder: Path) -> bool:
    return bool(read_sheet(Avatar.load(folder).mouth).trained.get("new"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_mouth_takes_the_old_ones_place(folder: Path, new: Path) -> None:
    before = names(folder)
    swap_mouth(folder, new)
    assert is_new(folder)
    assert names(folder) == before
    assert sorted(path.name for path in (folder / "mouth").iterdir()) == sorted(
        [FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET]
    )
    assert new.is_dir()


def test_a_shared_mouth_stays_where_it_is(folder: Path, new: Path) -> None:
    shared = folder.parent / "mouths" / "all"
    shared.parent.mkdir()
    (folder / "mouth").rename(shared)
    write_card(folder, replace(read_card(folder), mouth="../mouths/all"))
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    swap_mouth(folder, new)
    assert is_new(folder)
    assert not is_new(other)
    assert read_card(folder).mouth == "mouth"
    assert not read_sheet(shared).trained


def test_an_avatar_of_schema_1_learns_too(folder: Path, new: Path) -> None:
    """One mask.png serves all frames; the card is written anew only where the mouth's place changes."""
    fields = json.loads((folder / CARD).read_text())
    (clip,) = fields.pop("clips")
    old = {key: clip[key] for key in ("loop", "frames", "crops")}
    (folder / "mouth").rename(folder / "lips")
    first = {**fields, **old, "schema": 1, "mouth": "lips"}
    (folder / CARD).write_text(json.dumps(first))
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[20:50, 15:50] = 255
    cv2.imwrite(str(folder / MASK), mask)
    swap_mouth(folder, new)
    assert is_new(folder)
    avatar = Avatar.load(folder)
    assert avatar.mask(0)[30, 30] == 1
    assert avatar.card.mouth == "mouth"
    assert avatar.card.consent is None


def test_a_mouth_that_is_not_whole_changes_nothing(folder: Path, new: Path) -> None:
    (new / MOUTH_DECODER).unlink()
    before = names(folder)
    with pytest.raises(AvatarError, match="old one stays"):
        swap_mouth(folder, new)
    assert not is_new(folder)
    assert names(folder) == before


def test_a_disk_that_fills_up_changes_nothing(
    folder: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    before = names(folder)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(AvatarError, match="No space left"):
        swap_mouth(folder, new)
    assert not is_new(folder)
    assert names(folder) == before


def test_a_card_that_cannot_be_written_brings_the_old_mouth_back(
    folder: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mouth").rename(folder / "lips")
    write_card(folder, replace(read_card(folder), mouth="lips"))
    monkeypatch.setattr(mouth_swap, "write_card", lambda *_: (_ for _ in ()).throw(OSError(13, "denied")))
    with pytest.raises(AvatarError, match="denied"):
        swap_mouth(folder, new)
    assert not is_new(folder)


@pytest.mark.parametrize("done", [False, True])
def test_a_swap_that_was_cut_off_is_mended(folder: Path, new: Path, done: bool) -> None:
    """Killed between the two renames, or before the old mouth was thrown away."""
    (folder / "mouth").rename(folder / BEFORE)
    if done:
        shutil.copytree(new, folder / "mouth")
    mend(folder)
    assert is_new(folder) == done
    assert BEFORE not in names(folder)
    mend(folder)

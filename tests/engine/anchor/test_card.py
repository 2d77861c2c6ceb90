"""avatar.json: what it may say, what is refused, and that nothing else than an AvatarError comes of it."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.anchor.card import CARD, AvatarCard, Clip, Consent, card_text, read_card, write_card
from engine.anchor.crop import Crop
from engine.anchor.package import Avatar
from engine.errors import AvatarError


@pytest.fixture
def card(avatar: Avatar) -> AvatarCard:
    return avatar.card


def clip(card: AvatarCard, name: str, frames: int, **fields: Any) -> Clip:
    idle = card.idle
    made = Clip(
        name, "gesture", f"clips/{name}.mp4", "once",
        idle.crops[:1] * frames, idle.outlines[:1] * frames, (1.0,) * frames,
    )  # fmt: skip
    return replace(made, **fields)


def test_frames_are_counted_through_all_clips(card: AvatarCard, tmp_path: Path) -> None:
    many = replace(card, clips=(card.idle, clip(card, "wave", 3), clip(card, "nod", 4, kind="talking")))
    write_card(tmp_path, many)
    read = read_card(tmp_path)
    assert read.frames == len(read.crops) == len(read.outlines) == len(read.shares) == card.frames + 7
    assert [read.start(name) for name in ("idle", "wave", "nod")] == [0, card.frames, card.frames + 3]
    with pytest.raises(KeyError):
        read.start("dance")
    assert read.clips[1].matte_file == "clips/wave.matte.mp4"
    assert read.idle.matte_file == "matte.mp4"


def test_what_is_written_is_read(card: AvatarCard, tmp_path: Path) -> None:
    said = replace(
        card,
        title={"zh": "小美", "en": "Mei"},
        consent=Consent("person", "李梅", "I agree.\nFor a year.", "2026-02-28"),
    )
    write_card(tmp_path, said)
    assert (tmp_path / CARD).read_text(encoding="utf-8") == card_text(said)
    read = read_card(tmp_path)
    assert (read.title, read.consent) == (said.title, said.consent)
    assert [path.name for path in tmp_path.iterdir()] == [CARD]


def test_a_row_of_numbers_is_a_line(card: AvatarCard) -> None:
    lines = card_text(card).splitlines()
    assert len(lines) < 5 * card.frames + 50


def spoilt(card: AvatarCard, folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    fields = json.loads(card_text(card))
    change(fields)
    (folder / CARD).write_text(json.dumps(fields))
    with pytest.raises(AvatarError) as caught:
        read_card(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def first(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda card: card["clips"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(title={"en": "a\0b"}), "control"),
        (lambda c: c.update(title={"en\x1b": "a"}), "control"),
        (lambda c: c.update(title={"en": "\ud800"}), "control"),
        (lambda c: c.update(title={"en": "x" * 10_001}), "too long"),
        (lambda c: c.update(title=[]), "no table"),
        (lambda c: c.update(title={"en": 3}), "no text"),
        (lambda c: c.update(credits="\u202e\x07"), "control"),
        (lambda c: c.update(licence="l" * 20_000), "too long"),
        (lambda c: c["consent"].update(by=" "), "nobody"),
        (lambda c: c["consent"].update(shown="cat"), "cat"),
        (lambda c: c["consent"].update(on="31.1.2026"), "damaged"),
        (lambda c: c["consent"].pop("statement"), "statement is missing"),
        (lambda c: c.update(consent="yes"), "damaged"),
        (lambda c: c.update(size=[4098, 64]), "size"),
        (lambda c: c.update(size=[64.0, 64]), "size"),
        (lambda c: c.update(crop_size=10**400), "crop_size"),
        (lambda c: c.update(mouth_box=[0, 0, 10**400, 1]), "damaged"),
        (lambda c: c.update(clips=c["clips"] * 2), "same name"),
        (lambda c: c.update(clips=[{**c["clips"][0], "name": f"c{k}"} for k in range(40)]), "damaged"),
        (lambda c: c.update(clips={}), "begin with"),
        (lambda c: c.update(clips="idle"), "damaged"),
        (lambda c: c.update(schema=True), "damaged"),
        (lambda c: c.update(schema=None), "schema None"),
        (first(crops=[[1e9, 1, 90, 0]] * 10), "a crop lies at"),
        (first(crops=[[1, -1e300, 90, 0]] * 10), "a crop lies at"),
        (first(crops=[[1, 1, 90, 99]] * 10), "a crop lies at"),
        (first(crops=[[1, 1, 1e9, 0]] * 10), "side"),
        (first(crops=[["1", 1, 90, 0]] * 10), "no number"),
        (first(outlines=[[9.0] * 36] * 10), "near the crop"),
        (first(shares=[True] * 10), "no number"),
        (first(shares=None), "damaged"),
        (first(file="clips/idle.mp4\n"), "not in"),
        (first(name="idle\n"), "lower-case"),
        (first(name="x" * 33), "lower-case"),
        (first(loop=["once"]), "none of"),
        (first(frames=10.5), "10 crops"),
    ],
)
def test_what_is_refused(
    change: Callable[[dict[str, Any]], object], says: str, card: AvatarCard, tmp_path: Path
) -> None:
    assert says in spoilt(card, tmp_path, change)


def test_more_frames_than_memory_holds(card: AvatarCard, tmp_path: Path) -> None:
    idle = card.idle
    long = replace(idle, crops=(Crop(1, 1, 90, 0),) * 15_001, outlines=(), shares=(1.0,) * 15_001)
    write_card(tmp_path, replace(card, clips=(long,)))
    with pytest.raises(AvatarError, match="more than 15000 frames"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"null", b"3", b'"card"', b"[" * 200_000, b"{" * 10, b"\xff\xfe", b"9" * 10_000, b"NaN"]
)
def test_what_is_no_card(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CARD).write_bytes(content)
    with pytest.raises(AvatarError, match="damaged"):
        read_card(tmp_path)


def test_random_values_raise_nothing_else(card: AvatarCard, tmp_path: Path) -> None:
    """Any value replaced by something else of JSON: an AvatarError, or a card that can be written."""
    rng = random.Random(1)
    values: list[Any] = [
        None,
        True,
        0,
        -1,
        2.5,
        1e308,
        10**30,
        "",
        "x",
        [],
        [[]],
        {},
        {"en": 1},
        "../..",
        [1, 2, 3, 4],
    ]
    whole = json.loads(card_text(card))
    refused = 0
    for _ in range(400):
        fields = json.loads(json.dumps(whole))
        place: Any = fields
        while True:
            key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
                break
            place = place[key]
        place[key] = rng.choice(values)
        (tmp_path / CARD).write_text(json.dumps(fields))
        try:
            write_card(tmp_path, read_card(tmp_path))
        except AvatarError:
            refused += 1
    assert refused > 200

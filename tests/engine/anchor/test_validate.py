"""Whole packages through every check, and each kind of damage found by its own."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine.anchor.card import ANCHOR, CARD, MATTE, AvatarCard, Clip, read_card, write_card
from engine.anchor.crop import Crop, Picture
from engine.anchor.package import MASK, find_avatar
from engine.anchor.package_checks import Check, problems
from engine.anchor.validate import validate
from engine.mouth.sheet import MOUTH_DECODER, MOUTH_SHEET
from engine.picture.video import VideoWriter
from engine.picture.yuv import to_i420
from tests.fakes import FRAME_SIZE, FRAMES, SIZE, paint_face

WIDTH, HEIGHT = FRAME_SIZE
Damage = Callable[[Path], None]


@pytest.fixture
def package(avatar_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(avatar_folder, tmp_path / "avatars" / "fake")


def found(package: Path) -> dict[str, Check]:
    """The worst check of each code."""
    worst: dict[str, Check] = {}
    for check in sorted(
        validate(package), key=lambda check: ("ok", "advice", "problem").index(check.verdict)
    ):
        worst[check.code] = check
        assert "\n" not in check.sentence
        assert check.sentence.endswith(".")
    return worst


def test_a_whole_package_has_nothing_to_be_said(package: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    checks = validate(package, lambda *told: heard.append(told))
    assert {check.verdict for check in checks} == {"ok"}, checks
    codes = {check.code for check in checks}
    of_card = {"consent", "licence", "files", "memory", "crops", "jitter", "masks", "shares"}
    assert codes == {*of_card, "clip", "matte", "mouth", "silence"}
    assert heard[:FRAMES] == [("check", done, FRAMES) for done in range(1, FRAMES + 1)]
    assert heard[-1] == ("mouth", 6, 6)


@pytest.mark.parametrize("name", ["ada", "kai"])
def test_the_shipped_presenters_are_whole(name: str) -> None:
    assert {check.verdict for check in validate(find_avatar(name))} == {"ok"}


def write_film(path: Path, pictures: list[Picture]) -> None:
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, (width, height)) as video:
        for picture in pictures:
            video.write(to_i420(picture))


def grey(level: int, count: int = FRAMES, size: tuple[int, int] = FRAME_SIZE) -> list[Picture]:
    return [np.full((size[1], size[0], 3), level, np.uint8)] * count


def card(**fields: Any) -> Damage:
    return lambda folder: write_card(folder, replace(read_card(folder), **fields))


def clip(**fields: Any) -> Damage:
    def apply(folder: Path) -> None:
        before = read_card(folder)
        write_card(folder, replace(before, clips=(replace(before.idle, **fields),)))

    return apply


def film(name: str, pictures: list[Picture]) -> Damage:
    return lambda folder: write_film(folder / name, pictures)


def content(name: str, data: bytes) -> Damage:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return apply


def cut(name: str) -> Damage:
    """The film's directory stays at its beginning; pictures at its end are missing."""
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size * 2 // 3)


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def shifted(x: float, y: float) -> Damage:
    def apply(folder: Path) -> None:
        crops = read_card(folder).idle.crops
        moved = tuple(replace(crop, cx=crop.cx + x, cy=crop.cy + y) for crop in crops)
        clip(crops=moved)(folder)

    return apply


def trembling(folder: Path) -> None:
    rng = np.random.default_rng(0)
    crops = read_card(folder).idle.crops
    clip(crops=tuple(replace(c, cx=c.cx + float(rng.normal(0, 2))) for c in crops))(folder)


def outline_elsewhere(folder: Path) -> None:
    outlines = list(read_card(folder).idle.outlines)
    outlines[3] = tuple(value + 2 for value in outlines[3])
    clip(outlines=tuple(outlines))(folder)


def two_clips(folder: Path) -> None:
    (folder / "clips").mkdir()
    shutil.copyfile(folder / ANCHOR, folder / "clips" / "wave.mp4")
    before = read_card(folder)
    wave = replace(before.idle, name="wave", kind="gesture", file="clips/wave.mp4", loop="once")
    write_card(folder, replace(before, clips=(before.idle, wave)))


def one_matte_of_two(folder: Path) -> None:
    two_clips(folder)
    write_film(folder / MATTE, grey(128))


def jumping(folder: Path) -> None:
    """Brighter and brighter, then dark again."""
    clip(loop="forward")(folder)
    write_film(folder / ANCHOR, [np.full((HEIGHT, WIDTH, 3), 60 + 12 * k, np.uint8) for k in range(FRAMES)])


def one_mask(level: int) -> Damage:
    def apply(folder: Path) -> None:
        clip(outlines=())(folder)
        cv2.imwrite(str(folder / MASK), np.full((SIZE, SIZE), level, np.uint8))

    return apply


def shadow_in_silence(depth: float) -> Damage:
    """The tiny mouth darkens the whole face by `depth` of 2, in silence too."""

    def apply(folder: Path) -> None:
        path = folder / "mouth" / MOUTH_DECODER
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if tensor.name == "four":
                tensor.CopyFrom(numpy_helper.from_array((value + depth).astype(value.dtype), "four"))
            if tensor.name == "ellipse":
                tensor.CopyFrom(numpy_helper.from_array(np.ones_like(value), "ellipse"))
        onnx.save(model, str(path))

    return apply


def sheet(**fields: Any) -> Damage:
    def apply(folder: Path) -> None:
        path = folder / "mouth" / MOUTH_SHEET
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return apply


CROPS = (Crop(2000.0, 2000.0, 90.0, 0.0),) * 15_000


@pytest.mark.parametrize(
    ("damage", "code", "verdict", "says"),
    [
        (remove(CARD), "card", "problem", "no avatar package"),
        (content(CARD, b"[" * 100_000), "card", "problem", "damaged"),
        (card(consent=None), "consent", "problem", "who agreed"),
        (card(name="else"), "name", "advice", "calls it else"),
        (card(licence=" "), "licence", "advice", "no licence"),
        (content("notes.txt", b"x"), "files", "advice", "notes.txt"),
        (content("mouth/more.bin", b"x"), "files", "advice", "more.bin"),
        (remove(ANCHOR), "clip", "problem", "anchor.mp4 cannot be read"),
        (content(ANCHOR, b""), "clip", "problem", "no MP4"),
        (content(ANCHOR, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), "clip", "problem", "no MP4"),
        (content(ANCHOR, b"ffconcat version 1.0\nfile matte.mp4\n"), "clip", "problem", "no MP4"),
        (content(ANCHOR, b"\0\0\0\x18ftypisom" + bytes(100)), "clip", "problem", "anchor.mp4"),
        (cut(ANCHOR), "clip", "problem", "anchor.mp4"),
        (film(ANCHOR, grey(90, FRAMES - 1)), "clip", "problem", "holds 9 of 160x192"),
        (film(ANCHOR, grey(90, FRAMES + 1)), "clip", "problem", "holds 11"),
        (film(ANCHOR, grey(90, size=(96, 96))), "clip", "problem", "96x96"),
        (jumping, "loop", "advice", "jumps"),
        (film(MATTE, grey(128)), "matte", "ok", "covers 5"),
        (film(MATTE, grey(255)), "matte", "advice", "100%"),
        (film(MATTE, grey(0)), "matte", "advice", "0%"),
        (film(MATTE, grey(128, 4)), "matte", "problem", "matte.mp4 should hold 10"),
        (one_matte_of_two, "matte", "advice", "clips/wave.matte.mp4 is missing"),
        (two_clips, "clip", "ok", ""),
        (shifted(-45, 0), "crops", "advice", "outside the picture"),
        (shifted(-160, 0), "crops", "problem", "lips leave"),
        (shifted(0, 400), "crops", "problem", "lips leave"),
        (card(mouth_box=(0.6, 0.5, 0.4, 0.6)), "crops", "problem", "lips outside"),
        (card(mouth_box=(-0.2, 0.5, 0.4, 0.6)), "crops", "problem", "lips outside"),
        (trembling, "jitter", "advice", "trembles"),
        (outline_elsewhere, "masks", "problem", "outline"),
        (one_mask(255), "masks", "ok", ""),
        (one_mask(0), "masks", "problem", "mask.png"),
        (clip(outlines=()), "masks", "problem", "mask.png is missing"),
        (clip(shares=(0.0,) * FRAMES), "shares", "problem", "hardly ever"),
        (clip(shares=(0.0, 0.0, *(1.0,) * (FRAMES - 2))), "shares", "advice", "20%"),
        (remove("mouth/mouth_decoder.onnx"), "mouth", "problem", "mouth_decoder.onnx"),
        (content("mouth/mouth_decoder.onnx", b"none"), "mouth", "problem", "mouth_decoder.onnx"),
        (card(mouth="../../elsewhere"), "mouth", "problem", "outside"),
        (sheet(maps=[[3, 64, 64], [1 << 20, 1 << 20, 1 << 20]]), "mouth", "problem", "maps of no mouth"),
        (sheet(maps=[[3, 64, 64], [3, -1, -1]]), "mouth", "problem", "maps of no mouth"),
        (sheet(maps=[[3, 64, 64]]), "mouth", "problem", "mouth"),
        (sheet(size=1e400), "mouth", "problem", "sheet"),
        (shadow_in_silence(0.1), "silence", "advice", "train it"),
        (shadow_in_silence(0.4), "silence", "problem", "another mouth"),
    ],
)
def test_each_damage_is_found(damage: Damage, code: str, verdict: str, says: str, package: Path) -> None:
    damage(package)
    check = found(package)[code]
    assert check.verdict == verdict, check
    assert says in check.sentence


def test_what_would_fill_the_memory_is_not_read(package: Path) -> None:
    many = Clip("idle", "idle", ANCHOR, "pingpong", CROPS, (), (1.0,) * len(CROPS))
    write_card(package, replace(read_card(package), size=(4096, 4096), clips=(many,)))
    checks = found(package)
    assert checks["memory"].verdict == "problem"
    assert "377,487 MB" in checks["memory"].sentence
    assert "clip" not in checks


def test_much_memory_is_an_advice(package: Path) -> None:
    many = Clip("idle", "idle", ANCHOR, "pingpong", CROPS[:1800], (), (1.0,) * 1800)
    write_card(package, replace(read_card(package), size=(1920, 1080), clips=(many,)))
    assert found(package)["memory"].verdict == "advice"


def test_several_problems_are_all_told(package: Path) -> None:
    card(consent=None)(package)
    remove(ANCHOR)(package)
    remove("mouth/face_encoder.onnx")(package)
    assert {check.code for check in problems(validate(package))} == {"consent", "clip", "mouth"}


def test_nothing_is_changed(package: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        files = (path for path in package.rglob("*"))
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}

    before = state()
    validate(package)
    assert state() == before


def test_a_still_picture_goes_round(package: Path) -> None:
    clip(loop="forward")(package)
    write_film(package / ANCHOR, [paint_face(WIDTH, HEIGHT)] * FRAMES)
    assert found(package)["loop"].verdict == "ok"


def test_a_card_of_one_frame(package: Path) -> None:
    before: AvatarCard = read_card(package)
    one = replace(before.idle, crops=before.idle.crops[:1], outlines=before.idle.outlines[:1], shares=(1.0,))
    write_card(package, replace(before, clips=(one,)))
    write_film(package / ANCHOR, [paint_face(WIDTH, HEIGHT)])
    assert problems(validate(package)) == []

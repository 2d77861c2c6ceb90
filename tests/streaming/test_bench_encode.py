"""`koubo bench encode`: cost and quality of encodings, on pictures whose answers are known."""

from pathlib import Path

import numpy as np
import pytest

from engine.anchor.package import Avatar
from engine.picture.yuv import Frame
from streaming.bench_encode import SERVED, VARIANTS, Square, bench_encode, mouth_square, speaking
from streaming.encoding.x264 import x264_options
from tests.fakes import FRAME_SIZE, FakeMouth, make_avatar, speech_like

WIDTH, HEIGHT = 96, 64
SQUARE = Square(slice(16, 48), slice(32, 64))


def drifting(pictures: int) -> list[Frame]:
    """A soft pattern that moves by a pixel each picture, with fresh noise."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:HEIGHT, : WIDTH + pictures]
    wide = 128 + 60 * np.sin(rows / 7) * np.cos(columns / 9)
    made = []
    for number in range(pictures):
        frame = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        frame[:HEIGHT] = wide[:, number : number + WIDTH] + rng.normal(0, 3, (HEIGHT, WIDTH))
        made.append(frame)
    return made


def test_each_variant_is_told_by_cost_and_quality() -> None:
    told: list[tuple[int, int, str]] = []
    variants = {SERVED: {}, "ultrafast": VARIANTS["ultrafast"]}
    found = bench_encode(
        drifting(30), SQUARE, 300, variants=variants, rounds=2, tell=lambda *what: told.append(what)
    )
    assert (found["pictures"], found["size"], found["target_kbps"]) == (30, "96x64", 300)
    assert list(found["variants"]) == [SERVED, "ultrafast"]
    for one in found["variants"].values():
        assert 0 <= one["encode_ms"]["p50"] <= one["encode_ms"]["p99"] < 100
        assert 50 < one["sent_kbps"] < 600
        assert one["keyframe_kb"] > 0.2
        assert 25 < one["psnr_db"] < 60
        assert one["worst_mouth_psnr_db"] <= one["mouth_psnr_db"]
        assert 0.6 < one["ssim"] < 1
        assert 0.6 < one["mouth_ssim"] < 1
    # Two rounds, then the quality of each.
    assert [done for done, _, _ in told] == list(range(6))
    assert {total for _, total, _ in told} == {6}


def test_fewer_bits_are_worse_pictures() -> None:
    pictures = drifting(30)
    rich, poor = (
        bench_encode(pictures, SQUARE, kbps, variants={SERVED: {}}, rounds=1)["variants"][SERVED]
        for kbps in (800, 100)
    )
    assert rich["sent_kbps"] > 2 * poor["sent_kbps"]
    assert rich["psnr_db"] > poor["psnr_db"] + 2
    assert rich["mouth_ssim"] > poor["mouth_ssim"]


def test_quality_is_against_the_picture_that_went_in() -> None:
    # One grey level everywhere costs nothing and loses nothing.
    grey = [np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)] * 8
    found = bench_encode(grey, SQUARE, 300, variants={SERVED: {}}, rounds=1)["variants"][SERVED]
    assert found["psnr_db"] > 45
    assert found["ssim"] > 0.99


@pytest.mark.parametrize("name", list(VARIANTS))
def test_x264_knows_every_variant(name: str) -> None:
    found = bench_encode(drifting(4), SQUARE, 300, variants={name: VARIANTS[name]}, rounds=1)
    assert found["variants"][name]["psnr_db"] > 20


def test_variants_are_laid_over_what_the_server_uses() -> None:
    assert VARIANTS[SERVED] == {}
    assert VARIANTS["superfast, no aq, subme 0"]["preset"] == x264_options(1000)["preset"]


def test_pictures_are_those_of_a_speaking_presenter(tmp_path: Path) -> None:
    avatar = Avatar.load(make_avatar(tmp_path))
    pictures = speaking(avatar, FakeMouth(), speech_like(0.5), 1.0)
    assert len(pictures) == 25
    width, height = FRAME_SIZE
    assert pictures[0].shape == (height * 3 // 2, width)
    square = mouth_square(avatar.card)
    luma = np.stack([picture[:height].astype(float) for picture in pictures])
    moving = luma.std(axis=0)
    assert moving[square.rows, square.columns].max() == pytest.approx(moving.max(), rel=0.01)
    assert 0 <= square.rows.start < square.rows.stop <= height
    assert 0 <= square.columns.start < square.columns.stop <= width

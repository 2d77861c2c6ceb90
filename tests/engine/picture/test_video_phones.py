"""Video as phones and cameras record it."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from engine.anchor.crop import Picture
from engine.errors import BadMediaError, NoPictureError
from engine.picture.source import probe
from engine.picture.video import read_i420, read_rgb
from tests.fakes import paint_face, speech_like
from tests.phone_films import (
    BT470BG,
    BT709,
    FULL,
    LIMITED,
    display_light,
    hdr_signal,
    marked_picture,
    write_film,
    write_hdr,
)

APPLE_PORTRAIT = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
"""A phone held upright: the stored picture's right side belongs at the bottom."""


def first(path: Path, max_side: int | None = None) -> Picture:
    return next(iter(read_rgb(path, max_side)))


def away(one: Picture, other: Picture) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize(("turn", "quarter"), [(0, 0), (-90, 3), (90, 1), (180, 2)])
def test_turned_films_stand_upright(tmp_path: Path, turn: float, quarter: int) -> None:
    picture = marked_picture()
    film = write_film(tmp_path / "a.mp4", [picture] * 3, turn=turn)
    seen = first(film)
    assert seen.shape == np.rot90(picture, quarter).shape
    assert away(seen, np.rot90(picture, quarter)) < 4
    facts = probe(film)
    assert (facts.width, facts.height) == (seen.shape[1], seen.shape[0])
    assert facts.rotation == -turn % 360


@pytest.mark.parametrize(
    "display",
    [
        APPLE_PORTRAIT,
        (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30),  # mirrored, as some front cameras write
        (0, -65536, 0, -65536, 0, 0, 0, 0, 1 << 30),  # mirrored and turned
        (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
        (65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30),  # upside down in a mirror
    ],
)
def test_the_display_matrix_is_followed(tmp_path: Path, display: tuple[int, ...]) -> None:
    picture = marked_picture()
    a, b, _, c, d = (value / 65536 for value in display[:5])
    # Every pixel goes where the matrix says: x' = a x + c y, y' = b x + d y, moved into the picture.
    rows, columns = np.indices(picture.shape[:2])
    x, y = a * columns + c * rows, b * columns + d * rows
    across, down = (x - x.min()).astype(int), (y - y.min()).astype(int)
    expected = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    expected[down, across] = picture
    seen = first(write_film(tmp_path / "a.mp4", [picture] * 2, display=display))
    assert seen.shape == expected.shape
    assert away(seen, expected) < 4


def test_turned_films_are_shrunk_after_they_stand(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", [marked_picture(192, 128)] * 2, turn=-90)
    assert first(film, 96).shape == (96, 64, 3)


@pytest.mark.parametrize(
    ("matrix", "colour_range", "tagged"),
    [
        (BT709, LIMITED, True),
        (BT709, FULL, True),
        (BT470BG, LIMITED, True),
        (BT470BG, FULL, True),
        (BT470BG, LIMITED, False),
    ],
)
def test_colours_come_back_whatever_matrix_and_range(
    tmp_path: Path, matrix: int, colour_range: int, tagged: bool
) -> None:
    picture = marked_picture()
    film = write_film(
        tmp_path / "a.mp4", [picture] * 2, matrix=matrix, colour_range=colour_range, tagged=tagged
    )
    assert np.abs(first(film)[40, 20].astype(int) - picture[40, 20]).max() <= 4
    assert np.abs(first(film)[20, 80].astype(int) - picture[20, 80]).max() <= 4


def test_large_films_that_do_not_tell_are_taken_as_high_definition(tmp_path: Path) -> None:
    picture = marked_picture(1280, 720)
    film = write_film(tmp_path / "a.mp4", [picture] * 2, matrix=BT709, colour_range=LIMITED, tagged=False)
    assert np.abs(first(film)[600, 300].astype(int) - picture[600, 300]).max() <= 4


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("libx264", "yuv420p10le", ".mp4"),
        ("libx264", "yuv444p", ".mp4"),
        ("prores_ks", "yuv422p10le", ".mov"),
        ("ffv1", "bgr0", ".mkv"),
        ("mjpeg", "yuvj420p", ".avi"),
    ],
)
def test_deep_and_finer_colours_are_read(tmp_path: Path, codec: str, pix_fmt: str, suffix: str) -> None:
    picture = marked_picture()
    film = write_film(tmp_path / f"a{suffix}", [picture] * 2, codec=codec, pix_fmt=pix_fmt)
    assert away(first(film), picture) < 6
    assert probe(film).depth == (10 if "10" in pix_fmt else 8)


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_hdr_is_neither_washed_out_nor_dark(tmp_path: Path, transfer: str) -> None:
    picture = paint_face(160, 192)
    film = write_hdr(tmp_path / "a.mp4", [hdr_signal(display_light(picture), transfer)] * 3, transfer)
    facts = probe(film)
    assert (facts.hdr, facts.depth) == (True, 10)
    seen = first(film)
    assert away(seen, picture) < 9
    # Read as if it were standard, its colours would be pale.
    with av.open(str(film)) as container:
        raw = next(container.decode(video=0)).to_ndarray(format="rgb24")
    skin = (slice(60, 90), slice(70, 90))
    assert np.ptp(raw[skin].mean(axis=(0, 1))) < 0.75 * np.ptp(seen[skin].mean(axis=(0, 1)))
    assert not probe(write_film(tmp_path / "b.mp4", [picture] * 2)).hdr


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", [marked_picture(96, 64)] * 2, shape=Fraction(4, 3))
    assert first(film).shape == (64, 128, 3)
    assert (probe(film).width, probe(film).height) == (128, 64)
    assert first(film, 64).shape == (32, 64, 3)


@pytest.mark.parametrize(("size", "side", "expected"), [
    ((96, 64), None, (96, 64)), ((96, 64), 1280, (96, 64)), ((320, 180), 160, (160, 90)),
    ((180, 320), 160, (90, 160)), ((322, 182), 161, (160, 92)),
])  # fmt: skip
def test_sizes(tmp_path: Path, size: tuple[int, int], side: int | None, expected: tuple[int, int]) -> None:
    film = write_film(tmp_path / "a.mp4", [marked_picture(*size)] * 2)
    assert first(film, side).shape[1::-1] == expected


def test_odd_sides_lose_a_row_only_when_asked(tmp_path: Path) -> None:
    picture = np.ascontiguousarray(marked_picture(97, 65))
    film = write_film(tmp_path / "a.mkv", [picture] * 2, codec="ffv1", pix_fmt="bgr0")
    assert first(film).shape == (65, 97, 3)
    seen = first(film, 1280)
    assert seen.shape == (64, 96, 3)
    np.testing.assert_array_equal(seen, picture[:64, :96])


def test_shrinking_averages(tmp_path: Path) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    film = write_film(tmp_path / "a.mkv", [stripes] * 2, codec="ffv1", pix_fmt="bgr0")
    seen = first(film, 64)
    assert np.abs(seen.astype(int) - 100).max() < 6, "no moire"


@pytest.mark.parametrize("rate", [15, 24, 30, 60, 120])
def test_every_rate_keeps_its_length_and_order(tmp_path: Path, rate: int) -> None:
    count = 2 * rate
    levels = np.linspace(30, 220, count)
    film = write_film(
        tmp_path / "a.mp4", [np.full((48, 64, 3), level, np.uint8) for level in levels], rate=rate
    )
    assert probe(film).fps == pytest.approx(rate)
    seen = [picture.mean() for picture in read_rgb(film)]
    assert len(seen) == pytest.approx(50, abs=1)
    step = (220 - 30) / count
    for number, level in enumerate(seen):
        nearest = levels[min(round(number / 25 * rate), count - 1)]
        assert level == pytest.approx(nearest, abs=step + 2)


def test_variable_rate_follows_the_clock(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).choice([0.02, 0.1], 60)).tolist()
    levels = [30 + 180 * (time - times[0]) / (times[-1] - times[0]) for time in times]
    film = write_film(
        tmp_path / "a.mp4", [np.full((48, 64, 3), level, np.uint8) for level in levels], times=times
    )
    assert probe(film).variable_rate
    for number, picture in enumerate(read_rgb(film)):
        near = min(range(60), key=lambda k: abs(times[k] - times[0] - number / 25))
        assert picture.mean() == pytest.approx(levels[near], abs=9)


def test_fields_are_made_whole(tmp_path: Path) -> None:
    # A bar that moves between the two fields of a picture: combs, unless they are taken apart.
    def bar(at: int) -> Picture:
        picture = np.full((96, 128, 3), 60, np.uint8)
        picture[:, at : at + 24] = 200
        return picture

    woven = []
    for number in range(12):
        picture = bar(10 + 6 * number)
        picture[1::2] = bar(13 + 6 * number)[1::2]
        woven.append(picture)
    film = write_film(tmp_path / "a.mp4", woven, interlaced=True, pix_fmt="yuv422p")
    whole = list(read_rgb(film))
    assert len(whole) == 12

    def combs(picture: Picture) -> float:
        rows = picture[:, :, 1].astype(int)
        return float(np.abs(rows[1:-1] * 2 - rows[:-2] - rows[2:]).mean())

    assert max(combs(picture) for picture in whole[2:-2]) < 0.35 * combs(woven[5])
    assert np.argmax(whole[6][48].mean(axis=1)) > np.argmax(whole[2][48].mean(axis=1)), "in their order"


def test_a_film_without_timestamps_runs_at_its_rate(tmp_path: Path) -> None:
    levels = np.linspace(30, 220, 30)
    film = write_film(
        tmp_path / "a.h264",
        [np.full((48, 64, 3), level, np.uint8) for level in levels],
        container_format="h264",
    )
    facts = probe(film)
    assert facts.duration_s == 0
    assert facts.bits_per_pixel == 0
    assert len(list(read_rgb(film))) == 30


def remux(source: Path, target: Path, container_format: str | None = None, **options: str) -> Path:
    with (
        av.open(str(source)) as film,
        av.open(str(target), "w", format=container_format, options=options) as copy,
    ):
        stream = copy.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return target


@pytest.fixture
def lively(tmp_path: Path) -> Path:
    faces = [paint_face(160, 192, gape=0.01 * (k % 7), seed=k) for k in range(100)]
    return write_film(tmp_path / "lively.mp4", faces)


def test_a_clock_that_jumps_back_goes_on(tmp_path: Path, lively: Path) -> None:
    stream = remux(lively, tmp_path / "a.ts", "mpegts")
    twice = tmp_path / "twice.ts"
    twice.write_bytes(stream.read_bytes() * 2)
    assert len(list(read_rgb(twice))) == pytest.approx(200, abs=3)


def test_damaged_packets_are_left_out(tmp_path: Path, lively: Path) -> None:
    content = bytearray(remux(lively, tmp_path / "a.mp4", movflags="faststart").read_bytes())
    random = np.random.default_rng(0)
    for at in random.integers(len(content) // 3, len(content), 60):
        content[at] ^= 0xFF
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    assert len(list(read_rgb(damaged))) > 80


def test_a_film_cut_short_gives_what_is_there(tmp_path: Path, lively: Path) -> None:
    whole = remux(lively, tmp_path / "a.mp4", movflags="faststart").read_bytes()
    short = tmp_path / "short.mp4"
    short.write_bytes(whole[: len(whole) * 6 // 10])
    assert probe(short).duration_s == pytest.approx(4.0, abs=0.1)
    assert 40 < len(list(read_rgb(short))) < 75


def test_a_recording_that_never_ended_is_named(tmp_path: Path, lively: Path) -> None:
    short = tmp_path / "手机.mp4"
    short.write_bytes(lively.read_bytes()[:-2000])  # the index stands at the end
    for read in (probe, lambda path: list(read_rgb(path))):
        with pytest.raises(BadMediaError, match=r"手机\.mp4 cannot be read as a video"):
            read(short)


@pytest.mark.parametrize("content", [b"", b"dear diary\n" * 50, bytes(5000), b"\x00\x00\x00\x18ftypmp42"])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(BadMediaError, match=r"a\.mp4"):
        list(read_rgb(path))
    with pytest.raises(BadMediaError, match=r"a\.mp4"):
        probe(path)


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="There is no video file"):
        probe(tmp_path)


def song(path: Path, *, cover: bool) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        if cover:
            art = container.add_stream("mjpeg")
            art.width, art.height, art.pix_fmt = 64, 64, "yuvj420p"
            art.disposition = Disposition.attached_pic
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8)).reformat(format="yuvj420p")
            container.mux(art.encode(frame))
            container.mux(art.encode(None))
        heard = av.AudioFrame.from_ndarray(speech_like(1.0)[None], format="fltp", layout="mono")
        heard.sample_rate = 16000
        container.mux(sound.encode(heard))
        container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("cover", [False, True])
def test_a_song_is_no_film_even_with_its_cover(tmp_path: Path, cover: bool) -> None:
    path = song(tmp_path / "a.m4a", cover=cover)
    with pytest.raises(NoPictureError, match="holds no picture"):
        probe(path)
    with pytest.raises(NoPictureError, match="holds no picture"):
        list(read_rgb(path))
    with pytest.raises(NoPictureError, match="holds no picture"):
        list(read_i420(path))


def test_facts_of_an_ordinary_film(tmp_path: Path) -> None:
    film = write_film(tmp_path / "说话.mp4", [marked_picture()] * 50, speech=speech_like(2.0))
    facts = probe(film)
    assert (facts.width, facts.height, facts.fps, facts.rotation) == (96, 64, 25, 0)
    assert facts.duration_s == pytest.approx(2, abs=0.05)
    assert facts.sound
    assert (facts.hdr, facts.variable_rate, facts.codec, facts.start_s) == (False, False, "h264", 0)
    assert not probe(write_film(tmp_path / "b.mp4", [marked_picture()] * 5)).sound


def test_the_first_pictures_time_is_told(tmp_path: Path) -> None:
    times = [1.0 + k / 25 for k in range(20)]
    film = write_film(tmp_path / "a.mkv", [marked_picture()] * 20, times=times)
    assert probe(film).start_s == pytest.approx(1.0, abs=0.002)
    assert len(list(read_rgb(film))) == 20


def test_pictures_come_one_at_a_time(tmp_path: Path, lively: Path) -> None:
    pictures = read_rgb(lively)
    one, two = next(pictures), next(pictures)
    pictures.close()  # type: ignore[attr-defined]
    assert one.shape == two.shape


def test_a_change_of_size_keeps_the_first(tmp_path: Path) -> None:
    large = write_film(tmp_path / "large.h264", [marked_picture(192, 128)] * 5, container_format="h264")
    small = write_film(tmp_path / "small.h264", [marked_picture(96, 64)] * 5, container_format="h264")
    both = tmp_path / "both.h264"
    both.write_bytes(large.read_bytes() + small.read_bytes())
    seen = list(read_rgb(both))
    assert {picture.shape for picture in seen} == {(128, 192, 3)}
    shown = cv2.resize(marked_picture(96, 64), (192, 128), interpolation=cv2.INTER_AREA)
    assert away(seen[-1], np.asarray(shown, np.uint8)) < 12
    assert all(one.shape == other.shape for one, other in pairwise(seen))

"""libx264 and libvpx: what comes out, decoded again."""

from collections.abc import Iterator

import av
import numpy as np
import pytest

from engine.picture.yuv import Frame, to_i420
from streaming.encoding.base import Codec, EncodedPicture
from streaming.encoding.choose import SOFTWARE
from streaming.encoding.libav import threads
from tests.fakes import paint_face

SIZE = (320, 240)
CODECS: tuple[Codec, ...] = ("h264", "vp8")


def film(count: int, *, noise: float = 0.0) -> Iterator[Frame]:
    """A face whose mouth opens and closes; `noise` makes it costly."""
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = to_i420(paint_face(*SIZE, gape=0.05 * (1 + np.sin(number / 3))))
        if noise:
            picture = np.clip(picture + rng.normal(0, noise, picture.shape), 16, 235).astype(np.uint8)
        yield picture


def encode(
    codec: Codec, pictures: Iterator[Frame], kbps: int = 800, keys: tuple[int, ...] = ()
) -> list[EncodedPicture]:
    encoder = SOFTWARE.open(codec, SIZE, kbps)
    made = [
        encoder.encode(picture, slot, kbps, keyframe=slot in keys) for slot, picture in enumerate(pictures)
    ]
    return [picture for picture in made if picture is not None]


def decoder(codec: Codec) -> av.VideoCodecContext:
    opened = av.CodecContext.create("h264" if codec == "h264" else "libvpx", "r")
    assert isinstance(opened, av.VideoCodecContext)
    opened.thread_count = 1
    return opened


def decode(codec: Codec, coded: list[EncodedPicture]) -> list[Frame]:
    opened = decoder(codec)
    frames = [frame for picture in coded for frame in opened.decode(av.Packet(picture.data))]
    if codec == "h264":
        frames += opened.decode(None)
    return [np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8) for frame in frames]


def psnr(one: Frame, other: Frame) -> float:
    error = float(np.mean((one.astype(float) - other) ** 2))
    return float(10 * np.log10(255**2 / max(1e-9, error)))


def nal_types(data: bytes) -> list[int]:
    """The types of an Annex B stream's NAL units (ITU-T H.264 table 7-1)."""
    starts = [index + 3 for index in range(len(data) - 3) if data[index : index + 3] == b"\0\0\1"]
    return [data[start] & 0x1F for start in starts]


@pytest.mark.parametrize("codec", CODECS)
def test_every_picture_comes_out_at_once_and_looks_like_it_went_in(codec: Codec) -> None:
    pictures = list(film(40))
    coded = encode(codec, iter(pictures))
    assert [picture.slot for picture in coded] == list(range(40))
    shown = decode(codec, coded)
    assert len(shown) == 40
    assert min(psnr(a, b) for a, b in zip(pictures, shown, strict=True)) > 30


@pytest.mark.parametrize("codec", CODECS)
def test_key_frames_are_made_when_asked_for_and_only_then(codec: Codec) -> None:
    coded = encode(codec, film(300), keys=(70, 130))
    assert [picture.slot for picture in coded if picture.keyframe] == [0, 70, 130]


@pytest.mark.parametrize("codec", CODECS)
def test_a_decoder_can_begin_at_any_key_frame(codec: Codec) -> None:
    pictures = list(film(60))
    coded = encode(codec, iter(pictures), keys=(30,))
    shown = decode(codec, coded[30:])
    assert len(shown) == 30
    assert min(psnr(a, b) for a, b in zip(pictures[30:], shown, strict=True)) > 30


def test_h264_is_constrained_baseline_with_its_headers_in_band() -> None:
    coded = encode("h264", film(30), keys=(20,))
    for picture in coded:
        types = nal_types(picture.data)
        assert picture.data.startswith(b"\0\0\0\1")
        if picture.keyframe:
            assert [kind for kind in types if kind in (7, 8, 5)] == [7, 8, 5]
        else:
            assert set(types) == {1}
    sps = coded[0].data[coded[0].data.index(b"\0\0\1\x67") + 4 :]
    assert sps[0] == 66
    # constraint_set0_flag and constraint_set1_flag: constrained baseline.
    assert sps[1] & 0xC0 == 0xC0


def test_h264_says_which_colours_it_is_in() -> None:
    opened = decoder("h264")
    coded = encode("h264", film(2))
    frames = [*opened.decode(av.Packet(coded[0].data)), *opened.decode(None)]
    assert frames[0].colorspace == av.video.reformatter.Colorspace.ITU601
    assert frames[0].color_range == av.video.reformatter.ColorRange.MPEG


@pytest.mark.parametrize("codec", CODECS)
def test_the_bit_rate_is_kept_and_followed(codec: Codec) -> None:
    encoder = SOFTWARE.open(codec, SIZE, 800)
    sizes, keys = [], []
    for slot, picture in enumerate(film(200, noise=8)):
        made = encoder.encode(picture, slot, 800 if slot < 100 else 300, keyframe=False)
        assert made is not None
        sizes.append(len(made.data))
        keys += [slot] if made.keyframe else []
    rate = [sum(part) * 8 * 25 / 1000 / len(part) for part in (sizes[25:100], sizes[125:])]
    assert rate[0] == pytest.approx(800, rel=0.25)
    assert rate[1] == pytest.approx(300, rel=0.3)
    # libx264 follows without a key frame; FFmpeg's libvpx cannot.
    assert keys == ([0] if codec == "h264" else [0, 100])


def test_a_key_frame_of_h264_leaves_within_a_third_of_a_second() -> None:
    coded = encode("h264", film(100, noise=8), kbps=800, keys=(50,))
    assert max(len(picture.data) for picture in coded) * 8 <= 800_000 * 0.34


def test_more_than_the_configured_rate_is_never_taken() -> None:
    encoder = SOFTWARE.open("h264", SIZE, 500)
    sizes = []
    for slot, picture in enumerate(film(100, noise=8)):
        made = encoder.encode(picture, slot, 5000, keyframe=False)
        assert made is not None
        sizes.append(len(made.data))
    assert sum(sizes[25:]) * 8 * 25 / 1000 / 75 < 650


def test_rates_beyond_those_of_video_calls_are_used() -> None:
    coded = encode("h264", film(60, noise=12), kbps=6000)
    assert sum(len(picture.data) for picture in coded[25:]) * 8 * 25 / 1000 / 35 > 4500


@pytest.mark.parametrize("codec", CODECS)
def test_skipped_slots_do_not_matter(codec: Codec) -> None:
    encoder = SOFTWARE.open(codec, SIZE, 800)
    made = [encoder.encode(picture, 7 * slot, 800, keyframe=False) for slot, picture in enumerate(film(20))]
    coded = [picture for picture in made if picture is not None]
    assert [picture.slot for picture in coded] == [7 * slot for slot in range(20)]
    assert len(decode(codec, coded)) == 20


def test_small_pictures_take_one_thread() -> None:
    assert threads((720, 720)) == threads((1280, 720)) == 1
    assert threads((1920, 1080)) == 2

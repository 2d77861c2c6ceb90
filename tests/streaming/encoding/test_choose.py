"""Which encoder makes H.264, and what happens when the card fails."""

import errno
from pathlib import Path

import av
import pytest

from engine.errors import KouboError
from streaming.encoding import nvenc
from streaming.encoding.choose import CardOrProcessor, choose_encoders
from streaming.encoding.nvenc import probe_nvenc
from tests.streaming.encoding.fake_encoder import GREY, FakeEncoder

SIZE = (320, 240)


def works() -> None:
    """A card that encodes."""


def fails() -> None:
    raise KouboError("There is no card.")


def test_the_card_is_taken_where_it_works() -> None:
    for wanted in ("auto", "h264_nvenc"):
        chosen = choose_encoders(wanted, works)
        assert chosen.open("h264", SIZE, 800).name == "h264_nvenc"
        assert chosen.open("vp8", SIZE, 800).name == "libvpx"
        assert "NVIDIA" in chosen.reason


def test_without_a_card_it_is_libx264_and_the_reason_is_kept() -> None:
    chosen = choose_encoders("auto", fails)
    assert chosen.open("h264", SIZE, 800).name == "libx264"
    assert chosen.reason == "H.264 is encoded by libx264. There is no card."


def test_a_card_that_was_asked_for_and_is_not_there_is_an_error() -> None:
    with pytest.raises(KouboError, match="no card"):
        choose_encoders("h264_nvenc", fails)


def test_libx264_does_not_try_the_card() -> None:
    def tried() -> None:
        raise AssertionError

    assert choose_encoders("libx264", tried).open("h264", SIZE, 800).name == "libx264"


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="has an NVIDIA card")
def test_the_probe_says_in_one_sentence_why_there_is_none() -> None:
    with pytest.raises(KouboError, match=r"^The NVIDIA encoder cannot be opened here \(.+\); .+\.$"):
        probe_nvenc()


def test_ffmpeg_knows_every_option_that_nvenc_is_given() -> None:
    # Without a card the encoder cannot be opened, but its options can be looked up.
    codec = av.CodecContext.create("h264_nvenc", "w")
    known = {
        option.name: {choice.name for choice in option.choices}
        for options in (codec.supported_options.generic, codec.supported_options.private)
        for option in options
    }
    for name, value in nvenc._options(800).items():
        assert name in known
        if not value[0].isdigit():
            assert value in known[name]


def test_when_the_card_fails_the_processor_goes_on_with_a_key_frame() -> None:
    card, processor = FakeEncoder(), FakeEncoder()
    encoder = CardOrProcessor(card, lambda: processor)
    assert encoder.encode(GREY, 0, 800, keyframe=True)
    card.fault = av.FFmpegError(errno.ENOMEM, "out of memory")
    made = encoder.encode(GREY, 1, 800, keyframe=False)
    assert made is not None
    assert made.keyframe
    encoder.encode(GREY, 2, 800, keyframe=False)
    assert [slot for slot, _, _ in card.asked] == [0, 1]
    assert processor.asked == [(1, 800, True), (2, 800, False)]


def test_a_processor_that_fails_too_is_told() -> None:
    card, processor = FakeEncoder(), FakeEncoder()
    card.fault = av.FFmpegError(errno.ENOMEM, "out of memory")
    processor.fault = av.FFmpegError(errno.EINVAL, "a bad picture")
    with pytest.raises(av.FFmpegError, match="a bad picture"):
        CardOrProcessor(card, lambda: processor).encode(GREY, 0, 800, keyframe=False)

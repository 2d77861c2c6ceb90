"""The label in a session and in files: there from the first picture, gone only for a reason."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError

from engine.errors import KouboError
from engine.live import Tick
from engine.picture.label import LabelStyle, label_for, stamp
from engine.picture.video import KEEP_METADATA, VideoWriter
from engine.picture.yuv import Frame, planes, to_rgb
from streaming.cast import EngineCast
from streaming.credentials import Mp4Signer
from streaming.drawing import Workers
from streaming.encoding.base import Codec, EncodedPicture, EncodedSound
from streaming.labels import aigc_metadata, label_style, labelled
from streaming.metrics import Metrics
from streaming.server import create_app
from streaming.session_table import SessionTable
from streaming.sessions import Session, Stage
from streaming.settings import Settings
from streaming.voices.espeak import EspeakVoice
from tests.fakes import FRAME_SIZE, FakeMouth, speech_like
from tests.papers import verdict, write_papers
from tests.streaming.conftest import eventually
from tests.streaming.presenters import next_tick

FIELDS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
OFF = {"label": "off", "label_off_reason": "the platform marks the pictures itself"}


class Screen:
    """A receiver that keeps encoded pictures."""

    def __init__(self) -> None:
        self.pictures: list[EncodedPicture] = []

    def picture(self, picture: EncodedPicture) -> None:
        self.pictures.append(picture)

    def sound(self, sound: EncodedSound) -> None:
        raise AssertionError("no sound was asked for")

    def clear(self) -> None:
        pass


@asynccontextmanager
async def opened(settings: Settings, workers: Workers) -> AsyncIterator[Session]:
    cast = EngineCast(lambda folder: FakeMouth(), "fake")
    table = SessionTable(Stage(settings, cast, EspeakVoice(), workers, Metrics()))
    yield await table.create(None)
    await table.close()


def white(picture: Frame, style: LabelStyle) -> float:
    """Share of a label's box that is as bright as its words; the fake presenter's corners are dark."""
    left, top, right, bottom = label_for(style, FRAME_SIZE).box
    return float(np.mean(planes(picture)[0][top:bottom, left:right] > 170))


def test_the_label_is_on_unless_said_otherwise() -> None:
    assert label_style(Settings()) == LabelStyle()


def test_the_style_is_the_operators() -> None:
    settings = Settings(label="both", label_corner="bottom-right", label_size=0.07, label_opacity=0.8)
    assert label_style(settings) == LabelStyle("both", "bottom-right", 0.07, 0.8)


def test_the_environment_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOUBO_LABEL", "en")
    monkeypatch.setenv("KOUBO_LABEL_CORNER", "top-right")
    monkeypatch.setenv("KOUBO_LABEL_SIZE", "0.06")
    assert label_style(Settings()) == LabelStyle("en", "top-right", 0.06)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", "de"),
        ("label_corner", "middle"),
        ("label_size", 0.049),
        ("label_size", 0.2),
        ("label_opacity", 0.3),
        ("label_opacity", 1.2),
        ("content_producer", ""),
        ("c2pa_timestamp_url", "ftp://time.example"),
    ],
)
def test_settings_against_the_rules_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


@pytest.mark.parametrize("reason", ["", "   "])
def test_off_needs_a_reason(reason: str) -> None:
    with pytest.raises(KouboError, match="without a reason"):
        label_style(Settings(label="off", label_off_reason=reason))


def test_off_for_a_reason_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert label_style(Settings.model_validate(OFF)) is None
    assert "the platform marks the pictures itself" in caplog.text


def test_a_reason_alone_turns_nothing_off(caplog: pytest.LogCaptureFixture) -> None:
    assert label_style(Settings(label_off_reason="because")) == LabelStyle()
    assert caplog.text == ""


def test_a_server_does_not_start_without_label_and_reason() -> None:
    with pytest.raises(KouboError, match="without a reason"):
        create_app(Settings(label="off"))


def test_a_tick_keeps_everything_but_its_picture() -> None:
    picture = np.full((288, 256), 40, np.uint8)
    tick = Tick(7, picture, np.arange(640, dtype=np.int16), True, False)
    out = labelled(tick, LabelStyle())
    assert np.array_equal(out.picture, stamp(LabelStyle(), picture))
    assert (picture == 40).all()
    for name in set(Tick.__dataclass_fields__) - {"picture"}:
        assert getattr(out, name) is getattr(tick, name)
    assert labelled(tick, None) is tick


@pytest.mark.parametrize("corner", ["top-left", "bottom-right"])
async def test_every_tick_of_a_session_carries_it(
    avatars: Path, settings: Settings, workers: Workers, corner: str
) -> None:
    chosen = settings.model_copy(update={"label_corner": corner})
    style = label_style(chosen)
    assert style is not None
    ticks: list[Tick] = []
    async with opened(chosen, workers) as session:
        session.on_tick.append(lambda slot, tick: ticks.append(tick))
        session._presenter.push(speech_like(0.5))
        await eventually(lambda: len(ticks) >= 20)
    assert ticks[0].index == 0
    assert {tick.speaking for tick in ticks} == {True, False}
    for tick in ticks:
        assert white(tick.picture, style) > 0.1


async def test_the_anchor_never_gets_it(avatars: Path, settings: Settings, workers: Workers) -> None:
    cast = EngineCast(lambda folder: FakeMouth(), "fake")
    table = SessionTable(Stage(settings, cast, EspeakVoice(), workers, Metrics()))
    ticks: list[Tick] = []
    session = await table.create(None)
    session.on_tick.append(lambda slot, tick: ticks.append(tick))
    await eventually(lambda: len(ticks) >= 25)
    await table.close()
    part = await cast.enter(None)
    for _ in range(10):
        assert white(next_tick(part.presenter).picture, LabelStyle()) == 0


async def test_no_tick_carries_it_when_it_is_off(avatars: Path, settings: Settings, workers: Workers) -> None:
    ticks: list[Tick] = []
    async with opened(settings.model_copy(update=OFF), workers) as session:
        session.on_tick.append(lambda slot, tick: ticks.append(tick))
        await eventually(lambda: len(ticks) >= 5)
    assert max(white(tick.picture, LabelStyle()) for tick in ticks) == 0


@pytest.mark.parametrize("codec", ["h264", "vp8"])
async def test_receivers_see_it_from_their_first_picture(
    avatars: Path, settings: Settings, workers: Workers, codec: Codec
) -> None:
    screens = (Screen(), Screen())
    async with opened(settings, workers) as session:
        session.encoders.attach(screens[0], video=codec, audio=None)
        await asyncio.sleep(0.2)
        session.encoders.attach(screens[1], video=codec, audio=None)
        await eventually(lambda: min(len(screen.pictures) for screen in screens) >= 5)
    for screen in screens:
        decoder = av.CodecContext.create(codec, "r")
        assert screen.pictures[0].keyframe
        shown = [frame for picture in screen.pictures for frame in decoder.decode(av.Packet(picture.data))]
        assert len(shown) >= 3
        for frame in shown:
            assert white(np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8), LabelStyle()) > 0.1


def test_metadata_has_every_field_of_the_standard() -> None:
    settings = Settings(content_producer='口播 "Studio"', content_propagator="Platform")
    metadata = aigc_metadata(settings, "5f0c")
    assert set(metadata) == {"AIGC"}
    fields = json.loads(metadata["AIGC"])
    assert tuple(fields) == FIELDS
    assert all(isinstance(value, str) for value in fields.values())
    assert fields["Label"] == "1"
    assert (fields["ContentProducer"], fields["ProduceID"]) == ('口播 "Studio"', "5f0c")
    assert (fields["ContentPropagator"], fields["PropagateID"]) == ("Platform", "5f0c")


def test_metadata_names_no_propagator_before_there_is_one() -> None:
    fields = json.loads(aigc_metadata(Settings(), "5f0c")["AIGC"])
    assert (fields["ContentPropagator"], fields["PropagateID"]) == ("", "")
    assert fields["ContentProducer"]


def write(path: Path, container_format: str, options: dict[str, str], metadata: dict[str, str]) -> None:
    with av.open(str(path), "w", format=container_format, options=options) as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((72, 64), 5 * number, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "container_format", "options", "read"),
    [
        ("a.mp4", "mp4", {"movflags": f"faststart+{KEEP_METADATA}"}, "a.mp4"),
        ("a.mp4", "mp4", {"movflags": f"frag_keyframe+empty_moov+{KEEP_METADATA}"}, "a.mp4"),
        ("a.flv", "flv", {}, "a.flv"),
        ("a.mkv", "matroska", {}, "a.mkv"),
        (
            "a.m3u8",
            "hls",
            {"hls_segment_type": "fmp4", "hls_segment_options": f"movflags={KEEP_METADATA}"},
            "init.mp4",
        ),
    ],
)
def test_containers_keep_the_metadata(
    tmp_path: Path, name: str, container_format: str, options: dict[str, str], read: str
) -> None:
    metadata = aigc_metadata(Settings(content_producer='口播; "x"=\\y'), "5f0c")
    write(tmp_path / name, container_format, options, metadata)
    with av.open(str(tmp_path / read)) as container:
        assert container.metadata["AIGC"] == metadata["AIGC"]


def test_a_fragmented_recording_that_was_cut_off_keeps_its_metadata(tmp_path: Path) -> None:
    metadata = aigc_metadata(Settings(), "5f0c")
    flags = {"movflags": f"frag_every_frame+empty_moov+default_base_moof+{KEEP_METADATA}"}
    write(tmp_path / "a.mp4", "mp4", flags, metadata)
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert container.metadata["AIGC"] == metadata["AIGC"]


def test_a_written_video_keeps_any_metadata_and_its_pictures(tmp_path: Path) -> None:
    metadata = aigc_metadata(Settings(), "5f0c") | {"title": "Good evening"}
    with VideoWriter(tmp_path / "a.mp4", (64, 48), metadata=metadata) as video:
        for _ in range(5):
            video.write(np.full((72, 64), 90, np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["AIGC"] == metadata["AIGC"]
        assert container.metadata["title"] == "Good evening"
        shown = [to_rgb(np.asarray(frame.to_ndarray(), np.uint8)) for frame in container.decode(video=0)]
    assert len(shown) == 5


def test_a_video_without_metadata_has_none(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (64, 48)) as video:
        video.write(np.full((72, 64), 90, np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert "AIGC" not in container.metadata


@pytest.mark.parametrize(("kind", "name"), [("mp4", "*.mp4"), ("hls", "**/init*.mp4")])
async def test_a_recording_is_labelled_and_says_so(
    avatars: Path, settings: Settings, workers: Workers, tmp_path: Path, kind: str, name: str
) -> None:
    kept = tmp_path / "kept"
    chosen = settings.model_copy(
        update={"recordings": kept, "recordings_min_free_mb": 0, "content_producer": "口播 Studio"}
    )
    async with opened(chosen, workers) as session:
        entry = await session.outlets.add(f"{kind}:")
        await eventually(lambda: entry.bytes > 20_000, 20)
        await session.outlets.remove(entry.id)
    (path,) = kept.glob(name)
    with av.open(str(path)) as container:
        fields = json.loads(container.metadata["AIGC"])
        assert (fields["Label"], fields["ContentProducer"]) == ("1", "口播 Studio")
        assert fields["ProduceID"]
        if kind == "mp4":
            shown = list(container.decode(video=0))
            assert len(shown) > 10
            for frame in shown:
                assert white(np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8), LabelStyle()) > 0.1


async def test_a_recording_can_be_signed_when_it_is_over(
    avatars: Path, settings: Settings, workers: Workers, tmp_path: Path
) -> None:
    pytest.importorskip("c2pa", reason="c2pa-python is not installed")
    papers = write_papers(tmp_path / "papers")
    kept = tmp_path / "kept"
    chosen = settings.model_copy(update={"recordings": kept, "recordings_min_free_mb": 0})
    async with opened(chosen, workers) as session:
        entry = await session.outlets.add("mp4:")
        await eventually(lambda: entry.bytes > 20_000, 20)
        await session.outlets.remove(entry.id)
    (path,) = kept.glob("*.mp4")
    with av.open(str(path)) as container:
        before = sum(1 for _ in container.decode(video=0))
    Mp4Signer(papers.certificate, papers.key).sign(path)
    assert verdict(path, papers.root)[0] == "Trusted"
    with av.open(str(path)) as container:
        assert "AIGC" in container.metadata
        assert sum(1 for _ in container.decode(video=0)) == before > 10
        container.seek(0)
        assert sum(1 for _ in container.decode(audio=0)) > 10

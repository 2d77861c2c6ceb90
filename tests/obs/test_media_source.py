"""OBS itself plays the presenter's MPEG-TS; screenshots of its source show who is there and speaks."""

import time
from fractions import Fraction
from pathlib import Path
from threading import Event, Thread

import av
import pytest

from engine.anchor.package import Avatar, find_avatar
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.speech import espeak
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE
from tests.obs.likeness import Anchors
from tests.obs.program import SOURCE, media_source, need_obs, obs

pytestmark = pytest.mark.slow

TEXT = "Hello, welcome everybody. I am on the air, and my mouth is moving all the time."


def feed(live: LiveAvatar, url: str, over: Event) -> None:
    """Ticks in real time as MPEG-TS."""
    with av.open(url, "w", format="mpegts") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options={"tune": "zerolatency", "g": "25"})
        video.width, video.height, video.pix_fmt, video.bit_rate = 720, 720, "yuv420p", 3_000_000
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        began = time.monotonic()
        count = 0
        while not over.is_set():
            tick = live.tick()
            picture = av.VideoFrame.from_ndarray(tick.picture, format="yuv420p")
            picture.pts, picture.time_base = count, Fraction(1, FRAME_RATE)
            container.mux(video.encode(picture))
            sound = av.AudioFrame.from_ndarray(tick.sound[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 640 * count, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(sound))
            count += 1
            over.wait(max(0.0, began + count / FRAME_RATE - time.monotonic()))


def test_obs_shows_the_presenter_speaking(tmp_path: Path) -> None:
    need_obs()
    avatar = Avatar.load(find_avatar("ada"))
    mouth = OpenVinoMouth(avatar.mouth)
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
    anchors = Anchors(avatar)
    over = Event()
    feeder = Thread(target=feed, args=(live, "udp://127.0.0.1:9561?pkt_size=1316", over))
    with obs(tmp_path) as studio:
        remote = studio.remote
        scene = remote.ask("GetSceneList")["currentProgramSceneName"]
        remote.ask(
            "CreateInput",
            sceneName=scene,
            inputName=SOURCE,
            inputKind="ffmpeg_source",
            inputSettings=media_source("udp://127.0.0.1:9561", "mpegts"),
        )
        feeder.start()
        try:
            time.sleep(6)
            idle = [anchors.compare(remote.screenshot(SOURCE)) for _ in range(3)]
            live.push(espeak.speak(TEXT, "en-us").samples)
            live.finish()
            time.sleep(1.5)
            speaking = [anchors.compare(remote.screenshot(SOURCE)) for _ in range(8)]
        finally:
            over.set()
            feeder.join()
    assert max(seen.face for seen in idle + speaking) < 6
    assert max(seen.mouth for seen in idle) < 6
    assert max(seen.mouth for seen in speaking) > 10
    assert len({seen.frame for seen in idle + speaking}) > 3

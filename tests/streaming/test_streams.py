"""Microphone in, presenter out, over real WebRTC connections on this machine."""

import asyncio

import av
import httpx
import numpy as np
import pytest
from aiortc import RTCRtpReceiver
from fastapi import FastAPI

from engine.picture.yuv import to_rgb
from engine.speech.audio import SAMPLE_RATE
from streaming.webrtc.client import ClipTrack, Watcher, publish
from streaming.webrtc.ending import close_connection
from tests.fakes import FRAME_SIZE, SKIN, speech_like
from tests.streaming.conftest import eventually, exchange
from tests.streaming.listening import Recorder, lag


async def test_a_viewer_gets_picture_and_sound_of_the_same_ticks(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    watcher = Watcher()
    began = asyncio.get_running_loop().time()
    await watcher.connect(exchange(http, session["whep"]))
    picture = await asyncio.wait_for(watcher.pictures.recv(), 10)
    took = asyncio.get_running_loop().time() - began
    assert isinstance(picture, av.VideoFrame)
    assert (picture.width, picture.height) == FRAME_SIZE
    assert took < 5
    times = [
        p.pts or 0 for p in [picture, *[await asyncio.wait_for(watcher.pictures.recv(), 5) for _ in range(5)]]
    ]
    assert times[0] == 0
    assert all(np.diff(times) % 3600 == 0)
    sounds = [await asyncio.wait_for(watcher.sounds.recv(), 5) for _ in range(5)]
    assert [s.pts for s in sounds] == [0, 960, 1920, 2880, 3840]
    await watcher.close()


async def test_the_lips_follow_the_microphone_in_step_with_the_sound(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    words = np.concatenate([speech_like(0.7), np.zeros(SAMPLE_RATE // 2, np.float32)])
    track = ClipTrack(np.tile(words, 2))
    sender = await publish(track, exchange(http, session["whip"]))
    watcher = Watcher()
    await watcher.connect(exchange(http, session["whep"]))
    recorder = Recorder(watcher)
    await recorder.until(120)
    await close_connection(sender)
    await watcher.close()
    await recorder.stop()
    loud, open_ = recorder.loudness(), recorder.gape()
    assert max(loud.values()) > 0.05
    assert max(open_.values()) > 0.02
    shift, r = lag(loud, open_)
    assert abs(shift) <= 1
    assert r > 0.6


async def test_text_is_spoken_soon_and_an_interrupt_silences_it_at_once(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    address = f"/v1/sessions/{session['id']}"
    watcher = Watcher()
    await watcher.connect(exchange(http, session["whep"]))
    recorder = Recorder(watcher)
    await recorder.until(5)
    clock = asyncio.get_running_loop().time
    asked = clock()
    response = await http.post(f"{address}/speak", json={"text": "This is a long story, told slowly. " * 5})
    assert response.status_code == 202
    assert response.json() == {"voice": "espeak:en-us"}
    await eventually(lambda: any(np.abs(frame.to_ndarray()).max() > 1000 for _, _, frame in recorder.sounds))
    assert clock() - asked < 2
    await asyncio.sleep(0.5)
    response = await http.post(f"{address}/interrupt")
    assert response.status_code == 200
    assert response.json()["dropped_ms"] > 3000
    before, pictures = len(recorder.sounds), len(recorder.pictures)
    await recorder.until(pictures + 25)
    await watcher.close()
    await recorder.stop()
    # What was under way may still arrive, on a busy machine a few packets of 20 ms; then Opus rings for some
    # milliseconds, far quieter than speech.
    late = [np.abs(frame.to_ndarray()).max() for _, _, frame in recorder.sounds[before:]]
    assert len(late) > 30
    assert max(late[15:]) < 300
    open_ = [
        value for tick, value in recorder.gape().items() if tick > recorder.pictures[pictures][0] // 3600 + 8
    ]
    closed = recorder.gape()[0]
    assert max(open_) <= closed + 0.01
    status = (await http.get(address)).json()
    assert status["backlog_ms"] == 0
    assert status["speaking"] is False


async def test_a_late_viewer_begins_with_a_key_frame_and_both_tracks_at_once(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    first = Watcher()
    await first.connect(exchange(http, session["whep"]))
    await asyncio.wait_for(first.pictures.recv(), 10)
    second = Watcher()
    await second.connect(exchange(http, session["whep"]))
    # A decoder can only begin at a key frame; it began with the first picture that arrived.
    assert (await asyncio.wait_for(second.pictures.recv(), 10)).pts == 0
    assert (await asyncio.wait_for(second.sounds.recv(), 10)).pts == 0
    status = (await http.get(f"/v1/sessions/{session['id']}")).json()
    assert status["viewers"] == 2
    assert status["state"] == "live"
    await first.close()
    await second.close()


async def test_deleting_a_session_ends_its_connections(
    app: FastAPI, http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    watcher = Watcher()
    await watcher.connect(exchange(http, session["whep"]))
    sender = await publish(ClipTrack(speech_like(1.0)), exchange(http, session["whip"]))
    await asyncio.wait_for(watcher.pictures.recv(), 10)
    assert (await http.delete(f"/v1/sessions/{session['id']}")).status_code == 204
    assert (await http.get(f"/v1/sessions/{session['id']}")).status_code == 404
    await eventually(lambda: not ("closed" not in (watcher.pc.connectionState, sender.connectionState)))
    await watcher.close()
    await close_connection(sender)


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
async def test_both_codecs_show_the_presenter(
    http: httpx.AsyncClient, session: dict[str, str], codec: str
) -> None:
    watcher = Watcher()
    for transceiver in watcher.pc.getTransceivers():
        if transceiver.kind == "video":
            known = RTCRtpReceiver.getCapabilities("video")
            assert known is not None
            transceiver.setCodecPreferences([c for c in known.codecs if c.mimeType == codec])
    await watcher.connect(exchange(http, session["whep"]))
    picture = await asyncio.wait_for(watcher.pictures.recv(), 10)
    assert isinstance(picture, av.VideoFrame)
    middle = to_rgb(np.asarray(picture.to_ndarray(format="yuv420p"), np.uint8))[64, 80]
    assert np.abs(middle.astype(int) - SKIN).max() < 30
    await watcher.close()

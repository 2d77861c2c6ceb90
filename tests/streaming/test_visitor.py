"""The visitor's place in a session: what it hears, tells and stops."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest
from aiortc import RTCPeerConnection
from fastapi import FastAPI

from engine.live import Tick
from engine.speech import espeak
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples, to_pcm16
from streaming.events import Event, Events, Interrupted, SpeakEnded, SpeechStarted, SpeechStopped
from streaming.sessions import Session
from streaming.visitor import VisitorEar
from streaming.webrtc.client import ClipTrack, publish
from streaming.webrtc.ending import close_connection
from tests.fakes import room_noise
from tests.rooms import echo_of
from tests.streaming.conftest import SDP, eventually, exchange


class Desk:
    """An ear with everything around it noted; its presenter says what it is told."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.interrupts = 0
        self.talking = True
        events = Events()
        events.listen(self.told.append)
        self.ear = VisitorEar(events, lambda: self.talking, self.interrupt)

    async def interrupt(self) -> float:
        self.interrupts += 1
        return 0.0

    async def run(self, played: Samples, heard: Samples) -> None:
        for slot in range(heard.size // SAMPLES_PER_TICK):
            part = slice(slot * SAMPLES_PER_TICK, (slot + 1) * SAMPLES_PER_TICK)
            picture = np.zeros((3, 2), np.uint8)
            self.ear.see(slot, Tick(slot, picture, to_pcm16(played[part]), speaking=True, mouth_late=False))
            self.ear.hear(heard[part])
            await asyncio.sleep(0)


@pytest.fixture
def question() -> Samples:
    return espeak.speak("Excuse me, can I ask you something about this?", "en-gb").samples


@pytest.fixture
def heard(question: Samples) -> Samples:
    """Half a second of a quiet room, the question, a second and a half of the room."""
    sound = room_noise(question.size / SAMPLE_RATE + 2, 0.0005)
    sound[8000 : 8000 + question.size] += question
    return sound


async def test_a_visitor_interrupts_a_presenter_that_talks(heard: Samples) -> None:
    desk = Desk()
    desk.ear.enter()
    await desk.run(np.zeros_like(heard), heard)
    await desk.ear.close()
    assert [type(event) for event in desk.told] == [SpeechStarted, SpeechStopped]
    assert isinstance(desk.told[0], SpeechStarted)
    assert 0.5 < desk.told[0].at < 0.8
    assert desk.interrupts == 1


async def test_a_presenter_that_is_silent_is_not_interrupted(heard: Samples) -> None:
    desk = Desk()
    desk.talking = False
    desk.ear.enter()
    await desk.run(np.zeros_like(heard), heard)
    await desk.ear.close()
    assert [type(event) for event in desk.told] == [SpeechStarted, SpeechStopped]
    assert desk.interrupts == 0


async def test_its_own_echo_is_not_a_visitor(question: Samples) -> None:
    played = np.resize(question, 6 * SAMPLE_RATE)
    desk = Desk()
    desk.ear.enter()
    await desk.run(played, echo_of(played, 0.18, -9, room_s=0.2, seed=3))
    await desk.ear.close()
    assert (desk.told, desk.interrupts) == ([], 0)


async def test_without_a_visitor_nothing_is_heard(heard: Samples) -> None:
    desk = Desk()
    await desk.run(np.zeros_like(heard), heard)
    desk.ear.enter()
    desk.ear.leave()
    await desk.run(np.zeros_like(heard), heard)
    assert desk.told == []


async def test_a_visitor_that_goes_in_the_middle_has_stopped(heard: Samples) -> None:
    desk = Desk()
    desk.ear.enter()
    await desk.run(np.zeros(16_000, np.float32), heard[:16_000])
    desk.ear.leave()
    desk.ear.leave()
    assert [type(event) for event in desk.told] == [SpeechStarted, SpeechStopped]
    await desk.ear.close()


@pytest.fixture
async def opened(app: FastAPI, session: dict[str, str]) -> Session:
    found: Session = app.state.table.get(session["id"])
    return found


@pytest.fixture
async def visitor(
    http: httpx.AsyncClient, session: dict[str, str], heard: Samples
) -> AsyncIterator[RTCPeerConnection]:
    """Who says the question over and over, by WHIP."""
    pc = await publish(ClipTrack(heard), exchange(http, f"{session['whip']}?role=visitor"))
    yield pc
    await close_connection(pc)


async def test_a_visitor_by_whip_stops_the_presenter_and_is_told_of(
    opened: Session, http: httpx.AsyncClient, visitor: RTCPeerConnection
) -> None:
    with opened.events.subscribe() as events:
        text = "This is a long story that the visitor does not want to hear to its end, for it is long. " * 2
        await http.post(f"/v1/sessions/{opened.id}/speak", json={"text": text})
        told: list[Event] = []
        async with asyncio.timeout(20):
            async for event in events:
                told.append(event)
                if isinstance(event, Interrupted):
                    break
    kinds = [type(event) for event in told]
    assert kinds[-3:] == [SpeechStarted, SpeakEnded, Interrupted] or kinds[-2:] == [
        SpeechStarted,
        Interrupted,
    ]
    assert opened.backlog_s == 0
    # The presenter says nothing of what a visitor says.
    assert opened.playback.busy is False
    await eventually(lambda: not opened.speaking)


async def test_a_second_visitor_is_409_and_the_presenters_microphone_is_another_seat(
    opened: Session, http: httpx.AsyncClient, session: dict[str, str], visitor: RTCPeerConnection
) -> None:
    pc = RTCPeerConnection()
    pc.addTransceiver("audio", direction="sendonly")
    await pc.setLocalDescription()
    offer = pc.localDescription.sdp
    refused = await http.post(f"{session['whip']}?role=visitor", content=offer, headers=SDP)
    assert refused.status_code == 409
    assert "visitor" in refused.json()["detail"]
    assert (await http.post(session["whip"], content=offer, headers=SDP)).status_code == 201
    await close_connection(pc)


async def test_a_visitor_can_hang_up_and_come_back(
    opened: Session, http: httpx.AsyncClient, session: dict[str, str], heard: Samples
) -> None:
    for _ in range(2):
        locations: list[str] = []
        address = f"{session['whip']}?role=visitor"
        pc = await publish(ClipTrack(heard), exchange(http, address, locations))
        await eventually(lambda: opened.visitor is not None and opened.visitor.connected)
        assert opened.state == "live"
        assert (await http.delete(locations[0])).status_code == 200
        assert opened.visitor is None
        await close_connection(pc)


async def test_another_role_is_refused(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    response = await http.post(f"{session['whip']}?role=nobody", content="v=0", headers=SDP)
    assert response.status_code == 422
    assert "role" in response.json()["detail"]

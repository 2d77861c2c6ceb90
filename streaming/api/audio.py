"""/v1/sessions/{id}/audio: an agent's own voice in over a WebSocket, what was heard of it out."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from streaming.auth import Role, needs
from streaming.errors import BadRequest, Refusal, TooSlow
from streaming.events import BufferCleared, Event, Subscription
from streaming.pcm import MAX_RATE, MIN_RATE, PcmReader
from streaming.session_table import SessionTable
from streaming.sessions import Session

GOING_AWAY = 1001
REFUSED = 4000
"""Close codes of refusals are this plus the HTTP status: 4400, 4404, 4408, 4409."""

MAX_CONTROL_CHARS = 4096
_START_TIMEOUT_S = 10.0

router = APIRouter(prefix="/v1/sessions", tags=["agents"])

Name = Annotated[str, Field(min_length=1, max_length=128)]


class Start(BaseModel):
    """The first message: what the binary ones hold. Always mono."""

    type: Literal["start"]
    sample_rate: int = Field(default=24_000, ge=MIN_RATE, le=MAX_RATE)
    format: Literal["s16le"] = "s16le"


class Begin(BaseModel):
    """An utterance of this name begins; the binary messages that follow are its sound."""

    type: Literal["begin"]
    utterance: Name


class Finish(BaseModel):
    """The open utterance is complete; its name may be left out."""

    type: Literal["finish"]
    utterance: Name | None = None


class Interrupt(BaseModel):
    """Be silent at once: forget this sound and every text that waits."""

    type: Literal["interrupt"]


class ClearBuffer(BaseModel):
    """Forget the sound of this socket that has not been heard; nothing else."""

    type: Literal["clear_buffer"]


class ShowClip(BaseModel):
    """Show a clip of the presenter: a greeting or gesture once, another posture from now on."""

    type: Literal["clip"]
    name: Name


Control = Begin | Finish | Interrupt | ClearBuffer | ShowClip
_control: TypeAdapter[Control] = TypeAdapter(Annotated[Control, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class Ready(Event):
    """The session takes sound now; up to `buffer_ms` of it waits before the server stops reading."""

    type: ClassVar[str] = "ready"
    session: str
    sample_rate: int
    buffer_ms: float


@dataclass(frozen=True, slots=True)
class Error(Event):
    """A message was not followed, and why; the connection goes on."""

    type: ClassVar[str] = "error"
    sentence: str


@router.websocket("/{session_id}/audio")
@needs(Role.OPERATE)
async def audio(websocket: WebSocket, session_id: str) -> None:
    """One producer at a time; a second one is closed with 4409."""
    await websocket.accept()
    table: SessionTable = websocket.app.state.table
    try:
        session = table.get(session_id)
        start = await _start(websocket)
        session.feed.enter()
    except Refusal as refusal:
        with suppress(WebSocketDisconnect):  # it may not wait for the answer
            await websocket.send_json(Error(str(refusal)).as_json())
            await websocket.close(REFUSED + refusal.status, str(refusal)[:120])
        return
    except WebSocketDisconnect:
        return
    with session.events.subscribe() as events:
        events.put(Ready(session.id, start.sample_rate, 1000 * session.feed.limit_s))
        try:
            await _serve(websocket, session, events, start.sample_rate)
        finally:
            session.feed.leave()


async def _start(websocket: WebSocket) -> Start:
    """The first message. Raises BadRequest or TooSlow."""
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            message = await websocket.receive()
    except TimeoutError as error:
        raise TooSlow("No start message came in time; send it first.") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect
    try:
        return Start.model_validate_json(message.get("text") or "")
    except ValidationError as error:
        raise BadRequest(
            'The first message must be {"type": "start", "sample_rate": 24000, "format": "s16le"} '
            f"with a rate from {MIN_RATE} to {MAX_RATE} Hz."
        ) from error


async def _serve(websocket: WebSocket, session: Session, events: Subscription, rate: int) -> None:
    """Read and write until either ends."""
    reader = asyncio.create_task(_read(websocket, session, events, rate), name=f"audio-in-{session.id}")
    writer = asyncio.create_task(_write(websocket, events), name=f"audio-out-{session.id}")
    tasks = {reader, writer}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()


async def _write(websocket: WebSocket, events: Subscription) -> None:
    """Tell every event of the session, until it ends."""
    try:
        async for event in events:
            await websocket.send_json(event.as_json())
        await websocket.close(GOING_AWAY, "The session has ended.")
    except WebSocketDisconnect:
        return


async def _read(websocket: WebSocket, session: Session, events: Subscription, rate: int) -> None:
    """Follow the client's messages, until it goes."""
    producer = _Producer(session, rate)
    while (message := await websocket.receive())["type"] == "websocket.receive":
        sound = message.get("bytes")
        try:
            if sound is not None:
                producer.sound(sound)
                # Messages that are here already are received without a wait: let the session have its turn.
                await asyncio.sleep(0)
                await session.feed.room()
            else:
                await producer.control(message.get("text") or "")
        except Refusal as refusal:
            events.put(Error(str(refusal)))


class _Producer:
    """Messages of one socket, done to its session."""

    def __init__(self, session: Session, rate: int) -> None:
        self._session = session
        self._rate = rate
        self._reader = PcmReader(rate)

    def sound(self, data: bytes) -> None:
        """A binary message."""
        self._session.feed.write(self._reader.push(data))

    async def control(self, text: str) -> None:
        """A text message. Raises a Refusal that says what is wrong with it."""
        match _parse(text):
            case Begin(utterance=name):
                self._session.feed.begin(name)
                self._reader = PcmReader(self._rate)
            case Finish(utterance=name):
                self._session.feed.check_open(name)
                self._session.feed.write(self._reader.flush())
                self._session.feed.finish(name)
            case Interrupt():
                await self._session.interrupt("agent")
                self._renew()
            case ClearBuffer():
                dropped = await self._session.clear_audio()
                self._session.events.publish(BufferCleared(round(1000 * dropped, 1)))
                self._renew()
            case ShowClip(name=name):
                self._session.casting.show(name)

    def _renew(self) -> None:
        """What comes now is not the rest of what was cut."""
        self._session.feed.listen()
        self._reader = PcmReader(self._rate)


def _parse(text: str) -> Control:
    if len(text) > MAX_CONTROL_CHARS:
        raise BadRequest(f"A control message has at most {MAX_CONTROL_CHARS} characters; sound is binary.")
    try:
        return _control.validate_json(text)
    except ValidationError as error:
        raise BadRequest(
            "This message is not understood; send begin, finish, interrupt, clear_buffer or clip as JSON."
        ) from error

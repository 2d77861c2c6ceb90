"""/v1/sessions: open, look at, talk through, interrupt and end a presenter."""

from datetime import UTC, datetime

from fastapi import APIRouter, Depends, Response, status
from pydantic import BaseModel, Field

from engine.anchor.card import ClipKind
from engine.picture.fit import Size
from streaming.api.deps import TheKeys, TheSession, TheStage, TheTable, count_new_session
from streaming.auth import Role, needs
from streaming.errors import Unprocessable
from streaming.voices.text import has_words

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class SessionIn(BaseModel):
    """What to open; the default avatar when none is named."""

    avatar: str | None = None


class AvatarIn(BaseModel):
    """The presenter that takes over."""

    avatar: str


class ClipIn(BaseModel):
    """A clip of the presenter, by its name."""

    clip: str


class ClipOut(BaseModel):
    """A clip; `kind` is idle, talking, greeting or gesture."""

    name: str
    kind: ClipKind


class SessionCreated(BaseModel):
    """Where to publish a microphone (WHIP) and where to watch (WHEP)."""

    id: str
    whip: str
    whep: str


class MouthOut(BaseModel):
    """What draws the mouth; `ms_per_frame` is the median of the last frames, 0 before the first."""

    runtime: str
    precision: str
    ms_per_frame: float


class SessionOut(BaseModel):
    """How a session does. `state`: "live" while a viewer or a microphone is connected, else "waiting"."""

    id: str
    avatar: str
    size: Size
    clips: list[ClipOut]
    clip: str | None
    """The greeting or gesture that is being shown."""
    state: str
    uptime_s: float
    ticks: int
    late_ticks: int
    late_ticks_ratio: float
    tick_lateness_ms: dict[str, float]
    picture_lateness_ms: dict[str, float]
    """When pictures left the encoder, against when their ticks were due."""
    mouths_repeated: int
    fps: float
    speaking: bool
    backlog_ms: float
    mic: bool
    viewers: int
    mouth: MouthOut
    voice_error: str | None
    """What was wrong with a voice when one failed last."""


class SpeakIn(BaseModel):
    """Text to be spoken, by the voice that fits its script when none is named."""

    text: str
    voice: str | None = None


class SpeakOut(BaseModel):
    """The voice that will speak."""

    voice: str


class InterruptOut(BaseModel):
    """How much queued speech was dropped."""

    dropped_ms: float


class WatchLinkIn(BaseModel):
    """How long the link is good for; the server has an upper limit (`KOUBO_WATCH_LINK_MAX_S`)."""

    seconds: int = Field(default=3600, ge=1, le=31_536_000)


class WatchLinkOut(BaseModel):
    """A token that watches this session alone until `expires`; `player` and `whep` have it in their query."""

    token: str
    expires: datetime
    player: str
    whep: str


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[Depends(count_new_session)])
@needs(Role.OPERATE)
async def create(table: TheTable, response: Response, body: SessionIn | None = None) -> SessionCreated:
    """Open a session."""
    session = await table.create(body.avatar if body else None)
    path = f"/v1/sessions/{session.id}"
    response.headers["Location"] = path
    return SessionCreated(id=session.id, whip=f"{path}/whip", whep=f"{path}/whep")


@router.get("/{session_id}")
@needs(Role.WATCH)
async def show(session: TheSession) -> SessionOut:
    """How it does."""
    role = session.part.role
    mouth = role.mouth.figures()
    figures = session.figures
    return SessionOut(
        id=session.id,
        avatar=role.name,
        size=session.part.size,
        clips=[ClipOut(name=clip.name, kind=clip.kind) for clip in role.clips],
        clip=session.casting.clip,
        state=session.state,
        uptime_s=round(session.uptime_s, 3),
        ticks=figures.ticks,
        late_ticks=figures.late,
        late_ticks_ratio=round(figures.late_ratio, 5),
        tick_lateness_ms=figures.percentiles_ms(),
        picture_lateness_ms=figures.picture_percentiles_ms(),
        mouths_repeated=figures.mouths_repeated,
        fps=round(figures.fps(), 2),
        speaking=session.speaking,
        backlog_ms=round(1000 * session.backlog_s, 1),
        mic=session.microphone is not None and session.microphone.connected,
        viewers=sum(viewer.connected for viewer in session.viewers.values()),
        mouth=MouthOut(runtime=mouth.runtime, precision=mouth.precision, ms_per_frame=mouth.ms_per_frame),
        voice_error=session.voice_error,
    )


@router.patch("/{session_id}")
@needs(Role.OPERATE)
async def change(session: TheSession, body: AvatarIn) -> SessionOut:
    """Have another presenter take over; what is said, who watches and what is recorded goes on.

    Pictures keep their size: a presenter of another one is fitted into it. The presenter before goes on until
    this one is ready, and stays where this one cannot be shown.
    """
    await session.casting.change(body.avatar)
    return await show(session)


@router.post("/{session_id}/prepare", status_code=status.HTTP_204_NO_CONTENT)
@needs(Role.OPERATE)
async def prepare(session: TheSession, body: AvatarIn) -> None:
    """Load a presenter that may take over soon, so that it is there at once."""
    await session.casting.prepare(body.avatar)


@router.post("/{session_id}/clips", status_code=status.HTTP_202_ACCEPTED)
@needs(Role.OPERATE)
async def show_clip(session: TheSession, body: ClipIn) -> None:
    """Show a greeting or gesture once; make an idle or talking clip the one of its kind."""
    session.casting.show(body.clip)


@router.delete("/{session_id}", status_code=status.HTTP_204_NO_CONTENT)
@needs(Role.OPERATE)
async def end(session_id: str, table: TheTable) -> None:
    """End it, and every connection to it."""
    await table.end(session_id)


@router.post("/{session_id}/speak", status_code=status.HTTP_202_ACCEPTED)
@needs(Role.OPERATE)
async def speak(session: TheSession, body: SpeakIn, stage: TheStage) -> SpeakOut:
    """Speak a text after those already queued."""
    limit = stage.settings.text_max_chars
    if len(body.text) > limit:
        raise Unprocessable(
            f"The text has {len(body.text)} characters; at most {limit} can be spoken at once."
        )
    if not has_words(body.text):
        raise Unprocessable("The text holds nothing to say; send at least one word.")
    return SpeakOut(voice=session.speak(body.text, body.voice or None))


@router.post("/{session_id}/interrupt")
@needs(Role.OPERATE)
async def interrupt(session: TheSession) -> InterruptOut:
    """Be silent at once."""
    return InterruptOut(dropped_ms=round(1000 * await session.interrupt(), 1))


@router.post("/{session_id}/watch-links", status_code=status.HTTP_201_CREATED)
@needs(Role.OPERATE)
async def watch_link(session: TheSession, keys: TheKeys, body: WatchLinkIn | None = None) -> WatchLinkOut:
    """Make a link with which anybody who has it may watch this session, and nothing else, for a while."""
    token, expires = keys.watch_link(session.id, (body or WatchLinkIn()).seconds)
    return WatchLinkOut(
        token=token,
        expires=datetime.fromtimestamp(expires, UTC),
        player=f"/player?session={session.id}&token={token}",
        whep=f"/v1/sessions/{session.id}/whep?token={token}",
    )

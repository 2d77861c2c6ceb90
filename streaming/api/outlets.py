"""/v1/sessions/{id}/outlets: where a presenter goes; /hls: playlists."""

from typing import Literal

from fastapi import APIRouter, Response, status
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field, SecretStr

from streaming.api.deps import TheSession, TheStage
from streaming.auth import Role, needs
from streaming.errors import NotFound
from streaming.outlets.hls import FOLDER, PLAYLIST
from streaming.outlets.table import Entry

_MEDIA_TYPES = {".m3u8": "application/vnd.apple.mpegurl", ".m4s": "video/iso.segment", ".mp4": "video/mp4"}

_OUTLETS = "/v1/sessions/{session_id}/outlets"
_OUTLET = _OUTLETS + "/{outlet_id}"

router = APIRouter(tags=["outlets"])


class OutletIn(BaseModel):
    """Where to send to. `token`: a bearer token, for WHIP; `video_codec`: for WHIP, both when left out."""

    url: str = Field(max_length=2000)
    token: SecretStr | None = None
    video_codec: Literal["h264", "vp8"] | None = None


class OutletOut(BaseModel):
    """How an outlet does. `url` lacks what may be secret; `place` is a playlist's path or a file's name.

    `since_s`: seconds in this state; `retry_in_s`: until the next attempt, while `state` is waiting.
    """

    id: str
    kind: str
    url: str
    state: Literal["connecting", "live", "waiting", "ended"]
    since_s: float
    retry_in_s: float | None
    reconnects: int
    bytes: int
    error: str | None
    place: str | None


def _out(entry: Entry) -> OutletOut:
    retry = entry.retry_in_s
    return OutletOut(
        id=entry.id,
        kind=entry.kind,
        url=entry.url,
        state=entry.state.value,
        since_s=round(entry.since_s, 3),
        retry_in_s=None if retry is None else round(retry, 3),
        reconnects=entry.reconnects,
        bytes=entry.bytes,
        error=entry.error,
        place=entry.place,
    )


@router.post(_OUTLETS, status_code=status.HTTP_201_CREATED)
@needs(Role.OPERATE)
async def create(session: TheSession, body: OutletIn, response: Response) -> OutletOut:
    """Open an outlet; it connects in its own time and comes back by itself after a fault."""
    token = body.token.get_secret_value() if body.token else None
    entry = await session.outlets.add(body.url, token, body.video_codec)
    response.headers["Location"] = f"/v1/sessions/{session.id}/outlets/{entry.id}"
    return _out(entry)


@router.get(_OUTLETS)
@needs(Role.OPERATE)
async def show_all(session: TheSession) -> list[OutletOut]:
    """Every outlet of a session."""
    return [_out(entry) for entry in session.outlets.list()]


@router.get(_OUTLET)
@needs(Role.OPERATE)
async def show(session: TheSession, outlet_id: str) -> OutletOut:
    """How one does."""
    return _out(session.outlets.get(outlet_id))


@router.delete(_OUTLET, status_code=status.HTTP_204_NO_CONTENT)
@needs(Role.OPERATE)
async def remove(session: TheSession, outlet_id: str) -> None:
    """End an outlet; a file is finished first."""
    await session.outlets.remove(outlet_id)


@router.get(f"/{FOLDER}/{{name}}/{{file}}", response_class=FileResponse)
@needs(Role.ANYONE)
async def playlist(name: str, file: str, stage: TheStage) -> FileResponse:
    """A playlist or one of its segments; its name is the key to it."""
    recordings = stage.settings.recordings
    if recordings is not None:
        folder = recordings / FOLDER
        path = (folder / name / file).resolve()
        if path.parent.parent == folder.resolve() and path.suffix in _MEDIA_TYPES and path.is_file():
            fresh = "no-cache" if path.name == PLAYLIST else "max-age=60"
            return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix], headers={"Cache-Control": fresh})
    raise NotFound("There is no such playlist or segment; it may have ended.")

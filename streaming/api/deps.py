"""What routes need of the server they run in."""

from typing import Annotated

from fastapi import Depends, Request

from streaming.errors import TooLarge, WrongMediaType
from streaming.sessions import Session, SessionTable, Stage

MAX_SDP_BYTES = 100_000


def get_stage(request: Request) -> Stage:
    """What all sessions share."""
    stage: Stage = request.app.state.stage
    return stage


def get_table(request: Request) -> SessionTable:
    """Every session of this server."""
    table: SessionTable = request.app.state.table
    return table


def get_session(session_id: str, table: Annotated[SessionTable, Depends(get_table)]) -> Session:
    """The session that the path names; 404 when there is none."""
    return table.get(session_id)


TheStage = Annotated[Stage, Depends(get_stage)]
TheTable = Annotated[SessionTable, Depends(get_table)]
TheSession = Annotated[Session, Depends(get_session)]


async def read_body(request: Request, media_type: str) -> bytes:
    """The body, which must be of this media type and small. Raises WrongMediaType or TooLarge."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise WrongMediaType(
            f"The body must be sent as {media_type}, not as {given or 'a body without a type'}."
        )
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_SDP_BYTES:
            raise TooLarge(f"The body is larger than {MAX_SDP_BYTES} bytes; no session description is.")
    return body

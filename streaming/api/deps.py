"""What routes need of the server they run in.

All of it is quick, and a coroutine: FastAPI would call a plain function in a thread, at ten times the cost.
"""

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request

from streaming.auth import Keys
from streaming.errors import TooLarge, WrongMediaType
from streaming.limits import RateLimit
from streaming.session_table import SessionTable
from streaming.sessions import Session, Stage
from streaming.workshop import Workshop

MAX_SDP_BYTES = 100_000


async def get_stage(request: Request) -> Stage:
    """What all sessions share."""
    stage: Stage = request.app.state.stage
    return stage


async def get_table(request: Request) -> SessionTable:
    """Every session of this server."""
    table: SessionTable = request.app.state.table
    return table


async def get_session(session_id: str, table: Annotated[SessionTable, Depends(get_table)]) -> Session:
    """The session that the path names; 404 when there is none."""
    return table.get(session_id)


async def get_workshop(request: Request) -> Workshop:
    """Where new presenters are made."""
    workshop: Workshop = request.app.state.workshop
    return workshop


def avatar_address(name: str) -> str:
    """The address of an avatar, whose name may be of any script."""
    return f"/v1/avatars/{quote(name, safe='')}"


async def get_keys(request: Request) -> Keys:
    """The tokens of this server."""
    keys: Keys = request.app.state.keys
    return keys


async def count_new_session(request: Request) -> None:
    """Count a session that this client wants to open. Raises TooMany when these come too fast."""
    rate: RateLimit = request.app.state.session_rate
    rate.take(
        request.client.host if request.client else None,
        "This address opens sessions too fast; wait as long as Retry-After says.",
    )


TheStage = Annotated[Stage, Depends(get_stage)]
TheTable = Annotated[SessionTable, Depends(get_table)]
TheWorkshop = Annotated[Workshop, Depends(get_workshop)]
TheKeys = Annotated[Keys, Depends(get_keys)]
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

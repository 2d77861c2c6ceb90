"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): the two differ only in which way the media flows."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Request, Response, status

from streaming.api.deps import TheSession, TheStage, read_body
from streaming.auth import Role, needs
from streaming.turn import client_ice_servers, ice_links
from streaming.webrtc.sdp import read_fragment, read_offer

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"

router = APIRouter(prefix="/v1/sessions/{session_id}", tags=["webrtc"])


class Kind(StrEnum):
    """The protocol, which is also the last part of the endpoint's address."""

    WHIP = "whip"
    WHEP = "whep"


class Speaks(StrEnum):
    """Whose microphone it is."""

    PRESENTER = "presenter"
    VISITOR = "visitor"


_DIRECTIONS = {
    Kind.WHIP: frozenset({"sendonly", "sendrecv"}),
    Kind.WHEP: frozenset({"recvonly", "sendrecv"}),
}


def _need(params: Mapping[str, Any]) -> Role:
    """Watching is WHEP; a microphone decides what the presenter says."""
    return Role.WATCH if params["kind"] == Kind.WHEP else Role.OPERATE


def _respond(code: int, headers: list[tuple[str, str]], body: str = "") -> Response:
    response = Response(body, code, media_type=SDP if body else None)
    for name, value in headers:
        response.headers.append(name, value)
    return response


@router.post("/{kind}", response_class=Response, status_code=status.HTTP_201_CREATED)
@needs(_need)
async def offer(
    kind: Kind,
    session: TheSession,
    stage: TheStage,
    request: Request,
    alpha: bool = False,
    role: Speaks = Speaks.PRESENTER,
) -> Response:
    """Answer an SDP offer; the new connection's address is in Location, its ICE session in ETag.

    `role`, of a microphone: a presenter says what it hears, a visitor is listened to.

    `alpha`, of a viewer: the presenter without its background. Pictures have twice the height; below the
    picture is its matte in grey, white where the presenter is.
    """
    taken = read_offer(await read_body(request, SDP), _DIRECTIONS[kind])
    if kind is Kind.WHIP:
        peer, answer = await session.publish(taken, visitor=role is Speaks.VISITOR)
    else:
        peer, answer = await session.view(taken, alpha=alpha)
    headers = [
        ("Location", f"/v1/sessions/{session.id}/{kind}/{peer.id}"),
        ("ETag", peer.etag),
        ("Accept-Patch", FRAGMENT),
        *ice_links(client_ice_servers(stage.settings, session.id)),
    ]
    return _respond(status.HTTP_201_CREATED, headers, answer)


@router.options("/{kind}", response_class=Response)
@needs(_need)
async def endpoint_options(kind: Kind, session: TheSession, stage: TheStage) -> Response:
    """What may be posted, and the ICE servers for clients that must know them before their offer."""
    headers = [
        ("Accept-Post", SDP),
        ("Allow", "GET, HEAD, OPTIONS, POST"),
        *ice_links(client_ice_servers(stage.settings, session.id)),
    ]
    return _respond(status.HTTP_200_OK, headers)


@router.head("/{kind}", response_class=Response, include_in_schema=False)
@router.get("/{kind}", response_class=Response, status_code=status.HTTP_204_NO_CONTENT)
@needs(_need)
async def endpoint_get(kind: Kind, session: TheSession) -> Response:
    """Nothing: the endpoint has no representation (RFC 9725 section 4.1)."""
    return _respond(status.HTTP_204_NO_CONTENT, [])


@router.patch("/{kind}/{peer_id}", response_class=Response, status_code=status.HTTP_204_NO_CONTENT)
@needs(_need)
async def trickle(kind: Kind, peer_id: str, session: TheSession, request: Request) -> Response:
    """Add ICE candidates that the client found after its offer."""
    peer = session.peer(kind, peer_id)
    fragment = read_fragment(await read_body(request, FRAGMENT))
    # Players in use forget the tag. A connection has one ICE session, so there is nothing to confuse.
    any_tag = "*" if kind is Kind.WHEP else None
    await peer.trickle(fragment, request.headers.get("if-match", any_tag))
    return _respond(status.HTTP_204_NO_CONTENT, [])


@router.delete("/{kind}/{peer_id}", response_class=Response)
@needs(_need)
async def hang_up(kind: Kind, peer_id: str, session: TheSession) -> Response:
    """End a connection."""
    await session.peer(kind, peer_id).close()
    return _respond(status.HTTP_200_OK, [])


@router.options("/{kind}/{peer_id}", response_class=Response)
@needs(_need)
async def peer_options(kind: Kind, peer_id: str, session: TheSession) -> Response:
    """What may be done with a connection."""
    session.peer(kind, peer_id)
    return _respond(
        status.HTTP_200_OK, [("Accept-Patch", FRAGMENT), ("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH")]
    )


@router.head("/{kind}/{peer_id}", response_class=Response, include_in_schema=False)
@router.get("/{kind}/{peer_id}", response_class=Response, status_code=status.HTTP_204_NO_CONTENT)
@needs(_need)
async def peer_get(kind: Kind, peer_id: str, session: TheSession) -> Response:
    """Nothing: a connection has no representation (RFC 9725 section 4.1)."""
    session.peer(kind, peer_id)
    return _respond(status.HTTP_204_NO_CONTENT, [])

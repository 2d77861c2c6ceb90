"""ICE servers, in one place: those that clients are told, and the few that the server itself asks.

TURN servers with a shared secret (coturn's `use-auth-secret`) take short-lived credentials
(draft-uberti-behave-turn-rest): the user name is "expiry:user", the password HMAC-SHA1 over it.
"""

import hmac
import time
from base64 import b64encode
from collections.abc import Callable, Iterable

from streaming.settings import IceServer, Settings


def turn_credentials(secret: str, user: str, expires: int) -> tuple[str, str]:
    """User name and password for a TURN server until `expires` (Unix time, seconds)."""
    username = f"{expires}:{user}" if user else str(expires)
    return username, b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()


def client_ice_servers(
    settings: Settings, user: str, clock: Callable[[], float] = time.time
) -> tuple[IceServer, ...]:
    """What a client of this name is told; credentials run from now. `clock` gives Unix time in seconds."""
    if settings.turn_secret is None:
        return settings.ice_servers
    username, password = turn_credentials(
        settings.turn_secret.get_secret_value(), user, int(clock()) + settings.turn_credential_s
    )
    made = (IceServer(url=url, username=username, credential=password) for url in settings.turn_urls)
    return (*settings.ice_servers, *made)


def server_ice_servers(settings: Settings, clock: Callable[[], float] = time.time) -> tuple[IceServer, ...]:
    """What the server's own connections ask: one STUN server, and one TURN server only where it is so set.

    aiortc waits for all of them before it answers an offer, up to 5 s for one that is silent, and takes one
    of a kind. A client's relay reaches a server with an address of its own by itself; only a server that
    nobody can reach needs a relay too.
    """
    chosen: dict[str, IceServer] = {}
    for server in sorted(client_ice_servers(settings, "server", clock), key=_transport_rank):
        scheme = server.url.partition(":")[0]
        if scheme == "stun" or (scheme in ("turn", "turns") and settings.relay_server):
            chosen.setdefault("stun" if scheme == "stun" else "turn", server)
    return tuple(chosen.values())


def _transport_rank(server: IceServer) -> int:
    """UDP first: media over TCP stutters with every lost packet."""
    return server.url.startswith("turns:") + server.url.endswith("transport=tcp")


def ice_links(servers: Iterable[IceServer]) -> list[tuple[str, str]]:
    """ICE servers as Link headers (RFC 9725 section 4.6)."""
    return [("Link", _link(server)) for server in servers]


def _link(server: IceServer) -> str:
    link = f'<{server.url}>; rel="ice-server"'
    if server.username is not None and server.credential is not None:
        username, credential = (_quoted(text) for text in (server.username, server.credential))
        link += f'; username={username}; credential={credential}; credential-type="password"'
    return link


def _quoted(text: str) -> str:
    """A quoted-string (RFC 9110 section 5.6.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

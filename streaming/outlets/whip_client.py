"""The HTTP side of a WHIP client (RFC 9725)."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx
from aiortc import RTCIceServer

from streaming.address_policy import Target, redact
from streaming.errors import Unprocessable
from streaming.outlets.errors import OutletError
from streaming.outlets.secrets import hide

_SDP = "application/sdp"
_ASK_S = 10.0
_LEAVE_S = 2.0
_MOST_REDIRECTS = 5
_MOST_BYTES = 100_000
_REDIRECTS = (301, 302, 307, 308)
_FINAL = (400, 401, 403, 405, 406, 410, 413, 415, 422)
"""Answers that would be the same next time."""

Check = Callable[[str], Awaitable[Target]]

_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))*)')
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))')


@dataclass(frozen=True, slots=True)
class Answer:
    """An SDP answer, and the ICE servers that came with it."""

    sdp: str
    ice_servers: tuple[RTCIceServer, ...]


class WhipClient:
    """One publication. Every address, also of a redirect, is checked and then connected to as checked."""

    def __init__(self, url: str, token: str | None, http: httpx.AsyncClient, check: Check) -> None:
        self._url = url
        self._token = token
        self._http = http
        self._check = check
        self._resource: str | None = None

    async def ice_servers(self) -> tuple[RTCIceServer, ...]:
        """Those that the endpoint names before it is offered anything (section 4.6); many name none."""
        try:
            response, _ = await self._request("OPTIONS", self._url)
        except OutletError:
            # It need not be allowed, nor answered: the offer will show what is wrong.
            return ()
        return read_ice_servers(response.headers.get_list("link")) if response.is_success else ()

    async def post(self, offer: str) -> Answer:
        """Offer; raises OutletError when it is refused."""
        response, url = await self._request("POST", self._url, offer)
        if response.status_code != httpx.codes.CREATED:
            raise self._refused(response)
        location = response.headers.get("location")
        self._resource = urljoin(url, location) if location else None
        return Answer(response.text, read_ice_servers(response.headers.get_list("link")))

    async def delete(self) -> None:
        """End the publication, if there is one; an endpoint that does not answer finds out by itself."""
        if self._resource is None:
            return
        resource, self._resource = self._resource, None
        try:
            # The name is looked up again, which may take longer than anybody wants to wait.
            async with asyncio.timeout(_LEAVE_S):
                await self._request("DELETE", resource)
        except (OutletError, TimeoutError):
            return

    async def _request(self, method: str, url: str, body: str | None = None) -> tuple[httpx.Response, str]:
        """The response, and the URL it came from. Raises OutletError."""
        for _ in range(_MOST_REDIRECTS + 1):
            response = await self._ask(method, url, body)
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return response, url
            url = urljoin(url, response.headers["location"])
        raise OutletError(
            f"The WHIP endpoint {redact(self._url)} redirects in a circle; check its address.", final=True
        )

    async def _ask(self, method: str, url: str, body: str | None) -> httpx.Response:
        try:
            target = await self._check(url)
            request = self._http.build_request(
                method,
                target.pinned_url,
                headers=self._headers(url, body),
                content=body,
                timeout=_ASK_S,
                # The certificate must be that of the name, whatever address it has.
                extensions={"sni_hostname": target.host},
            )
            response = await self._http.send(request, stream=True, follow_redirects=False)
            try:
                read = b""
                async for block in response.aiter_bytes():
                    read += block
                    if len(read) > _MOST_BYTES:
                        raise OutletError(
                            f"The WHIP endpoint {redact(url)} answers with more than any session "
                            "description; check its address.",
                            final=True,
                        )
            finally:
                await response.aclose()
        except Unprocessable as error:
            raise OutletError(str(error), final=True) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = hide(str(error) or type(error).__name__, self._url, self._token)
            raise OutletError(
                f"The WHIP endpoint {redact(url)} cannot be reached ({said}); check its address."
            ) from error
        return httpx.Response(response.status_code, headers=_readable(response.headers), content=read)

    def _headers(self, url: str, body: str | None) -> dict[str, str]:
        headers = {"Host": urlsplit(url).netloc.rpartition("@")[2]}
        if body is not None:
            headers["Content-Type"] = _SDP
        # A token is for the endpoint it was given for, not for wherever that one points to.
        if self._token is not None and _origin(url) == _origin(self._url):
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _refused(self, response: httpx.Response) -> OutletError:
        status = response.status_code
        shown = redact(self._url)
        if status in (401, 403):
            sentence = f"The WHIP endpoint {shown} refuses the token ({status}); check it."
        elif status == 404:
            sentence = f"There is no WHIP endpoint at {shown} (404); check the address."
        elif response.is_success:
            sentence = f"What is at {shown} answers with {status} instead of 201; it is no WHIP endpoint."
        else:
            sentence = f"The WHIP endpoint {shown} refuses the offer ({status}); look into its log."
        return OutletError(sentence, final=status in _FINAL)


def read_ice_servers(links: list[str]) -> tuple[RTCIceServer, ...]:
    """STUN and TURN servers of Link headers with rel="ice-server" (RFC 9725 section 4.6)."""
    servers = []
    for address, rest in _LINK.findall(", ".join(links)):
        parameters = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for name, quoted, plain in _PARAMETER.findall(rest)
        }
        if parameters.get("rel") == "ice-server" and re.match(r"(stun|stuns|turn|turns):\S", address):
            servers.append(RTCIceServer(address, parameters.get("username"), parameters.get("credential")))
    return tuple(servers)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _readable(headers: httpx.Headers) -> httpx.Headers:
    """Headers that fit a body which is already decoded."""
    kept = httpx.Headers(headers)
    for name in ("content-encoding", "content-length", "transfer-encoding"):
        kept.pop(name, None)
    return kept

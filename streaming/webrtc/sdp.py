"""Session descriptions checked before aiortc sees them, and trickle fragments (RFC 8840)."""

import re
from dataclasses import dataclass

from aiortc import RTCIceCandidate
from aiortc.sdp import SessionDescription, candidate_from_sdp

from streaming.errors import BadRequest, NotAcceptable

# aiortc's parser raises whatever its first surprise happens to be.
PARSE_ERRORS = (ValueError, AssertionError, IndexError, KeyError, AttributeError, TypeError, StopIteration)

MAX_LINES = 1000
"""Browsers' offers have 100 to 300; the parser looks through all codecs for every line about one."""

MAX_CANDIDATES = 64
"""Each is sent checks; more than an honest client has are left out."""

_NOT_SDP = "The body is not a usable SDP offer ({}); send the offer of an RTCPeerConnection."


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that can be answered: its text as given to aiortc, the kinds of media in it, its ICE user."""

    text: str
    kinds: frozenset[str]
    ufrag: str


def read_offer(body: bytes, directions: frozenset[str]) -> Offer:
    """Check an SDP offer whose media must have one of `directions` (seen from the client).

    Raises BadRequest when it is malformed, NotAcceptable when it asks for what is not served.
    """
    try:
        text = body.decode()
        if text.count("\n") > MAX_LINES:
            raise BadRequest(_NOT_SDP.format(f"it has more than {MAX_LINES} lines"))
        parsed = SessionDescription.parse(text)
    except PARSE_ERRORS as error:
        raise BadRequest(_NOT_SDP.format("it cannot be parsed")) from error
    media = [section for section in parsed.media if section.kind in ("audio", "video")]
    if not text.startswith("v=0") or not media:
        raise BadRequest(_NOT_SDP.format("it has no audio or video section"))
    users = [section.ice.usernameFragment for section in parsed.media if section.ice and section.ice.password]
    if len(users) < len(parsed.media) or not all(users):
        raise BadRequest(_NOT_SDP.format("it lacks ICE credentials"))
    if any(section.dtls is None or not section.dtls.fingerprints for section in parsed.media):
        raise BadRequest(_NOT_SDP.format("it lacks a DTLS fingerprint"))
    kinds = [section.kind for section in parsed.media]
    if len(kinds) != len(set(kinds)) or not {*kinds} <= {"audio", "video", "application"}:
        raise NotAcceptable(
            "The offer has more than one track of a kind; send at most one audio and one video."
        )
    _check_mids(parsed)
    if any(section.direction not in directions for section in media):
        allowed = " or ".join(sorted(directions))
        raise NotAcceptable(
            f"The offer's media must be {allowed} here; set the direction of its transceivers."
        )
    return Offer(_without_waiting(text), frozenset(section.kind for section in media), str(users[0]))


def _check_mids(parsed: SessionDescription) -> None:
    """Raise BadRequest unless sections have names of their own and BUNDLE names these only (RFC 8843).

    aiortc takes a bundle of unknown sections and then has no transport for the others.
    """
    mids = [section.rtp.muxId for section in parsed.media]
    bundled = [mid for group in parsed.group if group.semantic == "BUNDLE" for mid in group.items]
    if len(mids) != len(set(mids)) or len(bundled) != len(set(bundled)) or not {*bundled} <= {*mids}:
        raise BadRequest(_NOT_SDP.format("its a=mid and a=group:BUNDLE lines do not fit together"))


def _without_waiting(text: str) -> str:
    """Leave out what would delay or end the connection early, and candidates beyond reason.

    A browser's mDNS names (`….local`) take a second each to resolve, and mostly cannot be; the browser's own
    checks reveal its address at once (peer-reflexive, RFC 8445 section 7.3.1.3). For these to be heard even
    when no candidate is left, the end of candidates must stay open.
    """
    kept: list[str] = []
    candidates = 0
    for line in text.splitlines():
        candidates += line.startswith("a=candidate:")
        beyond = line.startswith("a=candidate:") and candidates > MAX_CANDIDATES
        if not (beyond or _is_mdns(line) or line == "a=end-of-candidates"):
            kept.append(line)
    return "\r\n".join(kept) + "\r\n"


def _is_mdns(line: str) -> bool:
    return re.match(r"a=candidate:(\S+ ){4}\S+\.local ", line) is not None


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a trickle fragment says: new candidates, and the ICE user they belong to, where it names one."""

    candidates: tuple[RTCIceCandidate, ...]
    ufrag: str | None


def read_fragment(body: bytes) -> Fragment:
    """Parse an `application/trickle-ice-sdpfrag` body (RFC 8840 section 9). Raises BadRequest.

    Candidates of transports that are not served, and mDNS names, are left out silently (RFC 9725 section
    4.3.2).
    """
    ufrag: str | None = None
    mid: str | None = None
    candidates: list[RTCIceCandidate] = []
    try:
        for line in body.decode().splitlines():
            name, _, value = line.partition(":")
            if line and not re.match(r"[a-z]=", line):
                raise BadRequest("The body is not an SDP fragment; send lines such as a=candidate:….")
            if name == "a=ice-ufrag":
                ufrag = value
            elif name == "a=mid":
                mid = value
            elif name == "a=candidate" and not _is_mdns(line):
                candidate = candidate_from_sdp(value)
                candidate.sdpMid, candidate.sdpMLineIndex = mid, None if mid else 0
                if candidate.protocol.lower() == "udp":
                    candidates.append(candidate)
    except PARSE_ERRORS as error:
        raise BadRequest("The body is not an SDP fragment; send lines such as a=candidate:….") from error
    return Fragment(tuple(candidates[:MAX_CANDIDATES]), ufrag)

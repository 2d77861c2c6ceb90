"""Session descriptions and fragments: what is taken, what is refused, and in which words."""

import time

import pytest
from aiortc import RTCPeerConnection

from streaming.errors import BadRequest, NotAcceptable
from streaming.webrtc.ending import close_connection
from streaming.webrtc.sdp import MAX_CANDIDATES, MAX_LINES, Offer, read_fragment, read_offer

RECEIVING = frozenset({"recvonly"})


@pytest.fixture
async def offer() -> str:
    """The offer of a viewer: video is section 0, audio section 1."""
    pc = RTCPeerConnection()
    pc.addTransceiver("video", direction="recvonly")
    pc.addTransceiver("audio", direction="recvonly")
    await pc.setLocalDescription()
    text: str = pc.localDescription.sdp
    await close_connection(pc)
    return text


def read(text: str) -> Offer:
    return read_offer(text.encode(), RECEIVING)


def with_line(offer: str, line: str) -> str:
    """The line at the end of the last section."""
    return offer.rstrip() + f"\r\n{line}\r\n"


def test_a_browsers_offer_is_taken(offer: str) -> None:
    taken = read(offer)
    assert taken.kinds == {"audio", "video"}
    assert f"a=ice-ufrag:{taken.ufrag}" in offer


@pytest.mark.parametrize(
    "line",
    [
        "a=fmtp:99 x=1",
        "a=rtpmap:x opus/48000",
        "a=extmap:1",
        "a=setup:x",
        "a=candidate:1",
    ],
)
def test_what_the_parser_stumbles_over_is_one_sentence(offer: str, line: str) -> None:
    with pytest.raises(BadRequest, match="cannot be parsed"):
        read(with_line(offer, line))


@pytest.mark.parametrize("bundle", ["0 1 2", "2", "0 0", "x", "1 x", "0 1 audio"])
def test_a_bundle_of_sections_that_are_not_there_is_refused(offer: str, bundle: str) -> None:
    assert "a=group:BUNDLE 0 1\r\n" in offer
    with pytest.raises(BadRequest, match="BUNDLE"):
        read(offer.replace("a=group:BUNDLE 0 1", f"a=group:BUNDLE {bundle}"))


def test_sections_of_the_same_name_are_refused(offer: str) -> None:
    with pytest.raises(BadRequest, match="a=mid"):
        read(offer.replace("a=mid:1", "a=mid:0").replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"))


def test_a_bundle_of_a_part_is_taken(offer: str) -> None:
    assert read(offer.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0")).kinds == {"audio", "video"}


@pytest.mark.parametrize("section", ["text 9 RTP/AVP 96", "image 9 UDP x", "application 9 X 1"])
def test_kinds_that_cannot_be_answered_are_refused(offer: str, section: str) -> None:
    more = (
        f"m={section}\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=ice-ufrag:abcd\r\n"
        "a=ice-pwd:abcdefghijklmnopqrstuv\r\na=fingerprint:sha-256 00\r\na=setup:actpass\r\n"
    )
    if section.startswith("application"):
        assert read(offer + more).kinds == {"audio", "video"}
        more += more.replace("a=mid:2", "a=mid:3")
    with pytest.raises(NotAcceptable, match="at most one"):
        read(offer + more)


def test_an_offer_is_read_in_no_time_however_it_is_made(offer: str) -> None:
    codecs = [f"a=rtpmap:{number} x/90000" for number in range(1000, 1000 + MAX_LINES // 2 - 100)]
    about = [f"a=rtcp-fb:{1000 + len(codecs) - 1} nack" for _ in codecs]
    began = time.perf_counter()
    with pytest.raises((BadRequest, NotAcceptable)):
        read("\r\n".join([offer.rstrip(), *codecs, *about, "a=setup:x", ""]))
    assert time.perf_counter() - began < 0.5
    for text in (with_line(offer, "\r\n".join(["a=x"] * MAX_LINES)), "v=0\n" * 30_000):
        with pytest.raises(BadRequest, match=f"more than {MAX_LINES} lines"):
            read(text)


def test_candidates_beyond_reason_are_left_out(offer: str) -> None:
    lines = [f"a=candidate:{n} 1 udp {n} 198.51.100.1 {1000 + n} typ host" for n in range(200)]
    taken = read(with_line(offer, "\r\n".join(lines)))
    assert taken.text.count("a=candidate:") == MAX_CANDIDATES
    fragment = read_fragment("\r\n".join(["a=mid:0", *lines]).encode())
    assert len(fragment.candidates) == MAX_CANDIDATES

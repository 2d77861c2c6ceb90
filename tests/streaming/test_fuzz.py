"""Malformed input of every kind, at a real server in a process of its own.

Whatever comes, no answer is a 5xx, the process lives, nothing is logged as a fault, and no session is left
behind. The ordinary run sends few, the one marked slow many; how many, and how answered, is printed.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from aiortc import RTCPeerConnection

pytest.importorskip("hypothesis", reason="hypothesis is not installed; `pip install hypothesis` to fuzz")

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync import client as websockets

from tests.streaming.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
SESSIONS = "/v1/sessions"

LENIENT = {
    "KOUBO_SESSIONS_PER_MINUTE": "1000000",
    "KOUBO_SESSIONS_AT_ONCE": "1000000",
    "KOUBO_MAX_VIEWERS": "100000",
    "KOUBO_MAX_SESSIONS": "4",
    "KOUBO_CONNECT_TIMEOUT_S": "0.5",
    "KOUBO_DRAIN_S": "0",
}


@dataclass
class Target:
    """A server under fire."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.http = httpx.Client(timeout=20)

    def send(self, what: str, method: str, url: str, **request: Any) -> httpx.Response:
        """Send a request, and demand an honest answer."""
        response = self.http.request(method, f"http://127.0.0.1:{self.port}{url}", **request)
        self.answers[what, response.status_code] += 1
        assert response.status_code < 500 or response.status_code == 503, (url, request, response.text)
        if response.status_code >= 400 and method != "HEAD":
            detail = response.json()["detail"]
            assert detail.endswith("."), detail
            assert "\n" not in detail
            assert "Traceback" not in detail
        return response

    def view(self, session: str) -> tuple[str, str]:
        """Open a view; its address and its entity tag."""
        response = self.send(
            "whep",
            "POST",
            f"{SESSIONS}/{session}/whep",
            content=real_offer(),
            headers={"Content-Type": "application/sdp"},
        )
        return response.headers["Location"], response.headers["ETag"]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    log, port = folder / "log", free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(folder)],
            cwd=ROOT,
            env={**os.environ, **LENIENT, "KOUBO_RECORDINGS": str(folder / "recordings")},
            stdout=output,
            stderr=output,
        )
    server = Target(port, process, log)
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                server.send("health", "GET", "/healthz")
                break
            time.sleep(0.1)
        yield server
        assert "koubo_sessions 0.0" in server.send("metrics", "GET", "/metrics").text
        assert process.poll() is None, "the server died"
    finally:
        server.http.close()
        process.terminate()
        process.wait(20)
    text = log.read_text()
    assert "Traceback" not in text, text[-4000:]
    assert "never retrieved" not in text
    total = sum(server.answers.values())
    print(f"\n{total} inputs:", {f"{what} {code}": n for (what, code), n in sorted(server.answers.items())})


@pytest.fixture
def session(target: Target) -> Iterator[str]:
    """A session that is ended afterwards, and must still be there then."""
    opened = target.send("sessions", "POST", SESSIONS).json()["id"]
    yield opened
    assert target.send("end", "DELETE", f"{SESSIONS}/{opened}").status_code == 204


def fuzz(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


# What is sent


def real_offer() -> str:
    async def make() -> str:
        pc = RTCPeerConnection()
        pc.addTransceiver("video", direction="recvonly")
        pc.addTransceiver("audio", direction="recvonly")
        await pc.setLocalDescription()
        sdp: str = pc.localDescription.sdp
        await pc.close()
        return sdp

    return asyncio.run(make())


FRAGMENT = "\r\n".join(
    [
        "m=audio 9 UDP/TLS/RTP/SAVPF 0",
        "a=mid:0",
        "a=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host",
        "a=candidate:2 1 udp 1694498815 198.51.100.1 50000 typ srflx raddr 127.0.0.1 rport 50000",
        "a=end-of-candidates",
    ]
)

NASTY_LINES = [
    "",
    "v=1",
    "m=video 9 UDP/TLS/RTP/SAVPF 96",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "m=audio 0 UDP/TLS/RTP/SAVPF 255",
    "m=audio 9 RTP/AVP",
    "a=mid:",
    "a=mid:0",
    "a=group:BUNDLE",
    "a=group:BUNDLE 0 1 2 3",
    "a=rtpmap:96 VP8/0",
    "a=rtpmap:111 opus/48000/0",
    "a=rtpmap:96 H264/90000",
    "a=fmtp:96 profile-level-id=zzzzzz;packetization-mode=9",
    "a=fmtp:96 apt=96",
    "a=fmtp:97 apt=",
    "a=rtcp-fb:* nack",
    "a=rtcp-fb:96",
    "a=extmap:0 urn:ietf:params:rtp-hdrext:sdes:mid",
    "a=extmap:99999 x",
    "a=ssrc:0 cname:x",
    "a=ssrc-group:FID 1",
    "a=candidate:1 1 udp 1 127.0.0.1 0 typ host",
    "a=candidate:1 1 udp 99999999999 ::1 99999 typ host",
    "a=candidate:1 256 udp 1 not-an-address 9 typ host",
    "a=candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype active",
    "a=candidate:1 1 udp 1 127.0.0.1 9 typ relay raddr rport",
    "a=candidate:",
    "a=end-of-candidates",
    "a=setup:holdconn",
    "a=setup:passive",
    "a=fingerprint:sha-256 00",
    "a=fingerprint:md5 zz:zz",
    "a=fingerprint:",
    "a=ice-ufrag:",
    "a=ice-pwd:short",
    "a=ice-lite",
    "a=recvonly",
    "a=sendonly",
    "a=inactive",
    "a=rtcp:99999999 IN IP9 x",
    "a=simulcast:send 1;2",
    "a=rid:1 send",
    "a=max-message-size:-1",
    "c=IN IP6 127.0.0.1",
    "c=",
    "t=",
    "\x00",
    "\N{SNOWMAN}" * 50,
]

words = st.one_of(
    st.sampled_from(
        ["-1", "0", "65536", "4294967296", "9" * 400, "1e9", "NaN", " ", "é", "\ud7ff", "%s%n", "../.."]
    ),
    st.text(max_size=20),
    st.integers().map(str),
)
edits = st.tuples(
    st.sampled_from(["delete", "repeat", "insert", "word", "swap", "cut", "join"]),
    st.integers(0, 10**6),
    words,
)


Edits = list[tuple[str, int, str]]


def mutate(text: str, changes: Edits) -> str:
    """A text with some of its lines changed."""
    lines = text.split("\r\n")
    for kind, number, word in changes:
        at = number % max(1, len(lines))
        line = lines[at] if lines else ""
        match kind:
            case "delete":
                del lines[at : at + 1]
            case "repeat":
                lines[at:at] = [line] * (1 + number % 3)
            case "insert":
                lines.insert(at, NASTY_LINES[number % len(NASTY_LINES)])
            case "word" if lines:
                parts = line.replace(":", " : ").split(" ")
                parts[number // 7 % len(parts)] = word
                lines[at] = " ".join(parts).replace(" : ", ":")
            case "swap" if lines:
                other = number // 11 % len(lines)
                lines[at], lines[other] = lines[other], lines[at]
            case "cut" if lines:
                lines[at] = line[: number // 3 % (len(line) + 1)]
            case "join" if lines:
                lines[at] = line + word
    return "\r\n".join(lines)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    ["text", "voice", "avatar", "seconds", "url", "token", "type", "video_codec", "utterance"]
)
addresses = st.one_of(
    st.sampled_from(
        ["hls:", "mp4:", "camera:", "file:///etc/passwd", "rtmp://127.0.0.1/a/b", "srt://0x7f.1:9"]
    ),
    st.tuples(st.sampled_from(["rtmp", "srt", "udp", "https", "x"]), st.text(max_size=30)).map("://".join),
    values,
)
bodies = st.one_of(
    st.fixed_dictionaries(
        {"url": addresses},
        optional={
            "token": st.text(max_size=20) | values,
            "video_codec": st.sampled_from(["h264", "vp8", "av1"]),
        },
    ).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"text": st.sampled_from(["Good day.", "你好。", "\u202e1,5 km", "a" * 300]) | st.text(max_size=300)},
        optional={"voice": st.sampled_from(["en-us", "espeak:cmn", "x"]) | values},
    ).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    values.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.dictionaries(fields, values, max_size=4).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(fields, st.just("Good day.") | st.text(max_size=300) | st.integers(), max_size=4).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ),
)
types = st.just("application/json") | st.sampled_from(
    ["application/json", "application/sdp", "application/trickle-ice-sdpfrag", "text/plain", "x", ""]
)
controls = st.one_of(
    st.text(max_size=100),
    values.map(json.dumps),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["start", "begin", "finish", "interrupt", "clear_buffer", "x"])},
        optional={
            "utterance": st.text(max_size=140) | values,
            "sample_rate": st.integers() | values,
            "format": st.sampled_from(["s16le", "f32"]) | values,
        },
    ).map(json.dumps),
)
frames = st.lists(st.one_of(controls, controls, st.binary(max_size=2000)), max_size=8)


# The tests: each in a short and a long version


def fuzz_offers(target: Target, session: str, count: int) -> None:
    offer = real_offer()

    @fuzz(count)
    @given(st.sampled_from(["whep", "whip"]), st.lists(edits, min_size=1, max_size=5))
    def run(kind: str, changes: Edits) -> None:
        sdp = mutate(offer.replace("a=recvonly", "a=sendonly") if kind == "whip" else offer, changes)
        response = target.send(
            kind,
            "POST",
            f"{SESSIONS}/{session}/{kind}",
            content=sdp.encode("utf-8", "surrogatepass"),
            headers={"Content-Type": "application/sdp"},
        )
        if response.status_code == 201 and len(changes) % 2:  # the others are left to time out
            target.send("hang up", "DELETE", response.headers["Location"])

    run()


def fuzz_fragments(target: Target, session: str, count: int) -> None:
    location, tag = target.view(session)

    @fuzz(count)
    @given(st.lists(edits, max_size=4), st.sampled_from(["", "", "", "*", 'W/"x"', '"x"', ","]))
    def run(changes: Edits, match: str) -> None:
        nonlocal location, tag
        response = target.send(
            "fragment",
            "PATCH",
            location,
            content=mutate(FRAGMENT, changes).encode("utf-8", "surrogatepass"),
            headers={"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": match or tag},
        )
        if response.status_code == 404:  # nobody connected in time
            location, tag = target.view(session)

    run()


def fuzz_bodies(target: Target, session: str, count: int) -> None:
    address = f"{SESSIONS}/{session}"
    doors = [
        ("POST", SESSIONS),
        ("POST", f"{address}/speak"),
        ("POST", f"{address}/watch-links"),
        ("POST", f"{address}/interrupt"),
        ("POST", f"{address}/outlets"),
        ("POST", f"{address}/whep"),
        ("PATCH", f"{address}/whep/x"),
    ]

    @fuzz(count)
    @given(st.sampled_from(doors), bodies, types)
    def run(door: tuple[str, str], body: bytes, kind: str) -> None:
        response = target.send(
            f"{door[1].rpartition('/')[2] if door[1] != SESSIONS else 'sessions'}",
            *door,
            content=body,
            headers={"Content-Type": kind},
        )
        if door[1] == SESSIONS and response.status_code == 201:
            target.send("end", "DELETE", response.headers["Location"])

    run()


def fuzz_addresses(target: Target, count: int) -> None:
    text = st.text(st.characters(codec="utf-8"), max_size=30).map(lambda part: quote(part, safe=""))
    known = st.sampled_from(
        [
            "v1",
            "sessions",
            "avatars",
            "preview.jpg",
            "static",
            "hls",
            "..",
            "%2e%2e",
            "%00",
            "%2f",
            "%ff",
            "fake",
        ]
    )

    @fuzz(count)
    @given(
        st.sampled_from(["GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "PUT"]),
        st.lists(text | known, max_size=6)
        | st.tuples(st.just("hls"), text | known, text | known)
        | st.tuples(st.just("v1"), st.just("avatars"), text | known, st.just("preview.jpg")),
        st.dictionaries(text | st.just("token"), text, max_size=2),
    )
    def run(method: str, path: list[str], query: dict[str, str]) -> None:
        response = target.send("address", method, f"/{'/'.join(path)}", params=query)
        if response.status_code == 201:
            target.send("end", "DELETE", response.headers["Location"])

    run()


def fuzz_socket(target: Target, session: str, count: int) -> None:
    url = f"ws://127.0.0.1:{target.port}{SESSIONS}/{session}/audio"
    start = json.dumps({"type": "start", "sample_rate": 16000, "format": "s16le"})

    @fuzz(count)
    @given(st.integers(0, 3), frames)
    def run(begun: int, messages: list[str | bytes]) -> None:
        # One in hand at a time: the next waits until the server has let go of the last.
        with websockets.connect(url, close_timeout=5) as connection, contextlib.suppress(ConnectionClosed):
            for message in [start, *messages] if begun else messages:
                connection.send(message)
        target.answers["socket", connection.close_code or 0] += 1
        assert connection.close_code != 1011, messages

    run()


def fuzz_bytes(target: Target, count: int) -> None:
    """What is not even HTTP, or only nearly."""
    heads = st.sampled_from(
        [
            b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n",
            b"POST /v1/sessions/x/speak HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n",
            b"GET /v1/sessions/x/audio HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
            b"",
        ]
    )
    lines = st.sampled_from(
        [
            b"Content-Length: 99999999999999999999\r\n\r\n",
            b"Content-Length: -1\r\n\r\n",
            b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a"\r\n0\r\n\r\n',
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
            b"Host: y\r\n\r\n",
            b"X: " + b"y" * 70_000 + b"\r\n\r\n",
            b"Authorization: Bearer \xff\xfe\r\nSec-WebSocket-Protocol: ,,koubo.token.\xff\r\n\r\n",
            b"\r\n",
            b"",
        ]
    )

    @fuzz(count)
    @given(heads, lines, st.binary(max_size=100))
    def run(head: bytes, line: bytes, rest: bytes) -> None:
        with socket.create_connection(("127.0.0.1", target.port), timeout=5) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(head + line + rest)
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(OSError):
                answer = connection.recv(100)
        code = int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0
        target.answers["bytes", code] += 1
        assert code < 500, (head, line, rest)

    run()
    assert target.send("health", "GET", "/healthz").status_code == 200


def fuzz_schema(target: Target, session: str, count: int) -> None:
    """Requests made from the app's own description of itself."""
    schemathesis = pytest.importorskip(
        "schemathesis",
        reason="schemathesis is not installed; `pip install schemathesis` to fuzz by the schema",
    )
    schema = schemathesis.openapi.from_dict(target.send("schema", "GET", "/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:

        @fuzz(count)
        @given(operation.as_strategy(), st.booleans())
        def run(case: Any, real: bool) -> None:
            if case.method == "DELETE" and case.path == SESSIONS + "/{session_id}":
                return
            if real and "session_id" in case.path_parameters:
                case.path_parameters["session_id"] = session
            request = case.as_transport_kwargs(base_url=f"http://127.0.0.1:{target.port}")
            url = request.pop("url").removeprefix(f"http://127.0.0.1:{target.port}")
            known = {
                name: request[name] for name in ("params", "json", "headers", "cookies") if request.get(name)
            }
            if isinstance(request.get("data"), bytes | str):
                known["content"] = request["data"]
            response = target.send("schema", request["method"], url, **known)
            if case.path == SESSIONS and response.status_code == 201:
                target.send("end", "DELETE", response.headers["Location"])

        run()


def everything(target: Target, session: str, times: int) -> None:
    fuzz_offers(target, session, 120 * times)
    fuzz_fragments(target, session, 100 * times)
    fuzz_bodies(target, session, 200 * times)
    fuzz_addresses(target, 120 * times)
    fuzz_socket(target, session, 80 * times)
    fuzz_bytes(target, 80 * times)
    fuzz_schema(target, session, 6 * times)


def test_nothing_that_is_sent_breaks_the_server(target: Target, session: str) -> None:
    everything(target, session, 1)


@pytest.mark.slow
def test_nothing_breaks_the_server_in_the_long_run(target: Target, session: str) -> None:
    everything(target, session, 15)

"""Malformed input of every kind, at a real server in a process of its own.

Whatever comes, no answer is a 5xx, the process lives, nothing is logged as a fault, and no session is left
behind. The ordinary run sends few, the one marked slow many; how many, and how answered, is printed.
"""

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

pytest.importorskip("hypothesis", reason="hypothesis is not installed; `pip install hypothesis` to fuzz")

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync import client as websockets

from tests.streaming.conftest import free_port
from tests.streaming.malformed import (
    FRAGMENT,
    Edits,
    bodies,
    edits,
    frames,
    mutate,
    real_offer,
    types,
)

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

"""Lines of the log: their form, the session in them, what is kept out, and that nobody waits for them."""

import asyncio
import io
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from starlette.types import Message, Receive, Scope, Send

from streaming import logs
from streaming.logs import LogFormat, LogLevel, PatientHandler, SessionInLog, redact, session_in_log, set_up

Start = Callable[[LogFormat, LogLevel], Callable[[], str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Sets the log up; what is returned ends it and gives all that was written. Restores everything."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.OURS}
    root.handlers = []
    begun: list[PatientHandler] = []

    def begin(shape: LogFormat, level: LogLevel) -> Callable[[], str]:
        stream = io.StringIO()
        handler = set_up(shape, level, stream)
        begun.append(handler)

        def end() -> str:
            handler.close()
            return stream.getvalue()

        return end

    yield begin
    for handler in begun:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def access(path: str, status: int, method: str = "GET") -> None:
    """A line as uvicorn writes it."""
    logging.getLogger("uvicorn.access").info(
        '%s - "%s %s HTTP/%s" %d', "127.0.0.1:5000", method, path, "1.1", status
    )


def test_json_is_one_object_a_line(start: Start) -> None:
    end = start("json", "info")
    log = logging.getLogger("streaming.sessions")
    log.info("opened %s", "ada")
    log.warning('two\nlines, "quoted", 口播')
    first, second = (json.loads(line) for line in end().splitlines())
    assert first.keys() == {"time", "level", "logger", "message"}
    assert (first["level"], first["logger"], first["message"]) == ("info", "streaming.sessions", "opened ada")
    when = datetime.fromisoformat(first["time"])
    assert first["time"].endswith("Z")
    assert abs(when - datetime.now(UTC)) < timedelta(seconds=5)
    assert second["message"] == 'two\nlines, "quoted", 口播'


def test_a_fault_keeps_its_traceback(start: Start) -> None:
    end = start("json", "info")
    try:
        int("rtmp://live.example/app/my-key")
    except ValueError:
        logging.getLogger("streaming.x").exception("it failed")
    (line,) = end().splitlines()
    fault = json.loads(line)["fault"]
    assert "ValueError" in fault
    assert "test_a_fault_keeps_its_traceback" in fault
    assert "my-key" not in line


def test_text_is_one_line_even_when_a_message_has_two(start: Start) -> None:
    end = start("text", "info")
    logging.getLogger("streaming.x").warning("first\r\n2026-01-01 00:00:00 error forged: line")
    (line,) = end().splitlines()
    assert line.endswith(r" warning streaming.x: first\r\n2026-01-01 00:00:00 error forged: line")
    datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").astimezone()


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["streaming debug", "streaming info", "streaming error", "aioice warning"]),
        ("info", ["streaming info", "streaming error", "aioice warning"]),
        ("error", ["streaming error", "aioice warning"]),
    ],
)
def test_the_level_is_ours_and_others_only_warn(start: Start, level: LogLevel, heard: list[str]) -> None:
    end = start("json", level)
    for name in ("debug", "info", "error"):
        getattr(logging.getLogger("streaming.x"), name)("streaming %s", name)
    logging.getLogger("aioice.ice").info("aioice info")
    logging.getLogger("aioice.ice").warning("aioice warning")
    assert [json.loads(line)["message"] for line in end().splitlines()] == heard


def test_requests_are_told_with_their_parts(start: Start) -> None:
    end = start("json", "info")
    access("/v1/sessions?avatar=ada", 201, "POST")
    (line,) = end().splitlines()
    assert json.loads(line)["request"] == {
        "client": "127.0.0.1:5000",
        "method": "POST",
        "path": "/v1/sessions?avatar=ada",
        "status": 201,
    }


def test_probes_that_went_well_are_left_out(start: Start) -> None:
    end = start("json", "info")
    for path in logs.PROBES:
        access(path, 200)
    access("/readyz", 503)
    (line,) = end().splitlines()
    assert json.loads(line)["request"]["status"] == 503


def test_text_tells_only_requests_that_failed_and_debug_tells_all(start: Start) -> None:
    end = start("text", "info")
    access("/v1/sessions/x", 200)
    access("/v1/sessions/x", 404)
    (line,) = end().splitlines()
    assert line.endswith(" 404")
    end = start("text", "debug")
    access("/healthz", 200)
    assert end().count("\n") == 1


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET /player?session=a&token=S3CRET HTTP/1.1", "S3CRET"),
        ("/x?access_token=S3CRET&b=1", "S3CRET"),
        ("Authorization: Bearer S3CRET", "S3CRET"),
        ("authorization=bearer S3CRET;", "S3CRET"),
        ("rtmp://a.rtmp.example/live2/S3CRET", "S3CRET"),
        ("rtmps://host:443/app/S3CRET?bandwidth=1, tried twice", "S3CRET"),
        ("srt://host:9000?mode=caller&passphrase=S3CRET", "S3CRET"),
        ("srt://host:9000?streamid=S3CRET", "S3CRET"),
        ("https://user:S3CRET@host/whip", "S3CRET"),
        ("turn secret in https://S3CRET@host/", "S3CRET"),
        ("/hls/x.m3u8?signature=S3CRET", "S3CRET"),
    ],
)
def test_secrets_of_addresses_are_not_told(text: str, secret: str) -> None:
    shown = redact(text)
    assert secret not in shown
    assert logs.HIDDEN in shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "GET /v1/sessions/abc?background=transparent HTTP/1.1",
        "Koubo is at http://127.0.0.1:8080",
        "the token is missing; a key frame was asked for",
        "rtmp://host/app",
        "mail me@example.org about it",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_secrets_are_kept_out_of_both_forms_and_of_requests(start: Start) -> None:
    for shape in ("json", "text"):
        end = start(shape, "debug")
        logging.getLogger("streaming.x").info("to %s", "https://u:S3CRET@host/?token=S3CRET")
        access("/player?token=S3CRET", 200)
        written = end()
        assert written.count("\n") == 2
        assert "S3CRET" not in written


async def test_a_request_of_a_session_names_it(start: Start) -> None:
    end = start("json", "info")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.01)
        logging.getLogger("streaming.x").info(scope["path"])

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        pass

    paths = ["/v1/sessions/one_1-A/whep", "/v1/sessions/two", "/v1/sessions", "/v1/sessionsX/three", "/"]
    served = SessionInLog(app)
    await asyncio.gather(*(served({"type": "http", "path": path}, receive, send) for path in paths))
    told = {(line := json.loads(text))["message"]: line.get("session") for text in end().splitlines()}
    assert told == dict(zip(paths, ["one_1-A", "two", None, None, None], strict=True))
    assert session_in_log.get() is None


async def test_a_task_of_a_session_names_it_and_its_neighbours_do_not(start: Start) -> None:
    end = start("text", "info")

    async def session(name: str) -> None:
        session_in_log.set(name)
        await asyncio.sleep(0.01)
        logging.getLogger("streaming.x").info("from %s", name)

    await asyncio.gather(
        asyncio.create_task(session("aaaaaaaaaa")), asyncio.create_task(session("bbbbbbbbbb"))
    )
    logging.getLogger("streaming.x").info("from nobody")
    lines = sorted(line.partition("streaming.x")[2] for line in end().splitlines())
    assert lines == [" [aaaaaa]: from aaaaaaaaaa", " [bbbbbb]: from bbbbbbbbbb", ": from nobody"]


class StuckStream(io.StringIO):
    """A pipe that nobody reads until `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        assert self.go.wait(10)
        return super().write(text)


def test_a_full_pipe_holds_nobody_up_and_what_is_dropped_is_told() -> None:
    stream = StuckStream()
    handler = PatientHandler(stream, waiting=10)
    log = logging.Logger("stuck")
    log.addHandler(handler)
    begun = time.perf_counter()
    for number in range(1000):
        log.warning("line %d", number)
    assert time.perf_counter() - begun < 1
    stream.go.set()
    deadline = time.monotonic() + 5
    while "line 9\n" not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    log.warning("the last")
    handler.close()
    lines = stream.getvalue().splitlines()
    kept = [line for line in lines if line.startswith("line")]
    told = [int(line.split()[0]) for line in lines if "dropped" in line]
    assert sum(told) == 1000 - len(kept) > 900
    assert lines[-1] == "the last"


def test_a_reader_who_has_gone_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    handler = PatientHandler(stream)
    log = logging.Logger("gone")
    log.addHandler(handler)
    for _ in range(100):
        log.warning("hello")
    handler.close()
    assert not any(thread.name == "log-writer" and thread.is_alive() for thread in threading.enumerate())
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_all_that_waits_is_written_at_the_end(start: Start) -> None:
    end = start("text", "info")
    for number in range(500):
        logging.getLogger("streaming.x").info("number %d", number)
    assert [int(line.rsplit(" ", 1)[1]) for line in end().splitlines()] == list(range(500))

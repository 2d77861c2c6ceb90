"""What the server logs: text for people or one JSON object a line, with the session and without secrets."""

import json
import logging
import queue
import re
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

session_in_log: ContextVar[str | None] = ContextVar("session_in_log", default=None)
"""Id of the session that the current task works for."""

OURS = ("koubo", "streaming", "engine", "trt_build", "uvicorn.access")
"""Loggers that follow the level of the settings; others tell warnings and errors only."""

LINES_WAITING = 4096
"""Lines that may wait to be written before new ones are dropped."""

HIDDEN = "***"

_LAST_LINES_S = 1.0
PROBES = ("/healthz", "/readyz", "/metrics")
"""Addresses that machines ask all the time; not told where they answer well, nor counted."""

_SESSION_PATH = re.compile(r"/v1/sessions/([\w-]{1,64})(?:/|$)")
_SECRETS = (
    re.compile(
        r"(?i)([?&;](?:[\w-]*(?:token|key|secret|passphrase|password|credential|signature)|streamid)=)[^&\s\"'#]+"
    ),
    re.compile(r"(?i)(\bbearer\s+)[^\s\"',]+"),
    re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^/\s@\"']+(?=@)"),
    # The last part of an RTMP address is the stream key.
    re.compile(r"(?i)(\brtmps?://[^/\s\"']+/[^/\s\"']+/)[^\s\"',;]+"),
)


def redact(text: str) -> str:
    """`text` without tokens, passwords and stream keys of the addresses in it."""
    for secret in _SECRETS:
        text = secret.sub(rf"\1{HIDDEN}", text)
    return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, and session, request or fault."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if session := session_in_log.get():
            line["session"] = session
        if (request := _request(record)) is not None:
            line["request"] = request
        if record.exc_info:
            line["fault"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for people: time, level, logger, message, and where there is one the session's id, shortened."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; more than one line only for a fault's traceback."""
        clock = datetime.fromtimestamp(record.created).astimezone()
        message = redact(record.getMessage()).replace("\r", "\\r").replace("\n", "\\n")
        session = session_in_log.get()
        where = f" [{session[:6]}]" if session else ""
        line = f"{clock:%Y-%m-%d %H:%M:%S} {record.levelname.lower():<7} {record.name}{where}: {message}"
        if record.exc_info:
            line += "\n" + redact(self.formatException(record.exc_info))
        return line


class PatientHandler(logging.Handler):
    """Hands lines to a thread that writes them, so that a full pipe never holds up who logs.

    When the thread is too far behind, lines are dropped, and their number is told once it goes on.
    """

    def __init__(self, stream: IO[str], waiting: int = LINES_WAITING) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(waiting)
        self._dropped = 0
        self._writer = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Format here, where the session is known; write elsewhere."""
        try:
            if self._dropped:
                self._lines.put_nowait(self.format(_dropped(self._dropped)))
                self._dropped = 0
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, for a moment at most, and end."""
        logging.getLogger().removeHandler(self)
        super().close()
        try:
            self._lines.put(None, timeout=_LAST_LINES_S)
        except queue.Full:
            return
        self._writer.join(_LAST_LINES_S)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # Whoever read the log has gone; the server goes on.
                continue


class SessionInLog:
    """ASGI middleware: what is logged while a request of a session is served names that session."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        found = _SESSION_PATH.match(scope.get("path", ""))
        token = session_in_log.set(found[1] if found else None)
        try:
            await self._app(scope, receive, send)
        finally:
            session_in_log.reset(token)


def set_up(shape: LogFormat, level: LogLevel, stream: IO[str] | None = None) -> PatientHandler:
    """Send everything that is logged in this process to `stream`, stderr by default.

    Unless the level is debug, health checks and scrapes that went well are left out, and in text every
    request that did: a page asks its session how it does all the time. Returns the handler, to be closed at
    the end.
    """
    handler = PatientHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if shape == "json" else TextFormatter())
    if level != "debug":
        handler.addFilter(_no_probe if shape == "json" else _no_success)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    return handler


def _dropped(count: int) -> logging.LogRecord:
    message = "%d lines of the log were dropped: whoever reads it is too slow"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (count,), None)


def _request(record: logging.LogRecord) -> dict[str, object] | None:
    """The request of a line of uvicorn's access log."""
    if record.name != "uvicorn.access" or not isinstance(record.args, tuple) or len(record.args) != 5:
        return None
    client, method, path, _, status = record.args
    return {"client": client, "method": method, "path": redact(str(path)), "status": status}


def _no_probe(record: logging.LogRecord) -> bool:
    """Whether a line is anything but a health check or a scrape that went well."""
    request = _request(record)
    return request is None or request["path"] not in PROBES or request["status"] != 200


def _no_success(record: logging.LogRecord) -> bool:
    """Whether a line is anything but a request that went well."""
    request = _request(record)
    return request is None or int(str(request["status"])) >= 400

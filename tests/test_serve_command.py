"""`koubo serve`: what it makes of flags, environment and file, here and as a process of its own."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.errors import KouboError
from koubo import app
from streaming.connections import Certificate
from streaming.settings import Settings
from tests.fakes import make_avatar

ROOT = Path(__file__).resolve().parents[1]
Start = Callable[..., tuple[Settings, dict[str, Any]]]


class FakeLog:
    """Stands in for what writes the log."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.closed = 0

    def set_up(self, shape: str, level: str) -> "FakeLog":
        self.asked.append((shape, level))
        return self

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> FakeLog:
    fake = FakeLog()
    monkeypatch.setattr("streaming.logs.set_up", fake.set_up)
    return fake


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, log: FakeLog) -> Iterator[Start]:
    """Runs the command with a server that only notes what it was given: (settings, everything else)."""
    for name in list(os.environ):
        if name.startswith("KOUBO_"):
            monkeypatch.delenv(name)
    given: dict[str, Any] = {}

    def serve(host: str, port: int, settings: Settings, **more: Any) -> None:
        given.update(host=host, port=port, settings=settings, **more)

    monkeypatch.setattr("streaming.server.serve", serve)

    def run(*arguments: str) -> tuple[Settings, dict[str, Any]]:
        given.clear()
        result = CliRunner().invoke(app, ["serve", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return given.pop("settings"), given

    return run  # type: ignore[return-value]


def test_without_flags_it_is_the_defaults(start: Start, log: FakeLog) -> None:
    settings, given = start()
    assert (given["host"], given["port"], given["certificate"]) == ("127.0.0.1", 8080, None)
    assert settings.model_dump() == Settings().model_dump()
    assert log.asked == [("text", "info")]
    assert log.closed == 1


def test_each_source_is_heard_in_its_order(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "koubo.toml"
    config.write_text("port = 1001\nhost = '::1'\nmax_sessions = 2\nruntime = 'openvino'\n")
    monkeypatch.setenv("KOUBO_PORT", "1002")
    settings, given = start("--config", str(config), "--set", "max_sessions=5", "--set", "drain_s=1")
    assert (given["host"], given["port"]) == ("::1", 1002)
    assert (settings.max_sessions, settings.drain_s, settings.runtime) == (5, 1.0, "openvino")
    _, given = start("--config", str(config), "--port", "1003")
    assert given["port"] == 1003
    monkeypatch.setenv("KOUBO_CONFIG", str(config))
    settings, _ = start("--runtime", "torch")
    assert (settings.max_sessions, settings.runtime) == (2, "torch")


def test_a_certificate_may_come_from_anywhere(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    _, given = start("--tls-cert", "a.pem", "--tls-key", "b.pem")
    assert given["certificate"] == Certificate(Path("a.pem"), Path("b.pem"))
    monkeypatch.setenv("KOUBO_TLS_CERT", "c.pem")
    _, given = start("--tls-key", "d.pem")
    assert given["certificate"] == Certificate(Path("c.pem"), Path("d.pem"))
    with pytest.raises(KouboError, match="go together"):
        start()


def test_json_logs_hold_what_is_told(start: Start, log: FakeLog, caplog: pytest.LogCaptureFixture) -> None:
    _, given = start("--set", "log_format=json", "--set", "log_level=debug")
    assert log.asked == [("json", "debug")]
    with caplog.at_level(logging.INFO, "koubo"):
        given["tell"]("Koubo is at http://127.0.0.1:1")
    assert caplog.messages == ["Koubo is at http://127.0.0.1:1"]


def test_the_log_is_ended_when_the_server_fails(
    start: Start, log: FakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KouboError("The port is taken.")

    monkeypatch.setattr("streaming.server.serve", fail)
    with pytest.raises(KouboError, match="taken"):
        start()
    assert log.closed == 1


def koubo(*arguments: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KOUBO_")}
    return subprocess.Popen(
        [sys.executable, "-m", "koubo", "serve", *arguments],
        cwd=ROOT,
        env={**kept, "KOUBO_AVATARS": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("max_session = 4", "There is no setting 'max_session', named in {path}; did you mean max_sessions?"),
        (
            "max_sessions = 0",
            "The setting max_sessions, in {path}, cannot be 0: it should be greater than or equal to 1.",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path: Path, toml: str, sentence: str) -> None:
    config = tmp_path / "koubo.toml"
    config.write_text(toml)
    process = koubo(folder=tmp_path, KOUBO_CONFIG=str(config))
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == ""
    assert errors.strip() == f"koubo: {sentence.format(path=config)}"


def test_a_server_with_json_logs_writes_nothing_else(tmp_path: Path, unused_tcp_port: int) -> None:
    make_avatar(tmp_path, "fake")
    process = koubo(
        *("--port", str(unused_tcp_port), "--set", "log_format=json", "--set", "default_avatar=fake"),
        folder=tmp_path,
        KOUBO_RUNTIME="openvino",
    )
    try:
        address = f"http://127.0.0.1:{unused_tcp_port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        opening = urllib.request.Request(f"{address}/v1/sessions", method="POST")
        with urllib.request.urlopen(opening, timeout=30) as response:
            session = json.load(response)["id"]
        with urllib.request.urlopen(f"{address}/v1/sessions/{session}?token=S3CRET", timeout=30):
            pass
    finally:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output == ""
    assert "S3CRET" not in errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert any(line["message"] == f"Koubo is at {address}" for line in lines)
    requests = [line for line in lines if "request" in line]
    assert [line["request"]["status"] for line in requests] == [201, 200]
    assert [line.get("session") for line in requests] == [None, session]

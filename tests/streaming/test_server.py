"""The server as a process: where it listens, how it ends, and what is measured of it."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from engine.errors import KouboError
from engine.mouth.choose import OPENERS
from engine.mouth.engines import EngineUnusable
from engine.mouth.gpu import Gpu
from engine.mouth.runtime import MouthRuntime
from streaming import server
from streaming.mouth_process import RemoteMouth
from streaming.server import bind, mouth_opener, serve
from streaming.settings import Settings
from tests.fakes import FakeMouth
from tests.tiny_mouth import write_tiny_mouth

ROOT = Path(__file__).resolve().parents[2]


def test_a_port_in_use_is_one_sentence() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(KouboError, match=f"127.0.0.1:{port}.*another port"):
            serve("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port"), [("192.0.2.99", 0), ("127.0.0.1", 70_000), ("no.such.host.invalid", 0)]
)
def test_an_address_that_is_not_ours_is_one_sentence(host: str, port: int) -> None:
    with pytest.raises(KouboError, match="Cannot listen"):
        bind(host, port)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOUBO_MAX_SESSIONS", "3")
    monkeypatch.setenv(
        "KOUBO_ICE_SERVERS", '[{"url": "turn:turn.example", "username": "a", "credential": "b"}]'
    )
    monkeypatch.setenv("KOUBO_DATA", "unrelated")
    settings = Settings()
    assert settings.max_sessions == 3
    assert settings.ice_servers[0].username == "a"


def command(port: int, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(folder)]


def test_a_mouth_is_opened_as_the_settings_say_and_that_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    mouth = mouth_opener(Settings(runtime="openvino").runtime, told.append)(write_tiny_mouth(tmp_path, 48))
    assert mouth.name == "openvino"
    assert told == [f"The mouth runs on openvino in {mouth.precision}."]


def test_engines_that_are_missing_are_built_when_a_mouth_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built: list[tuple[Path, Gpu]] = []
    card = Gpu(0, "NVIDIA H200", "9.0", "580.65.06", 150 * 2**30)

    def tensorrt(mouth: Path) -> MouthRuntime:
        if not built:
            raise EngineUnusable("There is no engine yet.")
        return FakeMouth()

    monkeypatch.setitem(OPENERS, "tensorrt", tensorrt)
    monkeypatch.setattr(server, "find_gpu", lambda: card)
    monkeypatch.setattr("trt_build.build.build", lambda mouth, gpu: built.append((mouth, gpu)))
    assert mouth_opener("auto", lambda _: None)(tmp_path).name == "fake"
    assert built == [(tmp_path, card)]


def test_an_unknown_runtime_stops_the_server_before_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOUBO_RUNTIME", "abacus")
    with pytest.raises(KouboError, match="abacus"):
        serve("127.0.0.1", 0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_server_starts_answers_and_ends_quietly(tmp_path: Path, how: signal.Signals) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        command(port, tmp_path), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        urllib.request.urlopen(
            urllib.request.Request(f"{address}/v1/sessions", method="POST"), timeout=20
        ).close()
    finally:
        process.send_signal(how)
        output, _ = process.communicate(timeout=20)
    assert output == ""
    assert process.returncode in (0, -how)


def test_a_mouth_may_be_drawn_by_a_process_of_its_own(tmp_path: Path) -> None:
    told: list[str] = []
    open_mouth = mouth_opener("openvino", told.append, apart=Settings(mouth_process=True).mouth_process)
    mouth = open_mouth(write_tiny_mouth(tmp_path, 48))
    assert isinstance(mouth, RemoteMouth)
    assert mouth.name == "openvino"
    assert told == [f"The mouth runs on openvino in {mouth.precision}. It is drawn by a process of its own."]

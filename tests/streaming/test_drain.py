"""The end of a server: what is refused, who is waited for and how long, and that nothing hangs."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from streaming import drain
from streaming.drain import Drain, DrainingServer
from streaming.errors import Busy
from streaming.webrtc.client import Watcher
from tests.streaming.conftest import eventually, exchange
from tests.streaming.listening import Recorder

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_server_that_does_not_stop_admits_and_is_never_over() -> None:
    clock = Clock()
    idle = Drain(30, clock)
    for _ in range(3):
        idle.admit()
        assert not idle.draining
        assert not idle.over(0)
        clock.now += 1000


def test_a_drain_ends_with_the_last_session_or_at_its_limit() -> None:
    clock = Clock()
    ending = Drain(30, clock)
    ending.begin()
    assert ending.draining
    clock.now += 10
    ending.begin()
    assert not ending.over(1)
    assert ending.over(0)
    clock.now += 19.9
    assert not ending.over(1)
    clock.now += 0.2
    assert ending.over(1)


def test_a_limit_of_nothing_waits_for_nobody() -> None:
    ending = Drain(0, Clock())
    ending.begin()
    assert ending.over(5)


def test_a_hurry_waits_for_nobody_and_leaves_less_time_to_close() -> None:
    ending = Drain(30, Clock())
    patient = ending.close_s
    ending.hurry()
    assert ending.draining
    assert ending.hurried
    assert ending.over(5)
    assert ending.close_s < patient


def test_a_draining_server_refuses_in_one_sentence_with_a_time_to_wait() -> None:
    ending = Drain(30, Clock())
    ending.begin()
    with pytest.raises(
        Busy, match=r"^This server is about to stop and takes no new sessions; .*\.$"
    ) as caught:
        ending.admit()
    assert caught.value.status == 503
    assert int(caught.value.headers["Retry-After"]) > 0


class FakeTable:
    """Sessions that close as slowly as they are told."""

    def __init__(self, in_use: int = 1, close_s: float = 0.0, fault: Exception | None = None) -> None:
        self.in_use = in_use
        self.closed = 0
        self.cut_off = False
        self._close_s = close_s
        self._fault = fault

    def __len__(self) -> int:
        return self.in_use

    async def close(self) -> None:
        try:
            await asyncio.sleep(self._close_s)
        except asyncio.CancelledError:
            self.cut_off = True
            raise
        if self._fault:
            raise self._fault
        self.closed += 1


def draining_server(ending: Drain, table: FakeTable) -> DrainingServer:
    return DrainingServer(uvicorn.Config(FastAPI(), log_config=None), lambda: (ending, table))


async def ticks(server: DrainingServer, limit_s: float = 3.0) -> bool:
    """Tick as uvicorn does until the server wants to stop; whether it does within the limit."""
    for counter in range(round(limit_s / 0.02)):
        if await server.on_tick(counter):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_sigterm_waits_for_the_sessions_and_then_closes_them() -> None:
    clock, table = Clock(), FakeTable()
    ending = Drain(30, clock)
    server = draining_server(ending, table)
    assert not await ticks(server, 0.1)
    server.handle_exit(signal.SIGTERM, None)
    assert ending.draining
    assert not ending.hurried
    assert not await ticks(server, 0.2)
    assert table.closed == 0
    table.in_use = 0
    assert await ticks(server)
    assert table.closed == 1
    assert not server.force_exit


async def test_sigterm_closes_sessions_that_do_not_end_by_themselves() -> None:
    clock, table = Clock(), FakeTable()
    server = draining_server(Drain(30, clock), table)
    server.handle_exit(signal.SIGTERM, None)
    clock.now += 31
    assert await ticks(server)
    assert table.closed == 1


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
async def test_sigint_or_a_second_sigterm_waits_no_longer(signals: list[signal.Signals]) -> None:
    table = FakeTable()
    server = draining_server(Drain(30, Clock()), table)
    for each in signals:
        server.handle_exit(each, None)
    assert await ticks(server)
    assert table.closed == 1
    assert not server.force_exit


async def test_one_more_signal_ends_without_closing_anything() -> None:
    table = FakeTable(close_s=60)
    server = draining_server(Drain(30, Clock()), table)
    server.handle_exit(signal.SIGINT, None)
    assert not await ticks(server, 0.1)
    server.handle_exit(signal.SIGTERM, None)
    assert server.force_exit
    assert await ticks(server, 0.1)
    await leave(server)


async def test_a_signal_before_the_app_stands_ends_at_once() -> None:
    server = DrainingServer(uvicorn.Config(FastAPI(), log_config=None), lambda: None)
    assert not await server.on_tick(0)
    server.handle_exit(signal.SIGTERM, None)
    assert server.force_exit
    assert await server.on_tick(1)


async def test_sessions_that_hang_are_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(drain, "CLOSE_S", 0.2)
    table = FakeTable(in_use=0, close_s=60)
    server = draining_server(Drain(30, Clock()), table)
    server.handle_exit(signal.SIGTERM, None)
    begun = time.monotonic()
    assert await ticks(server)
    assert 0.2 <= time.monotonic() - begun < 1.5
    await asyncio.sleep(0)
    assert table.cut_off
    assert "did not close within" in caplog.text


async def test_a_hurry_shortens_a_close_that_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "HURRIED_CLOSE_S", 0.1)
    table = FakeTable(in_use=0, close_s=60)
    server = draining_server(Drain(30, Clock()), table)
    server.handle_exit(signal.SIGTERM, None)
    assert not await ticks(server, 0.3)
    server.handle_exit(signal.SIGTERM, None)
    assert await ticks(server, 0.3)
    await asyncio.sleep(0)
    assert table.cut_off


async def test_a_fault_while_closing_is_logged_and_ends_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = draining_server(Drain(30, Clock()), FakeTable(in_use=0, fault=RuntimeError("a stuck outlet")))
    with caplog.at_level(logging.ERROR):
        server.handle_exit(signal.SIGTERM, None)
        assert await ticks(server)
    assert "a stuck outlet" in caplog.text


async def leave(server: DrainingServer) -> None:
    """End what a forced exit leaves to the end of the event loop."""
    assert server._closing is not None
    server._closing.cancel()
    await asyncio.wait([server._closing])


async def test_a_draining_app_is_not_ready_and_takes_no_session(
    app: FastAPI, http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    app.state.stage.drain.begin()
    ready = await http.get("/readyz")
    refused = await http.post("/v1/sessions")
    for response in (ready, refused):
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "about to stop" in response.json()["detail"]
    assert (await http.get("/healthz")).status_code == 200
    assert (await http.get(f"/v1/sessions/{session['id']}")).status_code == 200
    assert b"koubo_draining 1.0" in (await http.get("/metrics")).content


async def test_only_sessions_in_use_are_waited_for(
    app: FastAPI, http: httpx.AsyncClient, session: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = app.state.table
    # Just opened: who opened it is about to connect.
    assert (len(table), table.in_use) == (1, 1)
    monkeypatch.setattr("streaming.sessions._IN_USE_S", 0.2)
    await eventually(lambda: table.in_use == 0)
    assert len(table) == 1
    await http.post(f"/v1/sessions/{session['id']}/speak", json={"text": "Somebody is talking again."})
    await eventually(lambda: table.in_use == 1)


@dataclass
class Served:
    """A server in a process of its own."""

    process: asyncio.subprocess.Process
    http: httpx.AsyncClient

    def signal(self, which: signal.Signals) -> float:
        self.process.send_signal(which)
        return time.monotonic()

    async def ended(self, timeout_s: float) -> tuple[int, float, str]:
        """Exit status, when it ended, and what it wrote."""
        output, _ = await asyncio.wait_for(self.process.communicate(), timeout_s)
        assert self.process.returncode is not None
        return self.process.returncode, time.monotonic(), output.decode()


@asynccontextmanager
async def served(folder: Path, port: int, **settings: str) -> AsyncIterator[Served]:
    """A server with fake mouths and these settings."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.streaming.fake_server", str(port), str(folder)),
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:

            async def ready() -> bool:
                try:
                    return (await http.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(ready, 60)
            yield Served(process, http)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def watch(http: httpx.AsyncClient) -> tuple[str, Watcher, Recorder]:
    """Open a session and watch it: (its address, the viewer, what it gets)."""
    opened = (await http.post("/v1/sessions")).json()
    watcher = Watcher()
    await watcher.connect(exchange(http, opened["whep"]))
    recorder = Recorder(watcher)
    await recorder.until(5)
    return f"/v1/sessions/{opened['id']}", watcher, recorder


async def test_a_viewer_is_served_to_the_end_of_the_drain(tmp_path: Path, unused_tcp_port: int) -> None:
    async with served(tmp_path, unused_tcp_port, KOUBO_DRAIN_S="4") as server:
        address, watcher, recorder = await watch(server.http)
        begun = server.signal(signal.SIGTERM)

        async def unready() -> bool:
            return (await server.http.get("/readyz")).status_code == 503

        await eventually(unready, 2)
        assert time.monotonic() - begun < 1
        assert (await server.http.post("/v1/sessions")).status_code == 503
        assert (await server.http.get(address)).json()["viewers"] == 1
        seen = len(recorder.pictures)
        await recorder.until(seen + 25)
        status, ended, output = await server.ended(20)
        assert (status, output) == (0, "")
        assert 4 <= ended - begun < 8
        # The viewer was told, rather than left to find out.
        await eventually(lambda: watcher.pc.connectionState == "closed", 2)
        await recorder.stop()
        await watcher.close()


async def test_a_second_sigterm_ends_at_once(tmp_path: Path, unused_tcp_port: int) -> None:
    async with served(tmp_path, unused_tcp_port, KOUBO_DRAIN_S="60") as server:
        _, watcher, recorder = await watch(server.http)
        server.signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert server.process.returncode is None
        begun = server.signal(signal.SIGTERM)
        status, ended, output = await server.ended(20)
        assert (status, output) == (0, "")
        assert ended - begun < 3
        await eventually(lambda: watcher.pc.connectionState == "closed", 2)
        await recorder.stop()
        await watcher.close()


async def test_a_drain_ends_when_the_last_viewer_leaves(tmp_path: Path, unused_tcp_port: int) -> None:
    async with served(tmp_path, unused_tcp_port, KOUBO_DRAIN_S="60") as server:
        _, watcher, recorder = await watch(server.http)
        begun = server.signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        await recorder.stop()
        await watcher.close()
        status, ended, output = await server.ended(30)
        assert (status, output) == (0, "")
        assert ended - begun < 15


async def test_a_recording_is_finished_before_the_server_ends(tmp_path: Path, unused_tcp_port: int) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    settings = {
        "KOUBO_DRAIN_S": "2",
        "KOUBO_RECORDINGS": str(recordings),
        "KOUBO_RECORDINGS_MIN_FREE_MB": "0",
    }
    async with served(tmp_path, unused_tcp_port, **settings) as server:
        opened = (await server.http.post("/v1/sessions")).json()
        outlets = f"/v1/sessions/{opened['id']}/outlets"
        assert (await server.http.post(outlets, json={"url": "mp4:"})).status_code == 201

        async def records() -> bool:
            return bool((await server.http.get(outlets)).json()[0]["bytes"] > 0)

        await eventually(records, 20)
        figures = (await server.http.get("/metrics")).text
        assert 'koubo_outlets{kind="mp4",state="live"} 1.0' in figures
        assert 'koubo_outlet_sent_bytes_total{kind="mp4"}' in figures
        begun = server.signal(signal.SIGTERM)
        status, ended, output = await server.ended(30)
        assert (status, output) == (0, "")
        assert ended - begun >= 2
    (recording,) = recordings.rglob("*.mp4")
    with av.open(recording) as film:
        pictures = [frame.pts for frame in film.decode(video=0) if frame.pts is not None]
    # What was recorded while the server waited for it is there, to the last second.
    assert len(pictures) > 25
    assert pictures == sorted(set(pictures))

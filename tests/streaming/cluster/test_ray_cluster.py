"""A real Ray cluster of three nodes on this machine: a lost node, growth, and drain before scale-down."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from streaming.cluster import Cluster, deploy
from streaming.cluster_placement import holder
from streaming.cluster_proxy import GONE_CODE
from streaming.cluster_settings import Plan
from streaming.settings import Settings
from tests.streaming.cluster.conftest import end_of
from tests.streaming.cluster.nodes import CountingViewer, ray_nodes
from tests.streaming.conftest import eventually, free_port

pytestmark = [
    pytest.mark.slow,
    # Ray's own clients leave sockets and files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*long.*:UserWarning:ray"),
]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure whether or not the test passes."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", flush=True)

    return say


@pytest.fixture
def settings(avatars: Path) -> Settings:
    return Settings(default_avatar="fake", port=free_port(), drain_s=2, idle_close_s=60)


@pytest.fixture(autouse=True)
def quiet_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed; `pip install 'koubo[ray]'`")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture
def nodes(avatars: Path, quiet_ray: None) -> Iterator[Any]:
    with ray_nodes(3) as found:
        yield found


def front(plan: Plan) -> Plan:
    """The plan with gateways and directory on the head node, and short waits."""
    return plan.model_copy(update={"gateways": 1, "gateway_resources": {"front": 0.1}})


def node_at(nodes: Any, url: str) -> Any:
    """The node that a replica's URL points to."""
    host = httpx.URL(url).host
    return next(node for node in nodes.list_all_nodes() if node.node_ip_address == host)


def client(settings: Settings) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.port}", trust_env=False, timeout=30)


async def open_session(http: httpx.AsyncClient) -> dict[str, str]:
    response = await http.post("/v1/sessions")
    assert response.status_code == 201, response.text
    opened: dict[str, str] = response.json()
    return opened


async def told_of_the_end(
    settings: Settings, session_id: str, ready: asyncio.Event
) -> tuple[float, int, str]:
    """Holds the audio socket open; when it was closed, and how."""
    url = f"ws://127.0.0.1:{settings.port}/v1/sessions/{session_id}/audio"
    async with connect(url, proxy=None) as socket:
        await socket.send('{"type": "start", "sample_rate": 16000}')
        await socket.recv()
        ready.set()
        code, reason = await end_of(socket)
        return time.monotonic(), code, reason


async def test_a_lost_node_costs_only_its_sessions(
    nodes: Any, settings: Settings, tell: Callable[[str], None]
) -> None:
    plan = front(Plan(least=3, most=3, sessions=3, cpus=1))
    cluster = await asyncio.to_thread(deploy, settings, plan, nodes.address, every_node=False)
    viewers: list[CountingViewer] = []
    try:
        async with client(settings) as http:

            async def all_are_known() -> bool:
                return "koubo_cluster_replicas 3.0" in (await http.get("/metrics")).text

            await eventually(all_are_known, timeout_s=30)
            sessions = [await open_session(http) for _ in range(6)]
            assert len({holder(one["id"]) for one in sessions}) == 3
            viewers = [CountingViewer(one) for one in sessions]
            for viewer in viewers:
                await viewer.connect(http)
            entries = await asyncio.to_thread(cluster.sessions)
            assert len({httpx.URL(entry.url).host for entry in entries.values()}) == 3
            victim = next(
                name for name, entry in entries.items() if node_at(nodes, entry.url) is not nodes.head_node
            )
            lost = [viewer for viewer in viewers if holder(viewer.session["id"]) == victim]
            kept = [viewer for viewer in viewers if viewer not in lost]
            assert lost
            ready = asyncio.Event()
            listening = asyncio.create_task(told_of_the_end(settings, lost[0].session["id"], ready))
            await asyncio.wait_for(ready.wait(), 10)
            await asyncio.sleep(2)

            node = node_at(nodes, entries[victim].url)
            killing = asyncio.create_task(asyncio.to_thread(nodes.remove_node, node, allow_graceful=False))
            closed, code, reason = await asyncio.wait_for(listening, 10)
            last = max(viewer.counted.last_s for viewer in lost)
            tell(f"told {1000 * (closed - last):.0f} ms after the last packet of the lost sessions")
            assert (code, "open a new session" in reason) == (GONE_CODE, True)
            asked = time.monotonic()
            answer = await http.get(f"/v1/sessions/{lost[0].session['id']}")
            tell(f"410 within {1000 * (time.monotonic() - asked):.0f} ms")
            assert answer.status_code == 410
            assert answer.headers["content-type"] == "application/problem+json"
            again = [await open_session(http) for _ in range(6 - len(kept))]
            placed = time.monotonic()
            tell(f"{len(again)} new sessions elsewhere {1000 * (placed - last):.0f} ms after it")
            assert victim not in {holder(one["id"]) for one in again}
            await killing
            full = await http.post("/v1/sessions")
            assert (full.status_code, full.headers.get("retry-after")) == (503, "10")

            await asyncio.sleep(5)
            for viewer in kept:
                assert (await http.get(f"/v1/sessions/{viewer.session['id']}")).status_code == 200
            ticks = [len(viewer.counted.times) for viewer in kept]
            tell(
                f"the other {len(kept)} sessions: {ticks} ticks each, steps {[v.counted.steps for v in kept]}"
            )
            assert min(ticks) > 150
            assert all(viewer.counted.steps == {1} for viewer in kept)
    finally:
        await asyncio.gather(*(viewer.close() for viewer in viewers))
        await asyncio.to_thread(cluster.close, threading.Event())


async def test_it_grows_with_sessions_and_drains_before_it_shrinks(
    nodes: Any, settings: Settings, tell: Callable[[str], None]
) -> None:
    plan = front(Plan(least=1, most=3, sessions=2, cpus=1, grow_s=0.5, shrink_s=1, drain_s=60, wait_s=25))
    cluster: Cluster = await asyncio.to_thread(deploy, settings, plan, nodes.address, every_node=False)
    viewers: list[CountingViewer] = []
    try:
        async with client(settings) as http:
            began = time.monotonic()
            sessions = await asyncio.gather(*(open_session(http) for _ in range(4)))
            tell(f"1 replica of 2 took 4 sessions asked at once, in {time.monotonic() - began:.1f} s")
            homes = {holder(one["id"]) for one in sessions}
            assert len(homes) >= 2
            viewers = [CountingViewer(one) for one in sessions]
            for viewer in viewers:
                await viewer.connect(http)
            # One session is left on each of two replicas at least, where one replica would do for both.
            left = {holder(viewer.session["id"]): viewer for viewer in viewers}
            for viewer in viewers:
                if viewer not in left.values():
                    await viewer.close()
                    await http.delete(f"/v1/sessions/{viewer.session['id']}")
            kept = list(left.values())[:2]
            for viewer in list(left.values())[2:]:
                await viewer.close()
                await http.delete(f"/v1/sessions/{viewer.session['id']}")
            began = time.monotonic()

            async def one_takes_no_more() -> bool:
                page = (await http.get("/metrics")).text
                return "koubo_draining" in page and any(
                    line.startswith("koubo_draining{") and line.endswith(" 1.0") for line in page.splitlines()
                )

            await eventually(one_takes_no_more, timeout_s=40)
            tell(f"a replica began to drain {time.monotonic() - began:.1f} s later")
            await asyncio.sleep(5)
            states = [(await http.get(f"/v1/sessions/{one.session['id']}")).status_code for one in kept]
            assert states == [200, 200], "a session ended by scaling down"
            assert all(viewer.counted.steps == {1} for viewer in kept)
            ticks = [len(viewer.counted.times) for viewer in kept]
            tell(f"sessions ended by scaling down: 0 of {len(kept)}; {ticks} ticks, none missing")
            for viewer in kept:
                await http.delete(f"/v1/sessions/{viewer.session['id']}")

            async def one_is_left() -> bool:
                return len(await asyncio.to_thread(cluster.sessions)) == 1

            await eventually(one_is_left, timeout_s=40)
    finally:
        await asyncio.gather(*(viewer.close() for viewer in viewers))
        await asyncio.to_thread(cluster.close, threading.Event())


def test_the_command_starts_ray_says_where_it_is_and_ends(
    settings: Settings, tell: Callable[[str], None]
) -> None:
    command = [sys.executable, "-m", "koubo", "serve", "--ray", "--port", str(settings.port)]
    command += ["--sessions-per-replica", "1", "--replica-cpus", "0.5"]
    told = {"KOUBO_DEFAULT_AVATAR": "fake", "KOUBO_DRAIN_S": "30"}
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        command, env=os.environ | told, cwd=root, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        try:
            assert any(f"Koubo is at http://127.0.0.1:{settings.port}" in line for line in lines)
            with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", trust_env=False) as http:
                session = http.post("/v1/sessions").json()["id"]
                process.send_signal(signal.SIGTERM)
                assert any("Waiting up to 30 s" in line for line in lines)
                assert http.get(f"/v1/sessions/{session}").status_code == 200
            # A session that nobody watches is not waited for; the rest of the time is Ray's own end.
            process.stderr.close()
            assert process.wait(60) == 0
        finally:
            process.kill()

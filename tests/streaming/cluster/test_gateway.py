"""A gateway in front of real replicas: over real sockets, with real sessions, a WebRTC viewer and losses."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from streaming.cluster_placement import Load, new_name
from streaming.cluster_proxy import GONE, GONE_CODE
from streaming.cluster_replica import LINK, SECRET_HEADER
from streaming.cluster_settings import Plan
from streaming.settings import Settings
from streaming.webrtc.client import Watcher
from tests.streaming.cluster.conftest import SmallCluster, end_of, home
from tests.streaming.conftest import SDP, eventually, exchange

pytestmark = pytest.mark.filterwarnings(
    # FastAPI silences this one while it reads a route, which two servers in one process undo for each other.
    "ignore::pydantic.warnings.UnsupportedFieldAttributeWarning"
)

OPERATE = "operate-operate-operate"
WATCH = "watch-watch-watch-watch"


async def opened(http: httpx.AsyncClient, **more: Any) -> dict[str, str]:
    response = await http.post("/v1/sessions", **more)
    assert response.status_code == 201, response.text
    session: dict[str, str] = response.json()
    assert response.headers["location"] == f"/v1/sessions/{session['id']}"
    return session


def audio(http: httpx.AsyncClient, session_id: str, **more: Any) -> connect:
    url = str(http.base_url).replace("http", "ws", 1).rstrip("/")
    return connect(f"{url}/v1/sessions/{session_id}/audio", proxy=None, **more)


async def started(socket: ClientConnection) -> dict[str, Any]:
    await socket.send('{"type": "start", "sample_rate": 16000}')
    ready: dict[str, Any] = json.loads(await socket.recv())
    return ready


async def test_sessions_spread_and_none_is_over_capacity(two: SmallCluster, http: httpx.AsyncClient) -> None:
    sessions = await asyncio.gather(*(opened(http) for _ in range(4)))
    assert Counter(home(one) for one in sessions) == dict.fromkeys(two.replicas, 2)
    refused = await http.post("/v1/sessions")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "10"
    assert refused.json() == {"detail": "All sessions of this cluster are taken; end one or try again later."}


async def test_a_place_that_frees_goes_to_who_waits(
    cluster: SmallCluster, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.plan = plan.model_copy(update={"wait_s": 20})
    await cluster.add()
    async with cluster.gateway() as http:
        first = [await opened(http) for _ in range(2)]
        waiting = asyncio.create_task(opened(http))
        await eventually(lambda: sum(cluster.directory.waiting.values()) == 1)
        await http.delete(f"/v1/sessions/{first[0]['id']}")
        assert home(await waiting) in cluster.replicas


async def test_two_gateways_agree_without_a_word(two: SmallCluster) -> None:
    async with two.gateway() as one, two.gateway() as other:
        sessions = await asyncio.gather(*(opened(one if n % 2 else other) for n in range(4)))
        assert Counter(home(session) for session in sessions) == dict.fromkeys(two.replicas, 2)
        for session in sessions:
            for http in (one, other):
                shown = await http.get(f"/v1/sessions/{session['id']}")
                assert (shown.status_code, shown.json()["id"]) == (200, session["id"])


async def test_a_gateway_that_dies_costs_no_session(two: SmallCluster) -> None:
    async with two.gateway() as http:
        session = await opened(http)
    async with two.gateway() as http:
        assert (await http.get(f"/v1/sessions/{session['id']}")).status_code == 200


async def test_the_api_of_a_session_goes_through(http: httpx.AsyncClient) -> None:
    session = await opened(http, json={"avatar": "other"})
    path = f"/v1/sessions/{session['id']}"
    assert (await http.get(path)).json()["avatar"] == "other"
    spoken = await http.post(f"{path}/speak", json={"text": "hello"})
    assert spoken.status_code == 202
    assert (await http.post(f"{path}/interrupt")).status_code == 200
    link = (await http.post(f"{path}/watch-links", json={"seconds": 60})).json()
    assert link["whep"].startswith(f"{path}/whep?token={session['id']}.")
    options = await http.options(session["whep"])
    assert options.headers["accept-post"] == "application/sdp"
    assert (await http.delete(path)).status_code == 204
    ended = await http.get(path)
    assert (ended.status_code, ended.json()["detail"]) == (
        404,
        "There is no such session; it may have ended.",
    )


@pytest.mark.parametrize("odd", ["nothing", "0123456g-abc", "x" * 300])
async def test_what_is_no_session_is_not_found(http: httpx.AsyncClient, odd: str) -> None:
    assert (await http.get(f"/v1/sessions/{odd}")).status_code == 404


async def test_errors_keep_their_shape(http: httpx.AsyncClient) -> None:
    session = await opened(http)
    odd = await http.post(
        f"/v1/sessions/{session['id']}/speak", content=b"{", headers={"content-type": "application/json"}
    )
    assert (odd.status_code, odd.json()) == (422, {"detail": "The body is not valid JSON."})
    unknown = await http.post("/v1/sessions", json={"avatar": "nobody"})
    assert unknown.status_code == 404
    large = await http.post("/v1/sessions", content=b"x" * 200_000)
    assert large.status_code == 413


async def test_pages_avatars_and_health_come_from_any(http: httpx.AsyncClient) -> None:
    for path in ("/", "/player", "/static/player.js", "/v1/avatars", "/v1/voices", "/healthz", "/readyz"):
        response = await http.get(path)
        assert response.status_code == 200, path
        assert response.headers["x-content-type-options"] == "nosniff"
        assert len(response.headers.get_list("x-content-type-options")) == 1
    unchanged = {"if-none-match": (await http.get("/static/player.js")).headers["etag"]}
    assert (await http.get("/static/player.js", headers=unchanged)).status_code == 304


async def test_metrics_name_the_replica(two: SmallCluster, http: httpx.AsyncClient) -> None:
    await opened(http)
    lines = (await http.get("/metrics")).text.splitlines()
    for name in two.replicas:
        assert any(line.startswith("koubo_sessions{") and f'replica="{name}"' in line for line in lines)
    assert "koubo_cluster_replicas 2.0" in lines
    assert "koubo_cluster_places 4.0" in lines
    assert sum(line.startswith("# TYPE koubo_sessions ") for line in lines) == 1


async def test_no_replica_is_not_ready(cluster: SmallCluster) -> None:
    async with cluster.gateway() as http:
        assert (await http.get("/healthz")).status_code == 200
        for method, path in (("GET", "/readyz"), ("GET", "/v1/avatars"), ("POST", "/v1/sessions")):
            response = await http.request(method, path)
            assert response.status_code == 503, path
            assert response.headers["retry-after"]


async def test_a_viewer_watches_through_the_gateway_and_hangs_up(http: httpx.AsyncClient) -> None:
    session = await opened(http)
    watcher = Watcher(decode=False)
    locations: list[str] = []
    try:
        await watcher.connect(exchange(http, session["whep"], locations))
        await eventually(lambda: len(watcher.frames.arrived) > 3)
        bad = await http.patch(locations[0], content=b"x", headers=SDP)
        assert bad.status_code == 415
        assert (await http.delete(locations[0])).status_code == 200
        assert (await http.delete(locations[0])).status_code == 404
    finally:
        await watcher.close()


async def test_the_audio_socket_goes_through(http: httpx.AsyncClient) -> None:
    session = await opened(http)
    async with audio(http, session["id"]) as socket:
        assert (await started(socket))["session"] == session["id"]
        await socket.send('{"type": "begin", "utterance": "one"}')
        await socket.send(b"\1\0" * 3200)
        await socket.send('{"type": "finish"}')
        told = ""
        while told != "speak_ended":
            told = json.loads(await asyncio.wait_for(socket.recv(), 15))["type"]
    async with audio(http, session["id"]) as second:
        assert (await started(second))["type"] == "ready"  # the first one's end has arrived
        await http.delete(f"/v1/sessions/{session['id']}")
        assert await end_of(second) == (1001, "The session has ended.")


async def test_refusals_of_the_audio_socket_go_through(http: httpx.AsyncClient) -> None:
    session = await opened(http)
    async with audio(http, session["id"]) as first, audio(http, session["id"]) as second:
        await started(first)
        await second.send('{"type": "start"}')
        assert (await end_of(second))[0] == 4409
    with pytest.raises(InvalidStatus) as unknown:
        async with audio(http, "nothing"):
            pass
    assert unknown.value.response.status_code == 404


async def test_a_lost_replica_costs_its_sessions_and_tells_at_once(
    two: SmallCluster, http: httpx.AsyncClient
) -> None:
    sessions = [await opened(http) for _ in range(2)]
    assert len({home(one) for one in sessions}) == 2
    lost, kept = sessions
    async with audio(http, lost["id"]) as socket, audio(http, kept["id"]) as other:
        await started(socket)
        await started(other)
        await two.lose(home(lost))
        # A replica that ends in order closes its sockets itself.
        assert (await end_of(socket))[0] in (GONE_CODE, 1001, 1012)
        await other.send('{"type": "interrupt"}')
        assert json.loads(await other.recv())["type"] == "interrupted"
    await eventually(lambda: gone(http, lost["id"]))
    answer = await http.post(f"/v1/sessions/{lost['id']}/speak", json={"text": "hello"})
    assert answer.status_code == 410
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {"type": "about:blank", "title": "Gone", "status": 410, "detail": GONE}
    with pytest.raises(InvalidStatus) as refused:
        async with audio(http, lost["id"]):
            pass
    assert refused.value.response.status_code == 410
    assert home(await opened(http)) == home(kept)
    assert (await http.get(f"/v1/sessions/{kept['id']}")).status_code == 200


async def gone(http: httpx.AsyncClient, session_id: str) -> bool:
    return (await http.get(f"/v1/sessions/{session_id}")).status_code == 410


class DyingReplica:
    """A server that answers links and takes WebSockets, and can be cut off as by a dead machine."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.name = new_name()
        self.writers: list[asyncio.StreamWriter] = []
        self.silent = False

    async def __aenter__(self) -> "DyingReplica":
        from websockets.asyncio.server import ServerConnection, serve

        async def answer(link: ServerConnection) -> None:
            assert link.request is not None
            assert link.request.headers[SECRET_HEADER] == self.secret
            if link.request.path == LINK:
                while not self.silent:
                    await link.send(json.dumps(asdict(Load(0, 5))))
                    await asyncio.sleep(0.1)
            await link.wait_closed()

        self.server = await serve(answer, "127.0.0.1", 0, close_timeout=0.1)
        self.url = f"http://127.0.0.1:{next(iter(self.server.sockets)).getsockname()[1]}"
        return self

    def die(self) -> None:
        """As a killed process: nothing listens, and every connection is reset."""
        self.server.server.close()
        for connection in self.server.connections:
            connection.transport.abort()

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()


async def test_a_killed_replica_is_known_within_a_moment(cluster: SmallCluster) -> None:
    async with DyingReplica(cluster.plan.secret.get_secret_value()) as replica:
        cluster.directory.urls[replica.name] = replica.url
        app = cluster.app()
        async with app.gateway.lifespan():
            await eventually(lambda: app.gateway.links.get(replica.name) is not None)
            remote = app.gateway.links.get(replica.name)
            assert remote is not None
            replica.die()
            began = time.monotonic()
            await asyncio.wait_for(remote.lost.wait(), 2)
            assert time.monotonic() - began < 2
            assert app.gateway.placement.loads == {}


async def test_a_viewer_of_a_killed_replica_hears_4410(cluster: SmallCluster) -> None:
    async with DyingReplica(cluster.plan.secret.get_secret_value()) as replica:
        cluster.directory.urls[replica.name] = replica.url
        async with cluster.gateway() as http:
            url = f"{replica.name}-abc"
            async with audio(http, url) as listener:
                replica.die()
                assert await end_of(listener) == (GONE_CODE, GONE)


async def test_a_silent_machine_is_taken_for_gone(
    cluster: SmallCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.cluster_links.SILENCE_S", 0.3)
    async with DyingReplica(cluster.plan.secret.get_secret_value()) as replica:
        cluster.directory.urls[replica.name] = replica.url
        app = cluster.app()
        async with app.gateway.lifespan():
            await eventually(lambda: app.gateway.links.get(replica.name) is not None)
            replica.silent = True
            await eventually(lambda: app.gateway.placement.loads == {})


async def test_a_directory_that_is_away_costs_nothing(two: SmallCluster, http: httpx.AsyncClient) -> None:
    two.directory.away = True
    session = await opened(http)
    await asyncio.sleep(0.6)
    assert (await http.get(f"/v1/sessions/{session['id']}")).status_code == 200


async def test_a_replica_that_drains_keeps_its_sessions(two: SmallCluster, http: httpx.AsyncClient) -> None:
    session = await opened(http)
    going = two.replicas[home(session)]
    async with audio(http, session["id"]) as used:
        await started(used)
        draining = asyncio.create_task(going.drain())
        others = [await opened(http), await opened(http)]
        assert home(session) not in {home(one) for one in others}
        assert (await http.get(f"/v1/sessions/{session['id']}")).status_code == 200
        assert (await http.post("/v1/sessions")).status_code == 503
        await http.delete(f"/v1/sessions/{session['id']}")
    await asyncio.wait_for(draining, 10)
    assert not going.alive


async def test_a_replica_answers_nobody_but_gateways(two: SmallCluster, plan: Plan) -> None:
    replica = next(iter(two.replicas.values()))
    async with httpx.AsyncClient(base_url=replica.url, trust_env=False) as http:
        for headers in ({}, {SECRET_HEADER: "wrong"}, {"authorization": "Bearer x"}):
            for path in ("/", "/healthz", "/v1/avatars", LINK):
                assert (await http.get(path, headers=headers)).status_code == 403
        with pytest.raises(InvalidStatus):
            await connect(f"ws{replica.url.removeprefix('http')}{LINK}", proxy=None)
        shown = {SECRET_HEADER: plan.secret.get_secret_value()}
        assert (await http.get("/healthz", headers=shown)).status_code == 200


async def sent(http: httpx.AsyncClient, request: str) -> str:
    """The status line of an answer to bytes that no client would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
    writer.write(request.encode())
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()
    return line.decode()


class TestWithTokens:
    @pytest.fixture
    def settings(self) -> Settings:
        given = {"operate_tokens": (OPERATE,), "watch_tokens": (WATCH,), "default_avatar": "fake"}
        return Settings.model_validate({**given, "sessions_at_once": 3, "sessions_per_minute": 0.1})

    async def test_each_token_may_what_it_may(self, http: httpx.AsyncClient) -> None:
        operate, watch = ({"authorization": f"Bearer {token}"} for token in (OPERATE, WATCH))
        assert (await http.post("/v1/sessions")).status_code == 401
        assert (await http.post("/v1/sessions", headers=watch)).status_code == 403
        assert (await http.get("/metrics")).status_code == 401
        session = await opened(http, headers=operate)
        path = f"/v1/sessions/{session['id']}"
        assert (await http.get(path)).status_code == 401
        assert (await http.get(path, headers=watch)).status_code == 200
        assert (await http.delete(path, headers=watch)).status_code == 403
        with pytest.raises(InvalidStatus) as refused:
            async with audio(http, session["id"]):
                pass
        assert refused.value.response.status_code == 401
        async with audio(http, session["id"], subprotocols=["koubo", f"koubo.token.{OPERATE}"]) as socket:
            assert socket.subprotocol == "koubo"
            assert (await started(socket))["type"] == "ready"

    async def test_a_watch_link_holds_at_every_gateway(self, two: SmallCluster) -> None:
        operate = {"authorization": f"Bearer {OPERATE}"}
        async with two.gateway() as one, two.gateway() as other:
            sessions = [await opened(one, headers=operate) for _ in range(2)]
            path = f"/v1/sessions/{sessions[0]['id']}/watch-links"
            token = (await one.post(path, headers=operate)).json()["token"]
            for http in (one, other):
                mine, theirs = (f"/v1/sessions/{session['id']}" for session in sessions)
                assert (await http.get(mine, params={"token": token})).status_code == 200
                assert (await http.get(theirs, params={"token": token})).status_code == 403

    async def test_too_many_new_sessions_are_refused_for_the_cluster(self, http: httpx.AsyncClient) -> None:
        operate = {"authorization": f"Bearer {OPERATE}"}
        for _ in range(3):
            await opened(http, headers=operate)
        assert (await http.post("/v1/sessions", headers=operate)).status_code == 429

    @pytest.mark.parametrize(
        "path",
        [
            "/static/../v1/avatars",
            "/static/%2e%2e/v1/avatars",
            "/docs/./../v1/avatars",
            "/static/..%2f../v1/avatars",
            "/cluster/link",
        ],
    )
    async def test_no_address_climbs_around_the_tokens(self, http: httpx.AsyncClient, path: str) -> None:
        answer = await sent(http, f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert answer.split()[1] in ("401", "404"), answer

    async def test_a_stolen_header_is_not_passed_on(self, http: httpx.AsyncClient) -> None:
        forged = {SECRET_HEADER: "x", "authorization": f"Bearer {OPERATE}"}
        assert (await http.get("/v1/avatars", headers=forged)).status_code == 200


async def test_a_page_of_another_site_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/avatars", headers={"host": "evil.example"})).status_code == 403
    assert (await http.post("/v1/sessions", headers={"origin": "http://evil.example"})).status_code == 403

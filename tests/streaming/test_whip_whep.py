"""WHIP to the letter of RFC 9725, WHEP to that of draft-ietf-wish-whep."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from streaming.cast import EngineCast
from streaming.server import create_app
from streaming.settings import IceServer, Settings
from streaming.webrtc.client import ClipTrack, Watcher, publish
from streaming.webrtc.ending import close_connection
from tests.fakes import FakeMouth, speech_like
from tests.streaming.conftest import SDP, eventually, exchange

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
CANDIDATE = "a=candidate:1 1 udp 2122260223 192.0.2.77 61764 typ host generation 0 ufrag {} network-id 1"


@pytest.fixture
async def offer() -> AsyncIterator[str]:
    """An offer to send a microphone."""
    pc = RTCPeerConnection()
    pc.addTransceiver("audio", direction="sendonly")
    await pc.setLocalDescription()
    yield pc.localDescription.sdp
    await close_connection(pc)


@pytest.fixture
async def published(http: httpx.AsyncClient, session: dict[str, str], offer: str) -> httpx.Response:
    return await http.post(session["whip"], content=offer, headers=SDP)


def ufrag(offer: str) -> str:
    return next(line for line in offer.splitlines() if line.startswith("a=ice-ufrag:")).partition(":")[2]


async def test_an_offer_is_answered_with_201_and_where_it_lives(
    published: httpx.Response, session: dict[str, str]
) -> None:
    assert published.status_code == 201
    assert published.headers["content-type"] == "application/sdp"
    assert published.headers["location"].startswith(session["whip"] + "/")
    etag = published.headers["etag"]
    assert etag.startswith('"')
    assert not etag.startswith("W/")
    assert published.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
    answer = published.text
    assert answer.startswith("v=0\r\n")
    assert "a=recvonly" in answer
    assert "a=candidate:" in answer
    assert "a=rtcp-mux" in answer
    assert "a=setup:active" in answer


async def test_content_type_parameters_and_case_do_not_matter(
    http: httpx.AsyncClient, session: dict[str, str], offer: str
) -> None:
    response = await http.post(
        session["whip"], content=offer, headers={"Content-Type": "Application/SDP; charset=utf-8"}
    )
    assert response.status_code == 201


@pytest.mark.parametrize("kind", ["whip", "whep"])
@pytest.mark.parametrize("headers", [{"Content-Type": "application/json"}, {}])
async def test_another_content_type_is_415(
    http: httpx.AsyncClient, session: dict[str, str], offer: str, kind: str, headers: dict[str, str]
) -> None:
    response = await http.post(session[kind], content=offer.encode(), headers=headers)
    assert response.status_code == 415
    assert "application/sdp" in response.json()["detail"]


@pytest.mark.parametrize("kind", ["whip", "whep"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"v=0\r\n",
        b"\xff\xfe\x00",
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio\r\n",
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111\r\n",
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 999\r\n",
    ],
)
async def test_a_malformed_offer_is_400(
    http: httpx.AsyncClient, session: dict[str, str], kind: str, body: bytes
) -> None:
    response = await http.post(session[kind], content=body, headers=SDP)
    assert response.status_code == 400
    assert "SDP" in response.json()["detail"]


@pytest.mark.parametrize(
    "missing", ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=rtcp-mux", "m=", "a=rtpmap"]
)
async def test_an_offer_without_what_it_needs_is_refused_and_leaves_nothing(
    http: httpx.AsyncClient, session: dict[str, str], offer: str, missing: str
) -> None:
    cut = "".join(line for line in offer.splitlines(keepends=True) if not line.startswith(missing))
    response = await http.post(session["whip"], content=cut, headers=SDP)
    assert response.status_code == (406 if missing == "a=rtpmap" else 400)
    assert response.json()["detail"].endswith(".")
    # The microphone's place is still free.
    assert (await http.post(session["whip"], content=offer, headers=SDP)).status_code == 201


async def test_every_cut_offer_is_answered_with_a_client_error_or_an_answer(
    http: httpx.AsyncClient, session: dict[str, str], offer: str
) -> None:
    lines = offer.splitlines(keepends=True)
    for count in range(0, len(lines), 3):
        response = await http.post(session["whip"], content="".join(lines[:count]), headers=SDP)
        assert response.status_code in (201, 400, 406)
        if response.status_code == 201:
            await http.delete(response.headers["location"])


async def test_a_huge_body_is_413(http: httpx.AsyncClient, session: dict[str, str], offer: str) -> None:
    response = await http.post(session["whip"], content=offer + "a=x\r\n" * 30_000, headers=SDP)
    assert response.status_code == 413


async def test_a_second_microphone_is_409_until_the_first_has_ended(
    http: httpx.AsyncClient, session: dict[str, str], published: httpx.Response, offer: str
) -> None:
    response = await http.post(session["whip"], content=offer, headers=SDP)
    assert response.status_code == 409
    assert "microphone" in response.json()["detail"]
    assert (await http.delete(published.headers["location"])).status_code == 200
    assert (await http.post(session["whip"], content=offer, headers=SDP)).status_code == 201


async def test_too_many_viewers_are_503(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    watchers = [Watcher() for _ in range(4)]
    for watcher in watchers[:3]:
        await watcher.connect(exchange(http, session["whep"]))
    await watchers[3].pc.setLocalDescription()
    response = await http.post(session["whep"], content=watchers[3].pc.localDescription.sdp, headers=SDP)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    for watcher in watchers:
        await watcher.close()


@pytest.mark.parametrize(
    ("kind", "direction"), [("whip", "recvonly"), ("whep", "sendonly"), ("whep", "inactive")]
)
async def test_media_that_flows_the_wrong_way_is_406(
    http: httpx.AsyncClient, session: dict[str, str], offer: str, kind: str, direction: str
) -> None:
    wrong = offer.replace("a=sendonly", f"a={direction}")
    response = await http.post(session[kind], content=wrong, headers=SDP)
    assert response.status_code == 406
    assert response.json()["detail"].endswith(".")


async def test_two_tracks_of_a_kind_are_406(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    pc = RTCPeerConnection()
    pc.addTransceiver("audio", direction="sendonly")
    pc.addTransceiver("audio", direction="sendonly")
    await pc.setLocalDescription()
    response = await http.post(session["whip"], content=pc.localDescription.sdp, headers=SDP)
    assert response.status_code == 406
    await close_connection(pc)


async def test_a_microphone_without_sound_is_406(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    pc = RTCPeerConnection()
    pc.addTransceiver("video", direction="sendonly")
    await pc.setLocalDescription()
    response = await http.post(session["whip"], content=pc.localDescription.sdp, headers=SDP)
    assert response.status_code == 406
    assert "audio" in response.json()["detail"]
    await close_connection(pc)


async def test_a_camera_beside_the_microphone_is_not_taken(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    pc = RTCPeerConnection()
    pc.addTransceiver("audio", direction="sendonly")
    pc.addTransceiver("video", direction="sendonly")
    await pc.setLocalDescription()
    response = await http.post(session["whip"], content=pc.localDescription.sdp, headers=SDP)
    assert response.status_code == 201
    assert "a=inactive" in response.text.partition("m=video")[2]
    await pc.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
    await close_connection(pc)


async def test_a_viewer_that_offers_to_send_too_is_answered_sendonly(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    pc = RTCPeerConnection()
    pc.addTransceiver("audio", direction="sendrecv")
    pc.addTransceiver("video", direction="sendrecv")
    await pc.setLocalDescription()
    response = await http.post(session["whep"], content=pc.localDescription.sdp, headers=SDP)
    assert response.status_code == 201
    assert response.text.count("a=sendonly") == 2
    assert "opus" in response.text
    assert "PCMU" not in response.text
    await close_connection(pc)


@pytest.mark.parametrize("kinds", [("audio", "video"), ("video", "audio"), ("audio",), ("video",)])
async def test_the_answer_says_where_the_server_is(
    http: httpx.AsyncClient, session: dict[str, str], kinds: tuple[str, ...]
) -> None:
    pc = RTCPeerConnection()
    for kind in kinds:
        pc.addTransceiver(kind, direction="recvonly")
    await pc.setLocalDescription()
    answer = await http.post(session["whep"], content=pc.localDescription.sdp, headers=SDP)
    for section in answer.text.split("m=")[1:]:
        assert "a=candidate:" in section
        assert "a=end-of-candidates" in section
    await close_connection(pc)


async def test_a_player_may_trickle_without_the_entity_tag(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    pc = RTCPeerConnection()
    pc.addTransceiver("video", direction="recvonly")
    await pc.setLocalDescription()
    answer = await http.post(session["whep"], content=pc.localDescription.sdp, headers=SDP)
    lines = ["m=video 9 RTP/AVP 0", "a=mid:0", CANDIDATE.format(ufrag(pc.localDescription.sdp)), ""]
    address = answer.headers["location"]
    untagged = await http.patch(address, content="\r\n".join(lines), headers=FRAGMENT)
    assert untagged.status_code == 204
    stale = await http.patch(address, content="\r\n".join(lines), headers=FRAGMENT | {"If-Match": '"old"'})
    assert stale.status_code == 412
    await close_connection(pc)


async def test_trickle_follows_the_entity_tag_rules(
    http: httpx.AsyncClient, published: httpx.Response, offer: str
) -> None:
    address, etag = published.headers["location"], published.headers["etag"]
    user = ufrag(offer)
    lines = [f"a=ice-ufrag:{user}", "m=audio 9 RTP/AVP 0", "a=mid:0", CANDIDATE.format(user)]
    body = "\r\n".join([*lines, "a=end-of-candidates", ""])
    good = await http.patch(address, content=body, headers=FRAGMENT | {"If-Match": etag})
    assert (good.status_code, good.content) == (204, b"")
    assert "etag" not in good.headers
    assert (await http.patch(address, content=body, headers=FRAGMENT | {"If-Match": "*"})).status_code == 204
    missing = await http.patch(address, content=body, headers=FRAGMENT)
    assert (missing.status_code, "If-Match" in missing.json()["detail"]) == (428, True)
    stale = await http.patch(address, content=body, headers=FRAGMENT | {"If-Match": '"another"'})
    assert stale.status_code == 412
    wrong = await http.patch(
        address, content=body, headers={"If-Match": etag, "Content-Type": "application/sdp"}
    )
    assert wrong.status_code == 415


async def test_an_ice_restart_is_422_and_the_connection_stays(
    http: httpx.AsyncClient, published: httpx.Response
) -> None:
    address = published.headers["location"]
    body = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n"
    response = await http.patch(address, content=body, headers=FRAGMENT | {"If-Match": "*"})
    assert response.status_code == 422
    assert (await http.delete(address)).status_code == 200


@pytest.mark.parametrize(
    "body", [b"nonsense", b"a=candidate:1 1 udp", b"\xff", b"a=candidate:1 x udp y z 1 typ host"]
)
async def test_a_malformed_fragment_is_400(
    http: httpx.AsyncClient, published: httpx.Response, body: bytes
) -> None:
    response = await http.patch(
        published.headers["location"],
        content=body,
        headers=FRAGMENT | {"If-Match": published.headers["etag"]},
    )
    assert response.status_code == 400


@pytest.mark.parametrize(
    "line",
    [
        "a=candidate:1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
        "a=candidate:1 1 udp 2122260223 0d8a4a1e-5b1f-4a9b-8f9e-2d2f3a4b5c6d.local 61764 typ host",
    ],
)
async def test_candidates_that_cannot_be_used_are_left_out_silently(
    http: httpx.AsyncClient, published: httpx.Response, line: str
) -> None:
    response = await http.patch(
        published.headers["location"],
        content=f"a=mid:0\r\n{line}\r\n",
        headers=FRAGMENT | {"If-Match": published.headers["etag"]},
    )
    assert response.status_code == 204


async def test_a_client_that_trickles_everything_connects(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    watcher = Watcher()
    found: list[str] = []
    tags: list[str] = []

    async def without_candidates(offer: str) -> str:
        lines = offer.splitlines()
        found.extend(line for line in lines if line.startswith("a=candidate"))
        bare = [line for line in lines if not line.startswith(("a=candidate", "a=end-of-candidates"))]
        response = await http.post(session["whep"], content="\r\n".join(bare) + "\r\n", headers=SDP)
        tags.extend((response.headers["location"], response.headers["etag"]))
        return response.text

    await watcher.connect(without_candidates)
    body = "a=mid:0\r\n" + "\r\n".join(dict.fromkeys(found)) + "\r\na=end-of-candidates\r\n"
    response = await http.patch(tags[0], content=body, headers=FRAGMENT | {"If-Match": tags[1]})
    assert response.status_code == 204
    await asyncio.wait_for(watcher.pictures.recv(), 10)
    await watcher.close()


async def test_mdns_names_do_not_delay_the_connection(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    watcher = Watcher()
    post = exchange(http, session["whep"])

    async def hidden(offer: str) -> str:
        hosts = {line.split()[4] for line in offer.splitlines() if line.startswith("a=candidate")}
        for host in hosts:
            offer = offer.replace(f" {host} ", " 0d8a4a1e-5b1f-4a9b-8f9e-2d2f3a4b5c6d.local ")
        return await post(offer)

    began = asyncio.get_running_loop().time()
    await watcher.connect(hidden)
    # Resolving would take a second for each name before the answer.
    assert asyncio.get_running_loop().time() - began < 1
    await asyncio.wait_for(watcher.pictures.recv(), 10)
    await watcher.close()


@pytest.mark.parametrize("kind", ["whip", "whep"])
async def test_endpoints_and_connections_answer_the_other_methods(
    http: httpx.AsyncClient, session: dict[str, str], published: httpx.Response, kind: str
) -> None:
    endpoint = session[kind]
    options = await http.options(endpoint)
    assert options.status_code == 200
    assert options.headers["accept-post"] == "application/sdp"
    for address in (endpoint, published.headers["location"]):
        for method in ("GET", "HEAD"):
            response = await http.request(method, address)
            assert (response.status_code, response.content) == (204, b"")
        assert (await http.put(address)).status_code == 405
    patch = await http.options(published.headers["location"])
    assert patch.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
    assert (await http.post(published.headers["location"])).status_code == 405


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "OPTIONS"])
async def test_an_unknown_connection_is_404(
    http: httpx.AsyncClient, session: dict[str, str], published: httpx.Response, method: str
) -> None:
    known = published.headers["location"].rsplit("/", 1)[1]
    for path in (f"{session['whip']}/none", f"{session['whep']}/{known}", "/v1/sessions/none/whip/none"):
        response = await http.request(method, path, headers=FRAGMENT)
        assert response.status_code == 404


async def test_a_connection_deleted_twice_is_404(http: httpx.AsyncClient, published: httpx.Response) -> None:
    address = published.headers["location"]
    assert (await http.delete(address, headers={"If-Match": '"ignored"'})).status_code == 200
    assert (await http.delete(address)).status_code == 404


async def test_ice_servers_are_told_in_link_headers(avatars: Path, offer: str) -> None:
    # The address is this machine's own, where nobody answers at once: gathering must not wait for it here.
    servers = (
        IceServer(url="turn:127.0.0.1:9?transport=udp", username='a "user"', credential="pass"),
        IceServer(url="turns:127.0.0.1:9?transport=tcp"),
    )
    app = create_app(Settings(ice_servers=servers), EngineCast(lambda folder: FakeMouth(), "fake"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http,
    ):
        whip = (await http.post("/v1/sessions")).json()["whip"]
        links = (await http.options(whip)).headers.get_list("link")
    assert links == [
        '<turn:127.0.0.1:9?transport=udp>; rel="ice-server"; username="a \\"user\\""; credential="pass"; '
        'credential-type="password"',
        '<turns:127.0.0.1:9?transport=tcp>; rel="ice-server"',
    ]


async def test_a_client_that_never_connects_is_dropped(avatars: Path, offer: str) -> None:
    app = create_app(Settings(connect_timeout_s=0.3), EngineCast(lambda folder: FakeMouth(), "fake"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http,
    ):
        whip = (await http.post("/v1/sessions")).json()["whip"]
        address = (await http.post(whip, content=offer, headers=SDP)).headers["location"]

        async def reached() -> bool:
            return (await http.get(address)).status_code != 204

        await eventually(reached)
        assert (await http.post(whip, content=offer, headers=SDP)).status_code == 201


async def test_a_microphone_that_hangs_up_frees_its_place(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    address = f"/v1/sessions/{session['id']}"
    sender = await publish(ClipTrack(speech_like(1.0)), exchange(http, session["whip"]))

    async def reached() -> bool:
        return bool((await http.get(address)).json()["mic"])

    await eventually(reached)
    await close_connection(sender)

    async def free() -> bool:
        return bool((await http.get(address)).json()["state"] == "waiting")

    await eventually(free)


async def test_a_microphone_that_vanished_gives_way_to_a_new_one(
    http: httpx.AsyncClient,
    session: dict[str, str],
    published: httpx.Response,
    offer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.webrtc.microphone.SILENT_S", -60)
    response = await http.post(session["whip"], content=offer, headers=SDP)
    assert response.status_code == 201
    assert (await http.get(published.headers["location"])).status_code == 404
    assert (await http.get(response.headers["location"])).status_code == 204

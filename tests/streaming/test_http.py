"""The HTTP contract: statuses, fields, and one sentence for everything that is refused."""

import asyncio
from pathlib import Path

import httpx
import pytest

from streaming.cast import EngineCast
from streaming.server import create_app
from streaming.settings import Settings
from tests.fakes import FRAME_SIZE, FakeMouth
from tests.streaming.conftest import eventually


def sentence(response: httpx.Response) -> str:
    """The detail of an error, which must be one sentence and nothing else."""
    body = response.json()
    assert set(body) == {"detail"}
    text: str = body["detail"]
    assert text.endswith(".")
    assert "\n" not in text
    assert "Traceback" not in text
    return text


async def test_health_and_metrics(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    response = await http.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    await asyncio.sleep(0.2)
    text = (await http.get("/metrics")).text
    assert "koubo_sessions 1.0" in text
    ticks = next(line for line in text.splitlines() if line.startswith("koubo_ticks_total"))
    assert float(ticks.split()[1]) >= 1
    assert session["id"] not in text


async def test_avatars_have_titles_and_pictures(http: httpx.AsyncClient) -> None:
    found = {avatar["name"]: avatar for avatar in (await http.get("/v1/avatars")).json()}
    assert {"fake", "other"} <= set(found)
    fake = found["fake"]
    assert fake["title"] == {"en": "Fake", "zh": "假人"}
    assert tuple(fake["size"]) == FRAME_SIZE
    picture = await http.get(fake["preview"])
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content.startswith(b"\xff\xd8\xff")


async def test_voices_include_english_and_mandarin(http: httpx.AsyncClient) -> None:
    voices = {voice["id"]: voice for voice in (await http.get("/v1/voices")).json()}
    assert {"espeak:en-us", "espeak:en-gb", "espeak:cmn"} <= set(voices)
    assert voices["espeak:cmn"]["language"] == "cmn-CN"
    assert set(voices["espeak:en-us"]) == {"id", "name", "language"}


async def test_a_session_lives_from_post_to_delete(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/sessions", json={"avatar": "other"})
    assert response.status_code == 201
    opened = response.json()
    address = f"/v1/sessions/{opened['id']}"
    assert response.headers["Location"] == address
    assert opened == {"id": opened["id"], "whip": f"{address}/whip", "whep": f"{address}/whep"}
    await asyncio.sleep(0.3)
    status = (await http.get(address)).json()
    assert status["avatar"] == "other"
    assert status["state"] == "waiting"
    assert status["ticks"] > 0
    assert (status["mic"], status["viewers"], status["speaking"], status["backlog_ms"]) == (
        False,
        0,
        False,
        0,
    )
    assert set(status["tick_lateness_ms"]) == {"p50", "p95", "p99"}
    assert status["mouth"] == {"runtime": "fake", "precision": "u8", "ms_per_frame": 0}
    assert 0 <= status["late_ticks_ratio"] <= 1
    assert (await http.delete(address)).status_code == 204
    gone = await http.delete(address)
    assert gone.status_code == 404
    assert "no such session" in sentence(gone)


async def test_a_session_without_a_body_takes_the_default_avatar(http: httpx.AsyncClient) -> None:
    for body in ({}, {"avatar": None}):
        opened = (await http.post("/v1/sessions", json=body)).json()
        assert (await http.get(f"/v1/sessions/{opened['id']}")).json()["avatar"] == "fake"


@pytest.mark.parametrize("name", ["nobody", "../fake", "/etc", "fake/", ""])
async def test_an_unknown_avatar_is_404(http: httpx.AsyncClient, name: str) -> None:
    response = await http.post("/v1/sessions", json={"avatar": name})
    if name:
        assert response.status_code == 404
        assert "fake" in sentence(response)
    else:
        assert response.status_code == 201


async def test_a_path_on_disk_is_no_avatar(http: httpx.AsyncClient, avatars: Path) -> None:
    response = await http.post("/v1/sessions", json={"avatar": str(avatars / "fake")})
    assert response.status_code == 404


async def test_an_unknown_preview_is_404(http: httpx.AsyncClient) -> None:
    response = await http.get("/v1/avatars/nobody/preview.jpg")
    assert response.status_code == 404
    sentence(response)


async def test_a_damaged_avatar_is_a_sentence_and_no_session(http: httpx.AsyncClient, avatars: Path) -> None:
    (avatars / "other" / "anchor.mp4").write_bytes(b"not a video")
    response = await http.post("/v1/sessions", json={"avatar": "other"})
    assert response.status_code == 500
    assert "other" in sentence(response)
    assert "koubo_sessions 0.0" in (await http.get("/metrics")).text


async def test_too_many_sessions_are_503_with_a_time_to_wait(http: httpx.AsyncClient) -> None:
    for _ in range(3):
        assert (await http.post("/v1/sessions")).status_code == 201
    response = await http.post("/v1/sessions")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    sentence(response)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"text": ""}, "nothing to say"),
        ({"text": " \n!?"}, "nothing to say"),
        ({"text": "x" * 201}, "200"),
        ({"text": "hello", "voice": "klingon-x"}, "klingon-x"),
        ({"text": 5}, "text"),
        ({}, "text"),
        ([], "body"),
    ],
)
async def test_text_that_cannot_be_spoken_is_422(
    http: httpx.AsyncClient, session: dict[str, str], body: object, word: str
) -> None:
    response = await http.post(f"/v1/sessions/{session['id']}/speak", json=body)
    assert response.status_code == 422
    assert word in sentence(response)


async def test_a_body_that_is_no_json_is_422(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    response = await http.post(
        f"/v1/sessions/{session['id']}/speak", content="{", headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert "JSON" in sentence(response)


async def test_mandarin_text_gets_a_mandarin_voice(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    response = await http.post(f"/v1/sessions/{session['id']}/speak", json={"text": "大家好，这是 Koubo。"})
    assert response.json() == {"voice": "espeak:cmn"}

    async def reached() -> bool:
        return bool((await http.get(f"/v1/sessions/{session['id']}")).json()["speaking"])

    await eventually(reached)


async def test_too_many_texts_are_429(http: httpx.AsyncClient, session: dict[str, str]) -> None:
    # About 100 s of speech each: the first waits for the mouth, two more wait for it, the next is refused.
    codes = []
    for _ in range(5):
        response = await http.post(
            f"/v1/sessions/{session['id']}/speak", json={"text": "one two three. " * 13}
        )
        codes.append(response.status_code)
        await asyncio.sleep(0.1)
    assert codes == [202, 202, 202, 429, 429]
    sentence(response)
    assert (await http.post(f"/v1/sessions/{session['id']}/interrupt")).json()["dropped_ms"] > 5000
    assert (await http.post(f"/v1/sessions/{session['id']}/speak", json={"text": "again"})).status_code == 202


async def test_unknown_addresses_and_methods_are_sentences(http: httpx.AsyncClient) -> None:
    for method, path, code in (
        ("GET", "/nowhere", 404),
        ("GET", "/static/nowhere.js", 404),
        ("PUT", "/v1/sessions", 405),
        ("GET", "/v1/sessions/none", 404),
        ("POST", "/v1/sessions/none/speak", 404),
        ("POST", "/v1/sessions/none/interrupt", 404),
        ("POST", "/v1/sessions/none/whip", 404),
    ):
        response = await http.request(method, path, json={"text": "x"} if method == "POST" else None)
        assert response.status_code == code, path
        sentence(response)


async def test_pages_are_served(http: httpx.AsyncClient) -> None:
    for path in ("/", "/player?session=x"):
        page = await http.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
    script = await http.get("/static/whip.js")
    assert script.status_code == 200
    assert "javascript" in script.headers["content-type"]
    assert script.headers["cache-control"] == "no-cache"


async def test_an_abandoned_session_closes_itself(avatars: Path) -> None:
    app = create_app(Settings(idle_close_s=0.3), EngineCast(lambda folder: FakeMouth(), "fake"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http,
    ):
        address = (await http.post("/v1/sessions")).headers["Location"]

        async def reached() -> bool:
            return (await http.get(address)).status_code != 200

        await eventually(reached)


async def test_a_foreign_origin_is_let_in_only_where_it_is_allowed(avatars: Path) -> None:
    preflight = {"Origin": "https://studio.example", "Access-Control-Request-Method": "POST"}
    for origins, allowed in (((), None), (("https://studio.example",), "https://studio.example")):
        app = create_app(Settings(allowed_origins=origins), EngineCast(lambda folder: FakeMouth(), "fake"))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http,
        ):
            whip = (await http.post("/v1/sessions")).json()["whip"]
            response = await http.options(whip, headers=preflight)
            assert response.status_code == 200
            assert response.headers.get("access-control-allow-origin") == allowed


async def test_a_server_without_its_default_avatar_runs_and_says_what_is_missing(
    avatars: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings(), EngineCast(lambda folder: FakeMouth(), "nobody"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http,
    ):
        await eventually(lambda: "'nobody'" in caplog.text)
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.post("/v1/sessions")).status_code == 404
        assert (await http.post("/v1/sessions", json={"avatar": "fake"})).status_code == 201

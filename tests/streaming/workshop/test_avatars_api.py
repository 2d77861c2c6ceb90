"""/v1/avatars and its jobs over HTTP: presenters made, taken in, given out, removed; and what is refused."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from streaming import server
from streaming.cast import EngineCast
from streaming.server import create_app
from streaming.settings import Settings
from streaming.upload import Allowance
from streaming.workshop import Workshop
from tests.fakes import FakeMouth, make_avatar
from tests.streaming.conftest import eventually, no_task_is_left
from tests.streaming.test_http import sentence
from tests.streaming.workshop.jobs import MAKER, left_in

JOBS = "/v1/avatars/jobs"
VIDEO = {"Content-Type": "video/mp4"}
ZIP = {"Content-Type": "application/zip"}
CONSENT = {"by": "Lin", "statement": "I agree.", "accepted": True}
WANTED: dict[str, Any] = {"title": {"en": "Lin", "zh": "琳"}, "consent": CONSENT}
OPERATE, WATCH = "operate-0123456789", "watch-0123456789ab"

MakeApp = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def make_app(own: Path, avatar_folder: Path) -> AsyncIterator[MakeApp]:
    """Runs apps with one own avatar, "fake", whose workers only act."""
    make_avatar(own, "fake")
    before = asyncio.all_tasks()
    running: list[Any] = []

    async def make(command: tuple[str, ...] = (), **settings: Any) -> httpx.AsyncClient:
        chosen = Settings(default_avatar="fake", uploads_min_free_mb=0, **settings)
        workshop = Workshop(chosen, command=command or (sys.executable, str(MAKER), str(avatar_folder)))
        app = create_app(chosen, EngineCast(lambda folder: FakeMouth(), "fake"), workshop=workshop)
        life = app.router.lifespan_context(app)
        await life.__aenter__()
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test")
        running.append((life, client))
        return client

    yield make
    for life, client in running:
        await client.aclose()
        await life.__aexit__(None, None, None)
    await no_task_is_left(before)
    assert left_in(own) == []


@pytest.fixture
async def http(make_app: MakeApp) -> httpx.AsyncClient:
    return await make_app()


def state(http: httpx.AsyncClient) -> Any:
    """What the app behind a client holds."""
    transport: Any = http._transport
    return transport.app.state


async def open_job(http: httpx.AsyncClient, **other: object) -> dict[str, Any]:
    response = await http.post(JOBS, json={**WANTED, **other})
    assert response.status_code == 201, response.text
    job: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"{JOBS}/{job['id']}"
    return job


async def send(http: httpx.AsyncClient, job: dict[str, Any], play: str = "good") -> httpx.Response:
    return await http.put(job["video"], content=play.encode(), headers=VIDEO)


async def ended(http: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}

    async def over() -> bool:
        nonlocal shown
        shown = (await http.get(f"{JOBS}/{job['id']}")).json()
        return shown["state"] in ("done", "failed")

    await eventually(over, 60)
    return shown


async def test_from_a_video_to_a_session(http: httpx.AsyncClient, own: Path) -> None:
    job = await open_job(http, bytes=4)
    assert (job["state"], job["name"], job["avatar"], job["preview"]) == ("waiting", "lin", None, None)
    assert job["max_bytes"] == 500 << 20
    response = await send(http, job)
    assert response.status_code == 202
    shown = await ended(http, job)
    assert (shown["state"], shown["error"], shown["avatar"]) == ("done", None, "lin")
    assert [remark["code"] for remark in shown["findings"]] == ["no-sound"]
    assert (await http.get(shown["preview"])).content.startswith(b"\xff\xd8\xff")
    assert (await http.get(shown["sheet"])).content == b"\xff\xd8\xff sheet"
    assert [one["id"] for one in (await http.get(JOBS)).json()] == [job["id"]]
    found = {avatar["name"]: avatar for avatar in (await http.get("/v1/avatars")).json()}
    assert found["lin"]["own"] is True
    assert found["ada"]["own"] is False
    opened = await http.post("/v1/sessions", json={"avatar": "lin"})
    assert opened.status_code == 201


async def test_a_name_of_any_script_has_an_address(http: httpx.AsyncClient) -> None:
    job = await open_job(http, title={"en": "小美"})
    assert (job["name"], job["title"]) == ("小美", {"en": "小美", "zh": "小美"})
    await send(http, job)
    shown = await ended(http, job)
    assert shown["preview"] == "/v1/avatars/%E5%B0%8F%E7%BE%8E/preview.jpg"
    assert (await http.get(shown["preview"])).status_code == 200
    assert (await http.delete("/v1/avatars/小美")).status_code == 204


async def test_unfit_footage_is_explained(http: httpx.AsyncClient) -> None:
    job = await open_job(http)
    await send(http, job, "unfit")
    shown = await ended(http, job)
    assert (shown["state"], shown["error"], shown["avatar"]) == ("failed", "The face is too small.", None)
    assert shown["findings"][0] == {
        "code": "face-small",
        "severity": "problem",
        "sentence": "The face is 40 pixels wide; come closer to the camera.",
        "values": {"width": 40},
        "at_s": 1.5,
    }
    picture = await http.get(shown["preview"])
    assert picture.content == b"\xff\xd8\xff picture"


@pytest.mark.parametrize(
    "wanted",
    [
        {"title": {"en": "Lin"}},
        {**WANTED, "consent": {**CONSENT, "accepted": False}},
        {**WANTED, "consent": {**CONSENT, "by": "  "}},
        {**WANTED, "consent": {**CONSENT, "statement": ""}},
        {**WANTED, "consent": {**CONSENT, "shown": "somebody"}},
        {**WANTED, "title": {"en": ""}},
        {**WANTED, "title": {"en": "a\nb"}},
        {**WANTED, "title": {"en": "x" * 61}},
        {**WANTED, "name": "../../etc"},
        {**WANTED, "name": "jobs"},
        {**WANTED, "name": "x" * 101},
        {**WANTED, "bytes": -1},
    ],
)
async def test_what_is_not_wholly_said_is_refused(http: httpx.AsyncClient, wanted: object) -> None:
    response = await http.post(JOBS, json=wanted)
    assert response.status_code == 422
    sentence(response)
    assert (await http.get(JOBS)).json() == []


async def test_a_video_of_another_type_is_415(http: httpx.AsyncClient) -> None:
    job = await open_job(http)
    for kind in ("text/html", "multipart/form-data; boundary=x", ""):
        response = await http.put(job["video"], content=b"good", headers={"Content-Type": kind})
        assert response.status_code == 415
        assert "video/*" in sentence(response)
    assert (await send(http, job)).status_code == 202
    assert sentence(await send(http, job)).startswith("This job has its video already")
    await ended(http, job)


async def test_only_uploads_may_be_long_and_not_endless(make_app: MakeApp) -> None:
    http = await make_app(upload_max_mb=1, max_body_bytes=1024)
    job = await open_job(http)
    for path in (JOBS, f"{JOBS}/{job['id']}", "/v1/sessions", "/v1/avatars/x"):
        response = await http.post(path, content=b"x" * 2000, headers=VIDEO)
        assert response.status_code == 413, path
    response = await http.put(job["video"], content=b"x" * 2_000_000, headers=VIDEO)
    assert response.status_code == 413
    assert sentence(response) == "The file is larger than 1 MB; send a shorter or smaller one."
    response = await http.post("/v1/avatars/import", content=b"x" * 2_000_000, headers=ZIP)
    assert response.status_code == 413
    response = await http.post(JOBS, json={**WANTED, "name": "big", "bytes": 2_000_000})
    assert response.status_code == 413
    response = await http.put(job["video"], content=b"good" + b" " * 900_000, headers=VIDEO)
    assert response.status_code == 202
    await ended(http, job)


async def test_a_video_is_never_whole_in_memory(make_app: MakeApp) -> None:
    http = await make_app(upload_max_mb=64)
    job = await open_job(http)
    most = 0

    async def film() -> AsyncIterator[bytes]:
        nonlocal most
        yield b"good "
        for sent in range(1, 40):
            yield b" " * (1 << 20)
            shown = (await http.get(f"{JOBS}/{job['id']}")).json()
            assert shown["state"] == "uploading"
            most = max(most, (sent << 20) - shown["done"])

    response = await http.put(job["video"], content=film(), headers=VIDEO)
    assert response.status_code == 202
    assert most <= 4 << 20
    await ended(http, job)


async def test_who_may_not_operate_sends_nothing(
    make_app: MakeApp,
) -> None:
    http = await make_app(operate_tokens=(OPERATE,), watch_tokens=(WATCH,))
    operator = {"Authorization": f"Bearer {OPERATE}"}
    job = (await http.post(JOBS, json=WANTED, headers=operator)).json()
    read = 0

    async def film() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"good"

    for token, status in ((None, 401), ("unknown-0123456789", 401), (WATCH, 403)):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        for method, path in (
            ("POST", JOBS),
            ("GET", JOBS),
            ("GET", f"{JOBS}/{job['id']}"),
            ("PUT", job["video"]),
            ("DELETE", f"{JOBS}/{job['id']}"),
            ("POST", "/v1/avatars/import"),
            ("GET", "/v1/avatars/fake/export.zip"),
            ("GET", "/v1/avatars/fake/sheet.jpg"),
            ("DELETE", "/v1/avatars/fake"),
        ):
            content = film() if method == "PUT" else None
            response = await http.request(method, path, headers={**headers, **VIDEO}, content=content)
            assert response.status_code == status, (method, path)
    assert read == 0
    assert (await http.put(job["video"], content=b"good", headers={**operator, **VIDEO})).status_code == 202


async def test_a_full_queue_is_503_with_a_time_to_wait(make_app: MakeApp) -> None:
    http = await make_app(makers_waiting=0)
    job = await open_job(http)
    response = await http.post(JOBS, json={**WANTED, "name": "other"})
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert sentence(response)
    assert (await http.delete(f"{JOBS}/{job['id']}")).status_code == 204
    assert (await http.get(f"{JOBS}/{job['id']}")).status_code == 404
    await open_job(http, name="other")


async def test_a_full_disk_is_507(make_app: MakeApp, own: Path) -> None:
    http = await make_app()
    state(http).workshop.allowance = Allowance(500, 1 << 30)
    response = await http.post(JOBS, json=WANTED)
    assert response.status_code == 507
    assert "make room there" in sentence(response)
    response = await http.post("/v1/avatars/import", content=b"zip", headers=ZIP)
    assert response.status_code == 507


async def test_a_server_about_to_stop_begins_nothing(http: httpx.AsyncClient) -> None:
    state(http).stage.drain.begin()
    assert (await http.post(JOBS, json=WANTED)).status_code == 503


@pytest.mark.parametrize("name", ["nobody", "..%2F..%2Fetc", "..", "%00", ".workroom-x", "mouths", "jobs"])
async def test_hostile_names_lead_nowhere(http: httpx.AsyncClient, own: Path, name: str) -> None:
    for method, rest in (
        ("DELETE", ""),
        ("GET", "/export.zip"),
        ("GET", "/sheet.jpg"),
        ("GET", "/preview.jpg"),
    ):
        response = await http.request(method, f"/v1/avatars/{name}{rest}")
        assert response.status_code in (400, 404, 405), (method, rest)
        sentence(response)
    assert (own / "fake" / "avatar.json").is_file()


async def test_own_avatars_are_removed_others_are_not(http: httpx.AsyncClient, own: Path) -> None:
    opened = (await http.post("/v1/sessions", json={"avatar": "fake"})).json()
    response = await http.delete("/v1/avatars/fake")
    assert (response.status_code, sentence(response)) == (409, "fake is on stage; end that session first.")
    await http.delete(f"/v1/sessions/{opened['id']}")
    assert (await http.delete("/v1/avatars/fake")).status_code == 204
    assert not (own / "fake").exists()
    assert (await http.post("/v1/sessions", json={"avatar": "fake"})).status_code == 404
    response = await http.delete("/v1/avatars/ada")
    assert response.status_code == 409
    assert "comes with Koubo" in sentence(response)


async def test_an_avatar_travels_as_a_zip(make_app: MakeApp, own: Path) -> None:
    http = await make_app((sys.executable, "-m", "streaming.workshop_worker"))
    before = (await http.get("/v1/avatars/fake/preview.jpg")).content
    exported = await http.get("/v1/avatars/fake/export.zip")
    assert exported.status_code == 200
    assert exported.headers["content-type"] == "application/zip"
    assert 'filename="fake.zip"' in exported.headers["content-disposition"]
    response = await http.post("/v1/avatars/import", content=exported.content, headers=ZIP)
    assert response.status_code == 409
    assert (await http.delete("/v1/avatars/fake")).status_code == 204
    response = await http.post("/v1/avatars/import", content=exported.content, headers=ZIP)
    assert response.status_code == 201, response.text
    assert response.headers["Location"] == "/v1/avatars/fake"
    assert (response.json()["name"], response.json()["own"]) == ("fake", True)
    assert (await http.get("/v1/avatars/fake/preview.jpg")).content == before


async def test_what_is_no_exported_avatar_is_422_and_leaves_nothing(make_app: MakeApp, own: Path) -> None:
    http = await make_app((sys.executable, "-m", "streaming.workshop_worker"))
    response = await http.post("/v1/avatars/import", content=b"PK not a zip", headers=ZIP)
    assert response.status_code == 422
    sentence(response)
    response = await http.post("/v1/avatars/import", content=b"", headers=ZIP)
    assert response.status_code == 422
    response = await http.post("/v1/avatars/import", content=b"x", headers={"Content-Type": "text/plain"})
    assert response.status_code == 415
    assert [one["name"] for one in (await http.get("/v1/avatars")).json() if one["own"]] == ["fake"]


async def test_the_sheet_of_any_avatar_is_drawn_once(make_app: MakeApp, own: Path, tmp_path: Path) -> None:
    script = tmp_path / "painter.py"
    script.write_text(
        "import json, sys\n"
        "order = json.loads(sys.stdin.readline())\n"
        "assert order['do'] == 'sheet' and order['avatar'].endswith('/fake'), order\n"
        "open(order['sheet'], 'wb').write(b'jpeg')\n"
        f"open({str(tmp_path / 'count')!r}, 'a').write('x')\n"
        "print(json.dumps({'finished': True}))\n"
    )
    http = await make_app((sys.executable, str(script)))
    answers = await asyncio.gather(*(http.get("/v1/avatars/fake/sheet.jpg") for _ in range(3)))
    assert [answer.content for answer in answers] == [b"jpeg"] * 3
    assert (tmp_path / "count").read_text() == "x"


def test_long_bodies_are_declared_by_two_routes_alone() -> None:
    long = {
        route.path
        for module in server._MODULES
        for route in module.router.routes
        if hasattr(getattr(route, "endpoint", None), "__koubo_long_body__")
    }
    assert long == {"/v1/avatars/jobs/{job_id}/video", "/v1/avatars/import"}

"""Whether a server is ready: while the default presenter loads, after a fault, and once it is mended."""

import asyncio
from functools import partial
from pathlib import Path

import httpx
import pytest

from engine.errors import AvatarError
from streaming.cast import AvatarInfo, EngineCast, Part, Role
from streaming.readiness import Readiness
from streaming.server import create_app
from streaming.settings import Settings
from tests.fakes import FakeMouth, make_avatar
from tests.streaming.conftest import eventually


class FakeCast:
    """Fails with each of these faults in turn, then is warm."""

    def __init__(self, *faults: str) -> None:
        self.faults = list(faults)
        self.tried = 0
        self.filled = False

    async def warm_up(self) -> None:
        self.tried += 1
        await asyncio.sleep(0)
        if self.faults:
            raise AvatarError(self.faults.pop(0))

    async def fill(self) -> None:
        self.filled = True

    def list(self) -> list[AvatarInfo]:
        raise NotImplementedError

    def preview(self, name: str) -> bytes:
        raise NotImplementedError

    async def enter(self, name: str | None) -> Part:
        raise NotImplementedError

    async def role(self, name: str, canvas: tuple[int, int]) -> Role:
        raise NotImplementedError


async def test_it_is_ready_once_the_presenter_is_loaded() -> None:
    readiness = Readiness(FakeCast())
    assert readiness.obstacle == "The default presenter is still being loaded."
    await readiness.run()
    assert readiness.obstacle is None


async def test_a_fault_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    cast = FakeCast("There is no mouth.", "There is no mouth.", "The mouth is damaged.")
    readiness = Readiness(cast, retry_s=0.01)
    seen = set()
    running = asyncio.create_task(readiness.run())
    while not running.done():
        seen.add(readiness.obstacle)
        await asyncio.sleep(0.001)
    assert {"There is no mouth.", "The mouth is damaged."} <= seen
    assert readiness.obstacle is None
    assert cast.tried == 4
    assert [record.levelname for record in caplog.records].count("WARNING") == 2


async def test_it_stops_trying_when_the_server_ends() -> None:
    readiness = Readiness(FakeCast(*["There is no mouth."] * 1000))
    running = asyncio.create_task(readiness.run())
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert readiness.obstacle == "There is no mouth."


async def test_readyz_tells_what_stands_in_the_way_until_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.server.Readiness", partial(Readiness, retry_s=0.05))
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path))
    cast = EngineCast(lambda folder: FakeMouth(), "late")
    app = create_app(Settings(default_avatar="late"), cast)

    transport = httpx.ASGITransport(app)

    async def is_missing() -> bool:
        response = await http.get("/readyz")
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        return "no avatar 'late'" in response.json()["detail"]

    async def is_ready() -> bool:
        return (await http.get("/readyz")).status_code == 200

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://koubo.test") as http,
    ):
        await eventually(is_missing)
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        make_avatar(tmp_path, "late")
        await eventually(is_ready)
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        assert (await http.post("/v1/sessions")).status_code == 201

"""The web pages, health and metrics."""

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

from streaming.api.deps import TheStage
from streaming.auth import Role, needs
from streaming.errors import Busy

WEB_CLIENT = Path(__file__).resolve().parents[2] / "web_client"
_FRESH = {"Cache-Control": "no-cache"}

router = APIRouter()


class _FreshFiles(StaticFiles):
    """Static files that browsers ask about each time, so that an updated server is an updated page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_FRESH)
        return response


@router.get("/healthz")
@needs(Role.ANYONE)
async def health() -> dict[str, str]:
    """The server is alive; whether it should get new sessions is told by /readyz."""
    return {"status": "ok"}


@router.get("/readyz")
@needs(Role.ANYONE)
async def ready(stage: TheStage, request: Request) -> dict[str, str]:
    """New sessions may come: the default presenter is loaded, and the server does not stop. Else 503."""
    stage.drain.admit()
    obstacle = request.app.state.readiness.obstacle
    if obstacle is not None:
        raise Busy(obstacle, {"Retry-After": "5"})
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
@needs(Role.WATCH)
async def metrics(stage: TheStage) -> Response:
    """Figures for Prometheus."""
    return Response(stage.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/", response_class=FileResponse, include_in_schema=False)
@needs(Role.ANYONE)
async def console() -> FileResponse:
    """The console page."""
    return FileResponse(WEB_CLIENT / "index.html", headers=_FRESH)


@router.get("/player", response_class=FileResponse, include_in_schema=False)
@needs(Role.ANYONE)
async def player() -> FileResponse:
    """The bare player page."""
    return FileResponse(WEB_CLIENT / "player.html", headers=_FRESH)


def add_static_files(app: FastAPI) -> None:
    """Serve the files of the pages below /static."""
    app.mount("/static", _FreshFiles(directory=WEB_CLIENT), name="static")

"""/v1/avatars: who can be on stage, taken in, given out and removed. /v1/voices: who can speak."""

import asyncio
import secrets

from fastapi import APIRouter, Request, Response, status
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.background import BackgroundTask

from engine.anchor.archive import export_avatar
from engine.anchor.package import delete, find_avatar, is_own, list_avatars
from engine.errors import AvatarError
from streaming.api.deps import TheStage, TheTable, TheWorkshop, avatar_address
from streaming.auth import Role, needs
from streaming.cast import AvatarInfo
from streaming.errors import Conflict, NotFound
from streaming.limits import long_body
from streaming.upload import check_upload, save

_ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/octet-stream")

router = APIRouter(prefix="/v1", tags=["catalogue"])


class AvatarOut(BaseModel):
    """An avatar; `size` is [width, height], `preview` the address of a JPEG, `sheet` of one of many poses.

    `own`: it did not come with Koubo, and may be deleted.
    """

    name: str
    title: dict[str, str]
    size: tuple[int, int]
    preview: str
    sheet: str
    own: bool


class VoiceOut(BaseModel):
    """A voice; `language` is a BCP 47 tag."""

    id: str
    name: str
    language: str


def _out(avatar: AvatarInfo) -> AvatarOut:
    address = avatar_address(avatar.name)
    return AvatarOut(
        name=avatar.name,
        title=avatar.title,
        size=avatar.size,
        preview=f"{address}/preview.jpg",
        sheet=f"{address}/sheet.jpg",
        own=is_own(find_avatar(avatar.name)),
    )


@router.get("/avatars")
@needs(Role.WATCH)
async def avatars(stage: TheStage) -> list[AvatarOut]:
    """Every avatar, shipped ones first."""
    return await asyncio.to_thread(lambda: [_out(avatar) for avatar in stage.cast.list()])


@router.post("/avatars/import", status_code=status.HTTP_201_CREATED)
@needs(Role.OPERATE)
@long_body
async def take_in(stage: TheStage, workshop: TheWorkshop, request: Request, response: Response) -> AvatarOut:
    """Take in an avatar that was exported, the zip as the body; without a consent it is refused."""
    check_upload(request, *_ZIP_TYPES)
    archive = workshop.room.folder() / f"{secrets.token_hex(8)}.zip"
    try:
        await save(request, archive, workshop.allowance)
        name = await workshop.unpack(archive)
    finally:
        archive.unlink(missing_ok=True)
    response.headers["Location"] = avatar_address(name)
    found = await asyncio.to_thread(stage.cast.list)
    return next(_out(avatar) for avatar in found if avatar.name == name)


@router.get("/avatars/{name}/preview.jpg", response_class=Response)
@needs(Role.WATCH)
async def preview(name: str, stage: TheStage) -> Response:
    """A picture of an avatar."""
    jpeg = await asyncio.to_thread(stage.cast.preview, name)
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "max-age=300"})


@router.get("/avatars/{name}/sheet.jpg", response_class=FileResponse)
@needs(Role.OPERATE)
async def sheet(name: str, workshop: TheWorkshop) -> FileResponse:
    """Many pictures of an avatar, at rest and speaking, side by side."""
    return FileResponse(await workshop.sheet(name), media_type="image/jpeg")


@router.get("/avatars/{name}/export.zip", response_class=FileResponse)
@needs(Role.OPERATE)
async def export(name: str, workshop: TheWorkshop) -> FileResponse:
    """The whole avatar as a zip that another Koubo can import."""
    _own(name)
    archive = workshop.room.folder() / f"{secrets.token_hex(8)}.zip"
    try:
        await asyncio.to_thread(export_avatar, find_avatar(name), archive)
    except AvatarError as error:
        raise Conflict(str(error)) from error
    return FileResponse(
        archive,
        media_type="application/zip",
        filename=f"{name}.zip",
        background=BackgroundTask(archive.unlink, missing_ok=True),
    )


@router.delete("/avatars/{name}", status_code=status.HTTP_204_NO_CONTENT)
@needs(Role.OPERATE)
async def remove(name: str, table: TheTable) -> None:
    """Remove one of the server's own avatars for good; none that is on stage, and none that is shipped."""
    _own(name)
    if name in table.on_stage:
        raise Conflict(f"{name} is on stage; end that session first.")
    try:
        await asyncio.to_thread(delete, name)
    except AvatarError as error:
        raise Conflict(str(error)) from error


def _own(name: str) -> None:
    """Raise NotFound unless there is such an avatar: a path from the network is never followed."""
    if name not in list_avatars():
        raise NotFound(f"There is no avatar {name!r}.")


@router.get("/voices")
@needs(Role.WATCH)
async def voices(stage: TheStage) -> list[VoiceOut]:
    """Every voice, the most usual first."""
    found = await asyncio.to_thread(stage.voice.voices)
    return [VoiceOut(id=v.id, name=v.name, language=v.language) for v in found]

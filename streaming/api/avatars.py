"""/v1/avatars: who can be on stage. /v1/voices: who can speak."""

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel

from streaming.api.deps import TheStage
from streaming.auth import Role, needs

router = APIRouter(prefix="/v1", tags=["catalogue"])


class AvatarOut(BaseModel):
    """An avatar; `size` is [width, height], `preview` the address of a JPEG."""

    name: str
    title: dict[str, str]
    size: tuple[int, int]
    preview: str


class VoiceOut(BaseModel):
    """A voice; `language` is a BCP 47 tag."""

    id: str
    name: str
    language: str


@router.get("/avatars")
@needs(Role.WATCH)
async def avatars(stage: TheStage) -> list[AvatarOut]:
    """Every avatar, shipped ones first."""
    found = await asyncio.to_thread(stage.cast.list)
    return [
        AvatarOut(name=a.name, title=a.title, size=a.size, preview=f"/v1/avatars/{a.name}/preview.jpg")
        for a in found
    ]


@router.get("/avatars/{name}/preview.jpg", response_class=Response)
@needs(Role.WATCH)
async def preview(name: str, stage: TheStage) -> Response:
    """A picture of an avatar."""
    jpeg = await asyncio.to_thread(stage.cast.preview, name)
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "max-age=300"})


@router.get("/voices")
@needs(Role.WATCH)
async def voices(stage: TheStage) -> list[VoiceOut]:
    """Every voice, the most usual first."""
    found = await asyncio.to_thread(stage.voice.voices)
    return [VoiceOut(id=v.id, name=v.name, language=v.language) for v in found]

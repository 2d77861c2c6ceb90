"""/v1/avatars/jobs: a video in, a presenter out."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response, status
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field, StringConstraints

from engine.anchor.card import Consent
from streaming.api.deps import TheStage, TheWorkshop, avatar_address
from streaming.auth import Role, needs
from streaming.errors import NotFound
from streaming.limits import long_body
from streaming.upload import announced_size, check_upload
from streaming.worker_process import Remark
from streaming.workshop import Job, State

_VIDEO_TYPES = ("video/*", "application/octet-stream")

router = APIRouter(prefix="/v1/avatars/jobs", tags=["presenters"])

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ConsentIn(BaseModel):
    """That the person who is shown agreed: `by` their name, `statement` to what; `accepted` must be true.

    `shown` is "rendered" where no real person is shown; `by` is then who rendered it.
    """

    by: Line = Field(max_length=200)
    statement: Line = Field(max_length=2000)
    accepted: Literal[True]
    shown: Literal["person", "rendered"] = "person"


class TitleIn(BaseModel):
    """How the presenter is called, by language."""

    en: Line = Field(max_length=60)
    zh: Line | None = Field(default=None, max_length=60)


class JobIn(BaseModel):
    """A presenter to be made; without a `name` it gets one. `bytes`: size of the video, 0 if not known."""

    title: TitleIn
    consent: ConsentIn
    name: str | None = Field(default=None, max_length=100)
    bytes: int = Field(default=0, ge=0)


class JobOut(BaseModel):
    """A presenter on its way. `video` is where its video is to be PUT, of at most `max_bytes`.

    `state`: waiting (for its video), uploading (`done` of `total` bytes), queued, looking (at the footage),
    making, done, failed. `step`, `done` and `total` (0: unknown) tell how far it is in it. `error` is one
    sentence, `preview` and `sheet` are addresses of pictures, null until there are any; `avatar` is the name
    of the presenter once there is one.
    """

    id: str
    name: str
    title: dict[str, str]
    state: State
    step: str
    done: int
    total: int
    findings: list[Remark]
    error: str | None
    video: str
    max_bytes: int
    preview: str | None
    sheet: str | None
    avatar: str | None


def _out(job: Job, max_bytes: int) -> JobOut:
    address = f"/v1/avatars/jobs/{job.id}"
    finished = job.state == "done"
    avatar = avatar_address(job.wanted.name)
    seen = f"{address}/preview.jpg" if job.preview.is_file() else None
    return JobOut(
        id=job.id,
        name=job.wanted.name,
        title=job.wanted.title,
        state=job.state,
        step=job.step,
        done=job.done,
        total=job.total,
        findings=job.findings,
        error=job.error,
        video=f"{address}/video",
        max_bytes=max_bytes,
        preview=f"{avatar}/preview.jpg" if finished else seen,
        sheet=f"{avatar}/sheet.jpg" if finished else None,
        avatar=job.wanted.name if finished else None,
    )


async def get_job(job_id: str, workshop: TheWorkshop) -> Job:
    """The job that the path names; 404 when there is none."""
    return workshop.get(job_id)


TheJob = Annotated[Job, Depends(get_job)]


@router.post("", status_code=status.HTTP_201_CREATED)
@needs(Role.OPERATE)
async def create(body: JobIn, workshop: TheWorkshop, stage: TheStage, response: Response) -> JobOut:
    """Open a job: say what is wanted and that the person who is shown agrees; then PUT the video."""
    stage.drain.admit()
    today = datetime.now(UTC).date().isoformat()
    consent = Consent(body.consent.shown, body.consent.by, body.consent.statement, today)
    title = {"en": body.title.en, "zh": body.title.zh or body.title.en}
    job = workshop.open(body.name, title, consent, body.bytes)
    response.headers["Location"] = f"/v1/avatars/jobs/{job.id}"
    return _out(job, workshop.allowance.most)


@router.get("")
@needs(Role.OPERATE)
async def jobs(workshop: TheWorkshop) -> list[JobOut]:
    """Every job that is remembered: those under way, and those that ended within the last hour."""
    return [_out(job, workshop.allowance.most) for job in workshop.list()]


@router.get("/{job_id}")
@needs(Role.OPERATE)
async def show(job: TheJob, workshop: TheWorkshop) -> JobOut:
    """How far it is."""
    return _out(job, workshop.allowance.most)


@router.put("/{job_id}/video", status_code=status.HTTP_202_ACCEPTED)
@needs(Role.OPERATE)
@long_body
async def video(job: TheJob, workshop: TheWorkshop, request: Request) -> JobOut:
    """Send the video, as it is, as the body; the work begins when it is there."""
    check_upload(request, *_VIDEO_TYPES)
    await workshop.receive(job, request, announced_size(request))
    return _out(job, workshop.allowance.most)


@router.get("/{job_id}/preview.jpg", response_class=FileResponse)
@needs(Role.OPERATE)
async def preview(job: TheJob) -> FileResponse:
    """A picture of the video that was sent."""
    if not job.preview.is_file():
        raise NotFound("There is no picture of this video yet.")
    return FileResponse(job.preview, media_type="image/jpeg")


@router.delete("/{job_id}", status_code=status.HTTP_204_NO_CONTENT)
@needs(Role.OPERATE)
async def cancel(job_id: str, workshop: TheWorkshop) -> None:
    """Stop it and forget it, and leave nothing of it; a presenter that is done stays."""
    await workshop.cancel(job_id)

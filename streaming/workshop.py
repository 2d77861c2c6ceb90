"""New presenters out of uploaded videos: one job each, made in a process of its own, a few at a time."""

import asyncio
import itertools
import logging
import re
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from starlette.requests import Request

from engine.anchor.card import CARD, Consent
from engine.anchor.package import RESERVED, check_name, find_avatar, list_avatars, own_avatars
from engine.errors import AvatarError
from streaming.errors import Busy, Conflict, NotFound, Unprocessable
from streaming.settings import Settings
from streaming.upload import Allowance, save
from streaming.worker_process import WORKER, Remark, Told, run_worker
from streaming.workroom import Workroom

State = Literal["waiting", "uploading", "queued", "looking", "making", "done", "failed"]

LOOK = "look"
"""The step in which the footage is looked at; all others make the presenter."""

_VIDEO, _OUTPUT, _PREVIEW, _SHEETS = "video", "output", "preview.jpg", "sheets"
_RETRY = {"Retry-After": "30"}
_NAME_CHARS = 40

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds a job may wait for its video, may take to receive it, and is remembered when it is over."""

    send_s: float = 600.0
    receive_s: float = 3600.0
    keep_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The presenter that a job is to make; `title` by language, `name` its folder's."""

    name: str
    title: dict[str, str]
    consent: Consent


@dataclass
class Job:
    """One presenter on its way. `done` of `total` (0: unknown) counts within the state or its `step`."""

    id: str
    wanted: Wanted
    folder: Path
    state: State = "waiting"
    step: str = ""
    done: int = 0
    total: int = 0
    findings: list[Remark] = field(default_factory=list)
    error: str | None = None
    uploaded: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed")

    @property
    def video(self) -> Path:
        """Where its video is put."""
        return self.folder / _VIDEO

    @property
    def preview(self) -> Path:
        """A picture of the video, there once it is looked at."""
        return self.folder / _PREVIEW

    @property
    def output(self) -> Path:
        """The folder of avatars that its presenter is made in."""
        return self.folder / _OUTPUT

    def at(self, state: State, step: str = "", done: int = 0, total: int = 0) -> None:
        """Say where it is."""
        self.state, self.step, self.done, self.total = state, step, done, total

    def hear(self, told: Told) -> None:
        """Take note of a worker's line."""
        self.findings = told.findings or self.findings
        if told.step:
            self.at("looking" if told.step == LOOK else "making", told.step, told.done, told.total)


def free_name(title: dict[str, str], taken: Callable[[str], bool]) -> str:
    """A name for a presenter of this title, of its own script, that is not `taken`."""
    plain = unicodedata.normalize("NFKC", title["en"]).lower()
    base = re.sub(r"[\W_]+", "-", plain).strip("-")[:_NAME_CHARS].strip("-") or "presenter"
    names = (base if number == 1 else f"{base}-{number}" for number in itertools.count(1))
    return next(name for name in names if name not in RESERVED and not taken(name))


class Workshop:
    """Every job of a server, by id. `folder` is where finished avatars go, `command` starts a worker."""

    def __init__(
        self,
        settings: Settings,
        folder: Callable[[], Path] = own_avatars,
        command: Sequence[str] = WORKER,
        patience: Patience | None = None,
    ) -> None:
        self.allowance = Allowance(settings.upload_max_mb, settings.uploads_min_free_mb)
        self.room = Workroom(folder())
        self._most = settings.makers + settings.makers_waiting
        self._benches = asyncio.Semaphore(settings.makers)
        self._drawing = asyncio.Lock()
        self._command = tuple(command)
        self._patience = patience or Patience()
        self._jobs: dict[str, Job] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def list(self) -> list[Job]:
        """Every job that is remembered, the oldest first."""
        return list(self._jobs.values())

    def get(self, job_id: str) -> Job:
        """A job by id. Raises NotFound."""
        if job_id not in self._jobs:
            raise NotFound("There is no such job; it may have been cancelled, or ended long ago.")
        return self._jobs[job_id]

    def open(self, name: str | None, title: dict[str, str], consent: Consent, size: int = 0) -> Job:
        """A new job that waits for its video of `size` bytes (0: not known yet); without a name it gets one.

        Raises Unprocessable for what cannot be a name, Conflict for a taken one, Busy, TooLarge, NoRoom.
        """
        name = free_name(title, self._taken) if name is None else name
        self._check_free(name)
        if sum(not job.over for job in self._jobs.values()) >= self._most:
            raise Busy("Other presenters are being made or wait to be; try again in a while.", _RETRY)
        self.allowance.admit(self.room.folder(), size)
        job_id = secrets.token_urlsafe(16)
        job = Job(job_id, Wanted(name, title, consent), self.room.new(job_id))
        life = asyncio.create_task(self._live(job), name=f"job-{job_id}")
        life.add_done_callback(lambda task: self._ended(job, task))
        self._jobs[job_id], self._lives[job_id] = job, life
        self._expire_in(job, self._patience.send_s)
        return job

    async def receive(self, job: Job, request: Request, size: int) -> None:
        """Take the video of a job from a request's body of `size` bytes (0: unknown).

        Raises Conflict where it has one already, and what `upload.save` raises: it then waits for another.
        """
        if job.state != "waiting":
            raise Conflict("This job has its video already; open another job for another video.")
        job.at("uploading", done=0, total=size)
        self._expire_in(job, self._patience.receive_s)

        def progress(received: int) -> None:
            job.done = received
            _demand_alive(job)

        with ExitStack() as undo:
            undo.callback(self._wait_again, job)
            await save(request, job.video, self.allowance, progress)
            _demand_alive(job)
            undo.pop_all()
        self._stop_timer(job)
        job.at("queued")
        job.uploaded.set()

    async def cancel(self, job_id: str) -> None:
        """Stop and forget a job; an avatar that is done stays. Raises NotFound."""
        self.get(job_id)
        life = self._lives[job_id]
        life.cancel()
        await asyncio.wait([life])

    async def unpack(self, archive: Path) -> str:
        """Take an exported avatar in; returns its name. Raises Unprocessable, Conflict for a taken name."""
        folder = self.room.new(secrets.token_urlsafe(16))
        try:
            told = await self._work({"do": "import", "archive": archive, "output": folder / _OUTPUT}, folder)
            if told.error:
                raise Unprocessable(told.error)
            (made,) = (folder / _OUTPUT).iterdir()
            self._check_free(made.name)
            self._put_in_place(made)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return made.name

    async def sheet(self, name: str) -> Path:
        """The contact sheet of an avatar (JPEG), drawn when first asked for. Raises NotFound, AvatarError."""
        if name not in await asyncio.to_thread(list_avatars):
            raise NotFound(f"There is no avatar {name!r}.")
        avatar = find_avatar(name)
        sheet = self._sheet(avatar)
        async with self._drawing:
            if not sheet.is_file():
                told = await self._work({"do": "sheet", "avatar": avatar, "sheet": sheet}, self.room.folder())
                if told.error:
                    raise AvatarError(told.error)
        return sheet

    async def close(self) -> None:
        """Stop and forget every job; nothing half-made stays."""
        await asyncio.gather(*(self.cancel(job_id) for job_id in list(self._jobs)))
        await asyncio.to_thread(self.room.close)

    def _check_free(self, name: str) -> None:
        try:
            check_name(name)
        except AvatarError as error:
            raise Unprocessable(str(error)) from error
        if self._taken(name):
            raise Conflict(f"There is already a presenter called {name}; choose another name.")

    def _taken(self, name: str) -> bool:
        jobs = (job.wanted.name for job in self._jobs.values() if not job.over)
        return name in jobs or name in list_avatars() or (self.room.avatars / name).exists()

    def _sheet(self, avatar: Path) -> Path:
        """Where the sheet of an avatar is kept: of another package of that name it is another."""
        folder = self.room.folder() / _SHEETS
        folder.mkdir(exist_ok=True)
        return folder / f"{avatar.name}-{(avatar / CARD).stat().st_mtime_ns}.jpg"

    def _expire_in(self, job: Job, seconds: float) -> None:
        self._stop_timer(job)
        self._timers[job.id] = asyncio.get_running_loop().call_later(seconds, self._lives[job.id].cancel)

    def _wait_again(self, job: Job) -> None:
        job.at("waiting")
        if not job.gone:
            self._expire_in(job, self._patience.send_s)

    def _stop_timer(self, job: Job) -> None:
        if job.id in self._timers:
            self._timers.pop(job.id).cancel()

    async def _live(self, job: Job) -> None:
        """From the wait for its video until it is forgotten."""
        try:
            await job.uploaded.wait()
            async with self._benches:
                await self._make(job)
            self._expire_in(job, self._patience.keep_s)
            await asyncio.Event().wait()
        finally:
            job.gone = True
            self._stop_timer(job)
            await asyncio.to_thread(shutil.rmtree, job.folder, ignore_errors=True)

    async def _make(self, job: Job) -> None:
        job.at("looking", LOOK)
        job.output.mkdir()
        sheet = job.folder / "sheet.jpg"
        order = {"do": "create", **asdict(job.wanted), "video": job.video, "output": job.output}
        told = await self._work({**order, "preview": job.preview, "sheet": sheet}, job.folder, job.hear)
        job.error = told.error
        if told.finished:
            try:
                self._put_in_place(job.output / job.wanted.name)
            except Conflict as error:
                job.error = str(error)
            else:
                sheet.replace(self._sheet(self.room.avatars / job.wanted.name))
        await asyncio.to_thread(shutil.rmtree, job.output, ignore_errors=True)
        await asyncio.to_thread(job.video.unlink)
        if job.error:
            job.state = "failed"  # at the step it has come to
        else:
            job.at("done")
        logger.info("the presenter %s is %s", job.wanted.name, job.state)

    async def _work(
        self, order: dict[str, object], folder: Path, hear: Callable[[Told], None] = lambda _: None
    ) -> Told:
        paths = {name: str(value.resolve()) for name, value in order.items() if isinstance(value, Path)}
        return await run_worker(self._command, order | paths, folder, hear)

    def _put_in_place(self, made: Path) -> None:
        """Move a finished avatar to the others. Raises Conflict."""
        target = self.room.avatars / made.name
        if target.exists():
            raise Conflict(
                f"There is a presenter called {made.name} by now; make this one under another name."
            )
        made.rename(target)

    def _ended(self, job: Job, life: asyncio.Task[None]) -> None:
        del self._jobs[job.id], self._lives[job.id]
        if not life.cancelled() and (error := life.exception()) is not None:
            logger.error("a job ended by a fault of the server", exc_info=error)


def _demand_alive(job: Job) -> None:
    if job.gone:
        raise NotFound("The job was cancelled while its video was being sent.")

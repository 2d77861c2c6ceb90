"""One pool of threads, what is due first first; mouths of many sessions in batches, in time or not at all."""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from engine.anchor.crop import Picture
from engine.errors import KouboError
from engine.live import Tick
from engine.mouth.request import MouthRequest
from engine.mouth.runtime import Features
from engine.mouth.scheduler import Batch, MouthScheduler
from engine.speech.mel import SILENT_WINDOW, Mel
from streaming.cast import EngineCast
from streaming.drawing import MouthRoom, Patches, Workers
from streaming.server import create_app
from streaming.settings import Settings
from tests.fakes import FakeMouth, speech_like
from tests.streaming.conftest import eventually
from tests.streaming.spectator import watch

LATER = 1e9
"""Due so much later that nothing is ever late."""


class Counts:
    """Figures of what was done."""

    def __init__(self) -> None:
        self.jobs: Counter[str] = Counter()
        self.batches: list[int] = []

    def work(self, kind: str, seconds: float) -> None:
        assert seconds >= 0
        self.jobs[kind] += 1

    def mouth_batch(self, faces: int) -> None:
        self.batches.append(faces)


class GatedMouth(FakeMouth):
    """Draws when it is let; raises `fault` when there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.calls: list[int] = []

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        self.calls.append(len(mels))
        assert self.gate.wait(20)
        if self.fault is not None:
            raise self.fault
        return super().decode(mels, features)


@dataclass(frozen=True)
class Begun:
    requests: tuple[MouthRequest, ...]


class Rehearsal:
    """A room with a mouth, and what its sessions got."""

    def __init__(self, workers: Workers, counts: Counts | None = None) -> None:
        self.counts = counts or Counts()
        self.workers = workers
        self.room = MouthRoom(self.workers, self.counts)
        self.mouth = GatedMouth()
        self.drew: list[float] = []

    def begin(self, faces: int = 1, mouth: FakeMouth | None = None) -> Begun:
        face = np.full((4, 4, 3), 100, np.float16)
        return Begun(tuple(MouthRequest(mouth or self.mouth, SILENT_WINDOW, (face,)) for _ in range(faces)))

    async def tick(
        self, owner: str, due: float | None = None, faces: int = 1, mouth: FakeMouth | None = None
    ) -> list[bool]:
        """Which of its mouths a session got."""

        def complete(begun: Begun, patches: Patches) -> list[bool]:
            assert len(patches) == len(begun.requests)
            return [patch is not None for patch in patches]

        due = self.workers.clock() + LATER if due is None else due
        return await self.room.tick(owner, due, lambda: self.begin(faces, mouth), complete, self.drew.append)

    def enter(self, *owners: str) -> None:
        for owner in owners:
            self.room.enter(owner)


@pytest.fixture
async def one() -> AsyncIterator[Rehearsal]:
    """A room with one thread."""
    counts = Counts()
    rehearsal = Rehearsal(Workers(1, counts), counts)
    yield rehearsal
    rehearsal.mouth.gate.set()
    rehearsal.workers.close()


@pytest.fixture
async def two() -> AsyncIterator[Rehearsal]:
    """A room with two threads."""
    counts = Counts()
    rehearsal = Rehearsal(Workers(2, counts), counts)
    yield rehearsal
    rehearsal.mouth.gate.set()
    rehearsal.workers.close()


def held(workers: Workers) -> threading.Event:
    """Every thread is busy until this is set."""
    gate = threading.Event()
    busy = threading.Barrier(workers.threads + 1)

    def hold() -> None:
        busy.wait(20)
        gate.wait(20)

    for _ in range(workers.threads):
        workers.submit(-1, hold)
    busy.wait(20)
    return gate


def fail() -> None:
    raise KouboError("it went wrong")


@pytest.mark.parametrize("threads", [1, 3])
async def test_what_is_due_first_is_done_first(threads: int) -> None:
    done: list[int] = []
    with Workers(threads) as workers:
        gate = held(workers)
        jobs = [workers.run(due, lambda due=due: done.append(due)) for due in (5, 3, 9, 3, 1)]  # type: ignore[misc]
        waiting = [asyncio.ensure_future(job) for job in jobs]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*waiting)
    assert sorted(done) == [1, 3, 3, 5, 9]
    if threads == 1:
        assert done == [1, 3, 3, 5, 9]


async def test_what_a_job_returns_or_raises_reaches_who_waits() -> None:
    counts = Counts()
    with Workers(2, counts) as workers:
        assert await workers.run(0, lambda: 7, "mouth") == 7
        with pytest.raises(KouboError, match="it went wrong"):
            await workers.run(0, fail, "paste")
        assert await workers.run(0, lambda: threading.current_thread().name) in ("work_0", "work_1")
    assert counts.jobs == {"mouth": 1, "paste": 1, "other": 1}


@pytest.mark.parametrize(("threads", "most"), [(2, 1), (4, 2)])
async def test_pastes_leave_half_of_the_threads_to_others(threads: int, most: int) -> None:
    lock, now, highest, drawn = threading.Lock(), Counter[str](), Counter[str](), threading.Barrier(threads)

    def job(kind: str) -> None:
        with lock:
            now[kind] += 1
            highest[kind] = max(highest[kind], now[kind])
        if kind == "mouth" and not drawn.broken:
            drawn.wait(20)  # all threads at once
        else:
            threading.Event().wait(0.002)
        with lock:
            now[kind] -= 1

    with Workers(threads) as workers:
        pastes = [workers.run(number, lambda: job("paste"), "paste") for number in range(12)]
        mouths = [workers.run(0.5 + number, lambda: job("mouth"), "mouth") for number in range(threads)]
        await asyncio.gather(*pastes, *mouths)
    assert highest == {"paste": most, "mouth": threads}


async def test_a_job_that_nobody_waits_for_any_more_is_not_done() -> None:
    done: list[int] = []
    with Workers(1) as workers:
        gate = held(workers)
        waiting = asyncio.ensure_future(workers.run(0, lambda: done.append(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        gate.set()
        await workers.run(1, lambda: None)
    assert done == []


async def test_closing_cancels_what_has_not_begun() -> None:
    workers = Workers(1)
    gate = held(workers)
    left = workers.submit(0, lambda: None)
    threading.Timer(0.01, gate.set).start()
    await asyncio.to_thread(workers.close)
    assert left.cancelled()
    workers.close()
    with pytest.raises(RuntimeError, match="gone home"):
        workers.submit(0, lambda: None)


async def test_a_tick_without_a_mouth_is_made_at_once(one: Rehearsal) -> None:
    one.enter("a")
    assert await one.tick("a", faces=0) == []
    assert one.mouth.calls == []
    await eventually(lambda: one.counts.jobs == {"begin": 1})  # counted once the tick is out


async def test_mouths_of_many_sessions_are_one_call(one: Rehearsal) -> None:
    one.enter(*"abcd")
    gate = held(one.workers)
    ticks = [asyncio.ensure_future(one.tick(owner, LATER)) for owner in "abcd"]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*ticks) == [[True]] * 4
    assert one.mouth.calls == one.counts.batches == [4]
    await eventually(lambda: len(one.drew) == 4)
    await eventually(lambda: one.counts.jobs["paste"] == 4)  # counted once the tick is out


async def test_no_call_mixes_mouths(one: Rehearsal) -> None:
    other = GatedMouth()
    one.enter(*"abcd")
    gate = held(one.workers)
    ticks = [
        asyncio.ensure_future(one.tick(owner, LATER, mouth=mouth))
        for owner, mouth in zip("abcd", (one.mouth, other, one.mouth, other), strict=True)
    ]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*ticks) == [[True]] * 4
    assert one.mouth.calls == other.calls == [2]


async def test_a_fade_needs_two(one: Rehearsal) -> None:
    one.enter("a")
    assert await one.tick("a", faces=2) == [True, True]


async def test_a_tick_that_is_late_does_not_wait_for_a_mouth(one: Rehearsal) -> None:
    one.enter("a")
    assert await one.tick("a", one.workers.clock() - 1, faces=2) == [False, False]
    assert one.mouth.calls == []
    assert await one.tick("a") == [True]


async def test_a_mouth_that_hangs_is_late_and_only_its_own_session_suffers(two: Rehearsal) -> None:
    two.enter("a", "b")
    two.mouth.gate.clear()
    for _ in range(3):
        assert await two.tick("a", two.workers.clock()) == [False]
        assert await two.tick("b", mouth=FakeMouth()) == [True]
    # It was not asked again while it hung.
    assert two.mouth.calls == [1]
    two.mouth.gate.set()
    await eventually(lambda: two.counts.jobs["mouth"] >= 4)
    assert await two.tick("a") == [True]


@pytest.mark.parametrize("fault", [KouboError("the mouth is away"), RuntimeError("inference failed")])
async def test_a_runtime_that_fails_is_told_once_and_everybody_goes_on(
    one: Rehearsal, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    one.enter("a", "b")
    one.mouth.fault = fault
    for _ in range(5):
        assert await one.tick("a") == [False]
        assert await one.tick("b", mouth=FakeMouth()) == [True]
    await eventually(lambda: one.counts.jobs["mouth"] == 10)
    told = [record for record in caplog.records if "could not be drawn" in record.message]
    assert len(told) == 1
    assert told[0].levelno == logging.ERROR
    assert str(fault) in caplog.text
    one.mouth.fault = None
    assert await one.tick("a") == [True]


async def test_a_fault_of_the_session_is_its_own(one: Rehearsal) -> None:
    one.enter("a")

    def complete(begun: Begun, patches: Patches) -> None:
        fail()

    def broken() -> Begun:
        fail()
        return one.begin()

    with pytest.raises(KouboError, match="it went wrong"):
        await one.room.tick("a", LATER, one.begin, complete, one.drew.append)
    with pytest.raises(KouboError, match="it went wrong"):
        await one.room.tick("a", LATER, broken, complete, one.drew.append)
    assert await one.tick("a") == [True]


@pytest.mark.parametrize("when", ["begin", "mouth"])
async def test_of_a_session_that_leaves_nothing_stays(one: Rehearsal, when: str) -> None:
    one.enter("a", "b")
    if when == "mouth":
        one.mouth.gate.clear()
        gate = None
    else:
        gate = held(one.workers)
    going = asyncio.ensure_future(one.tick("a"))
    await eventually(lambda: when == "begin" or one.mouth.calls == [1])
    going.cancel()
    await asyncio.wait([going])
    one.room.leave("a")
    if gate:
        gate.set()
    one.mouth.gate.set()
    assert await one.tick("b") == [True]
    assert not one.room._makings
    assert "a" not in one.room._scheduler._members


@pytest.fixture
def moody() -> GatedMouth:
    return GatedMouth()


@pytest.fixture
async def served(avatars: Path, settings: Settings, moody: GatedMouth) -> AsyncIterator[FastAPI]:
    # Without a label, an idle picture is the anchor's own, which can be told.
    settings = settings.model_copy(update={"label": "off", "label_off_reason": "pictures are compared"})
    app = create_app(settings, EngineCast(lambda folder: moody, "fake"))
    async with app.router.lifespan_context(app):
        yield app


async def test_while_the_mouth_fails_a_session_repeats_the_last_one_and_keeps_its_sound(
    served: FastAPI, moody: GatedMouth
) -> None:
    transport = httpx.ASGITransport(served)
    async with httpx.AsyncClient(transport=transport, base_url="http://koubo.test") as http:
        path = f"/v1/sessions/{(await http.post('/v1/sessions')).json()['id']}"
        live = served.state.table.get(path.rsplit("/", 1)[1])
        spectator = watch(live)
        speech = speech_like(2.0)
        live._presenter.push(speech)
        live._presenter.finish()

        def voiced() -> list[Tick]:
            return [tick for tick in spectator.ticks if tick.speaking]

        await eventually(lambda: any(not tick.mouth_repeated for tick in voiced()[3:]))
        moody.fault, failing = KouboError("the process that draws is away"), len(voiced())
        await eventually(lambda: sum(tick.mouth_repeated for tick in voiced()) >= 10)
        repeated = live.figures.mouths_repeated
        moody.fault = None
        since = len(spectator.ticks)
        await eventually(
            lambda: any(not one.mouth_repeated for one in spectator.ticks[since:] if one.speaking)
        )
        await eventually(lambda: not spectator.ticks[-1].speaking and live.backlog_s == 0)
        status = (await http.get(path)).json()
        metrics = served.state.stage.metrics.text().decode()
    assert status["mouths_repeated"] >= repeated >= 10
    assert {"p50", "p95", "p99"} == set(status["picture_lateness_ms"])
    count = next(line for line in metrics.splitlines() if line.startswith("koubo_mouths_repeated_total"))
    assert float(count.split()[1]) == status["mouths_repeated"]
    # The sound is whole, whatever became of the mouths.
    sound = np.concatenate([tick.sound for tick in spectator.ticks])
    said = np.concatenate([tick.sound for tick in voiced()])
    assert np.count_nonzero(sound) == np.count_nonzero(said) > 0.95 * speech.size
    # A mouth was seen all the while: the picture is never the anchor's own, which cannot be written to.
    assert all(tick.picture.flags.writeable for tick in voiced()[failing : failing + 10])


async def test_a_batch_that_is_late_as_it_begins_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = 0.0
    take = MouthScheduler.next

    def slow(scheduler: MouthScheduler, now: float) -> Batch | None:
        nonlocal ahead
        batch = take(scheduler, now)
        ahead += 1.0 if batch and not ahead else 0.0  # the thread was not let on for a second
        return batch

    monkeypatch.setattr(MouthScheduler, "next", slow)
    with Workers(1, clock=lambda: time.monotonic() + ahead) as workers:
        rehearsal = Rehearsal(workers)
        rehearsal.enter("a")
        async with asyncio.timeout(20):
            assert await rehearsal.tick("a", workers.clock()) == [False]
            assert await rehearsal.tick("a") == [True]

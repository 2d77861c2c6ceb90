"""Hours in seconds: a loop whose clock leaps, and a whole session on it."""

import asyncio
import gc
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from engine.live import Tick
from streaming.bench_probe import census
from streaming.bench_soak_simulated import simulated_figures
from streaming.cast import EngineCast
from streaming.drawing import MouthRoom
from streaming.metrics import Metrics
from streaming.pacing import PATIENCE_TICKS
from streaming.sessions import Session, Stage
from streaming.settings import Settings
from streaming.simulated_loop import SimulatedLoop, SimulatedWorkers, run_simulated
from streaming.simulated_stage import MediaClock, NoEncoder
from streaming.voices.espeak import EspeakVoice
from tests.fakes import FakeMouth, speech_like


class TestTime:
    def test_an_hour_is_over_at_once(self) -> None:
        async def sleep() -> float:
            await asyncio.sleep(3600)
            return asyncio.get_running_loop().time()

        began = time.monotonic()
        assert run_simulated(sleep()) == 3600
        assert time.monotonic() - began < 60

    def test_what_is_due_first_comes_first(self) -> None:
        heard: list[tuple[str, float]] = []

        async def call(name: str, period: float) -> None:
            for _ in range(3):
                await asyncio.sleep(period)
                heard.append((name, asyncio.get_running_loop().time()))

        async def both() -> None:
            await asyncio.gather(call("slow", 5), call("fast", 2))

        run_simulated(both())
        assert heard == [("fast", 2), ("fast", 4), ("slow", 5), ("fast", 6), ("slow", 10), ("slow", 15)]

    def test_threads_are_not_needed_and_faults_arrive(self) -> None:
        def fail() -> None:
            raise ValueError("so")

        async def compute() -> int:
            with pytest.raises(ValueError, match="so"):
                await asyncio.to_thread(fail)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, threading.get_ident)

        assert run_simulated(compute()) == threading.get_ident()

    def test_waiting_for_nothing_is_an_error(self) -> None:
        async def wait() -> None:
            await asyncio.Event().wait()

        with pytest.raises(RuntimeError, match="nothing is due"):
            run_simulated(wait())

    def test_a_timeout_is_simulated_too(self) -> None:
        async def wait() -> float:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(100):
                    await asyncio.Event().wait()
            return asyncio.get_running_loop().time()

        assert run_simulated(wait()) == pytest.approx(100)


class TestWorkers:
    def test_jobs_are_done_by_the_loop_what_is_due_first_first(self) -> None:
        async def work() -> list[int]:
            workers = SimulatedWorkers(asyncio.get_running_loop())
            done: list[int] = []
            jobs = [workers.run(float(due), partial(done.append, due)) for due in (3, 1, 2)]
            await asyncio.gather(*jobs)
            workers.close()
            return done

        assert run_simulated(work()) == [1, 2, 3]

    def test_a_job_that_fails_fails_for_who_waits(self) -> None:
        async def work() -> None:
            workers = SimulatedWorkers(asyncio.get_running_loop())

            def fail() -> None:
                raise ValueError("so")

            with pytest.raises(ValueError, match="so"):
                await workers.run(0.0, fail)
            workers.close()

        run_simulated(work())


class Show:
    """A session with fake presenters, on a clock that leaps."""

    def __init__(self) -> None:
        self.ticks: list[tuple[int, Tick]] = []
        self.receiver: MediaClock | None = None
        self.session: Session | None = None

    async def run(self, seconds: float, stall_s: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        settings = Settings(idle_close_s=10 * seconds)
        cast = EngineCast(lambda folder: FakeMouth(), "fake")
        workers = SimulatedWorkers(loop)
        stage = Stage(settings, cast, EspeakVoice(), workers, Metrics(), open_encoder=NoEncoder)
        room = MouthRoom(workers, stage.metrics)
        session = self.session = Session(await cast.enter("fake"), stage, room)
        session.on_tick.append(lambda slot, tick: self.ticks.append((slot, tick)))
        self.receiver = MediaClock(loop.time, loop.time())
        session.encoders.attach(self.receiver, video="h264", audio="opus")
        life = asyncio.create_task(session.run())
        speech = speech_like(2.0)
        await asyncio.sleep(seconds / 3)
        session.part.presenter.push(speech)
        session.part.presenter.finish()
        await asyncio.sleep(seconds / 3)
        loop.leap(stall_s)
        await asyncio.sleep(seconds / 3)
        life.cancel()
        await asyncio.wait([life])
        workers.close()


@pytest.mark.usefixtures("avatars")
class TestSession:
    def test_every_tick_is_there_and_on_time(self) -> None:
        show = Show()
        run_simulated(show.run(30))
        assert show.session is not None
        assert show.receiver is not None
        slots = [slot for slot, _ in show.ticks]
        assert slots == list(range(len(slots)))
        assert abs(len(slots) - 750) <= 2
        assert show.session.figures.late == 0
        assert [round(delay or 0.0, 6) for delay in show.receiver.take()] == [0, 0]
        assert show.receiver.pictures > 740
        assert any(tick.speaking for _, tick in show.ticks)
        assert not any(tick.mouth_repeated for _, tick in show.ticks)

    def test_the_same_show_twice_is_the_same(self) -> None:
        shows = Show(), Show()
        for show in shows:
            run_simulated(show.run(9))
        first, second = ([(slot, tick.sound.tobytes()) for slot, tick in show.ticks] for show in shows)
        assert first == second

    def test_a_stall_is_skipped_and_the_media_clock_is_the_clock(self) -> None:
        show = Show()
        run_simulated(show.run(30, stall_s=4.0))
        slots = [slot for slot, _ in show.ticks]
        steps = [after - before for before, after in itertools.pairwise(slots)]
        assert sorted(steps)[-2:] == [1, pytest.approx(100, abs=PATIENCE_TICKS)]
        assert slots[-1] == pytest.approx(34 * 25, abs=2)
        assert [tick.index for _, tick in show.ticks] == list(range(len(slots)))


def test_a_census_counts_what_is_kept() -> None:
    class Kept:
        def __init__(self) -> None:
            self.me = self

    name = f"{Kept.__module__}.{Kept.__qualname__}"
    kept = [Kept() for _ in range(5000)]
    assert census()["types"][name] == 5000
    kept.clear()
    assert name not in census()["types"]
    gc.collect()


def lines(**changed: object) -> list[dict[str, object]]:
    """A perfect simulated show of a hundred seconds."""
    return [
        {
            "at": float(at), "own_mb": 300.0 + at % 2, "rss_mb": 400.0, "descriptors": 9, "threads": 6,
            "cpu_s": 1.0, "objects": 500, "tasks": 12, "ticks": 25 * at, "late_ticks": 0, "gaps": 0,
            "spoken": 10, "pictures": 25, "sounds": 50, "picture_delay_ms": 0.0, "sound_delay_ms": 0.0,
            "backlog_s": 0.1, "mic_backlog_s": 0.1, "counts": {"stalls": 0},
        } | {name: value(at) for name, value in changed.items() if callable(value)}
        for at in range(1, 101)
    ]  # fmt: skip


def test_a_perfect_simulated_show_meets_everything() -> None:
    assert all(verdict["met"] for verdict in simulated_figures(lines())["verdicts"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sound_delay_ms", lambda at: 0.5 * at),
        ("ticks", lambda at: 25 * at - at // 10),
        ("gaps", lambda at: at // 50),
        ("mic_backlog_s", lambda at: 0.005 * at),
        ("own_mb", lambda at: 300 + at / 10),
        ("objects", lambda at: 500 + 10 * at),
        ("tasks", lambda at: 12 + at // 20),
    ],
)
def test_each_fault_of_a_simulated_show_is_seen(name: str, value: object) -> None:
    assert not all(verdict["met"] for verdict in simulated_figures(lines(**{name: value}))["verdicts"])


def test_no_thread_is_left() -> None:
    before = threading.active_count()

    async def work() -> None:
        workers = SimulatedWorkers(asyncio.get_running_loop())
        await workers.run(0.0, lambda: None)
        workers.close()

    run_simulated(work())
    assert threading.active_count() <= before


def test_an_executor_is_left_alone() -> None:
    with ThreadPoolExecutor(1) as executor:

        async def compute() -> int:
            return await asyncio.get_running_loop().run_in_executor(executor, threading.get_ident)

        assert run_simulated(compute()) == threading.get_ident()

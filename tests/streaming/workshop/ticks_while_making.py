"""How late ticks come while a presenter is made; see docs/measurements.md. Linux only.

    python -m tests.streaming.workshop.ticks_while_making FILM [ROUNDS]

One live session speaks and is recorded. Beside it a presenter is made of FILM, over and over, and its worker
is by turns stopped, let run as it does (behind everything else), and let run as an ordinary process would, a
few seconds each, so that whatever else the machine does strikes all three alike.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np

from streaming.server import create_app
from streaming.settings import Settings
from tests.streaming.conftest import eventually

PHASE_S = 4.0
SETTLE_S = 0.5
CONDITIONS = ("stopped", "behind", "ordinary")
TEXT = "Good evening and welcome to the show. " * 40
JOB = {
    "title": {"en": "made"},
    "consent": {"by": "a program", "statement": "nobody is shown", "accepted": True, "shown": "rendered"},
}


def children() -> Iterator[int]:
    """Processes of this one that make presenters."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            with suppress(OSError):
                if b"workshop_worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    yield int(pid)


def let_run(pid: int, condition: str) -> None:
    """Stop a worker, or have all its threads run behind everything else, or like any other process."""
    with suppress(OSError):
        if condition == "stopped":
            os.kill(pid, signal.SIGSTOP)
            return
        behind = condition == "behind"
        for task in Path(f"/proc/{pid}/task").iterdir():
            policy = os.SCHED_IDLE if behind else os.SCHED_OTHER
            os.sched_setscheduler(int(task.name), policy, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, int(task.name), 19 if behind else 0)
        Path(f"/proc/{pid}/autogroup").write_text("19" if behind else "0")
        os.kill(pid, signal.SIGCONT)


async def keep_making(http: httpx.AsyncClient, film: bytes) -> None:
    """One job after the other, its presenter thrown away."""
    while True:
        job = (await http.post("/v1/avatars/jobs", json=JOB)).json()
        await http.put(job["video"], content=film, headers={"Content-Type": "video/mp4"})
        while job["state"] not in ("done", "failed"):
            await asyncio.sleep(0.5)
            job = (await http.get(f"/v1/avatars/jobs/{job['id']}")).json()
        if job["error"]:
            raise RuntimeError(job["error"])
        await http.delete(f"/v1/avatars/{job['avatar']}")
        await http.delete(f"/v1/avatars/jobs/{job['id']}")


async def keep_speaking(http: httpx.AsyncClient, session: str) -> None:
    """The session never runs out of words."""
    while True:
        if (await http.get(session)).json()["backlog_ms"] < 5000:
            await http.post(f"{session}/speak", json={"text": TEXT})
        await asyncio.sleep(1)


async def measure(film: bytes, rounds: int) -> dict[str, dict[str, float]]:
    """Lateness in ms (p50, p99) and the number of ticks, by condition."""
    late: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["KOUBO_AVATARS"] = scratch
        settings = Settings(default_avatar="ada", runtime="openvino", recordings=Path(scratch) / "recordings")
        app = create_app(settings)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://koubo.test", timeout=None) as http,
        ):
            await eventually(lambda: app.state.readiness.obstacle is None, 120)
            session = (await http.post("/v1/sessions")).headers["Location"]
            await http.post(f"{session}/outlets", json={"url": "mp4:"})
            work = [
                asyncio.create_task(keep_speaking(http, session)),
                asyncio.create_task(keep_making(http, film)),
            ]
            seen: list[float] = []
            figures = app.state.table.get(session.rpartition("/")[2]).figures
            add = figures.add

            def note(now: float, lateness: float) -> None:
                seen.append(1000 * lateness)
                add(now, lateness)

            figures.add = note
            await eventually(lambda: any(children()), 60)
            for condition in CONDITIONS * rounds:
                end = asyncio.get_running_loop().time() + PHASE_S
                for pid in children():
                    let_run(pid, condition)
                await asyncio.sleep(SETTLE_S)
                seen.clear()
                while (left := end - asyncio.get_running_loop().time()) > 0:
                    await asyncio.sleep(min(0.5, left))
                    for pid in children():  # one may have ended, and the next begun
                        let_run(pid, condition)
                late[condition] += seen
            for pid in children():
                os.kill(pid, signal.SIGCONT)
            for task in work:
                task.cancel()
            await asyncio.wait(work)
            for task in work:
                if not task.cancelled():
                    task.result()
    return {
        condition: {
            "p50": round(float(np.percentile(values, 50)), 1),
            "p99": round(float(np.percentile(values, 99)), 1),
            "ticks": len(values),
        }
        for condition, values in late.items()
    }


if __name__ == "__main__":
    chosen = Path(sys.argv[1]).read_bytes()
    print(json.dumps(asyncio.run(measure(chosen, int(sys.argv[2]) if sys.argv[2:] else 6))))

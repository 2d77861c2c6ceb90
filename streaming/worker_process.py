"""Heavy work on avatars, done by `streaming.workshop_worker` in a process of low priority."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

WORKER = (sys.executable, "-m", "streaming.workshop_worker")

_ROOT = Path(__file__).resolve().parents[1]
_LOG = "log.txt"
_LOG_TAIL = 2000
_BROKEN_OFF = "The work broke off unexpectedly; the server's log says why."

logger = logging.getLogger(__name__)


class Remark(BaseModel):
    """What was found in footage; see `engine.anchor.checks.Finding`."""

    code: str
    severity: Literal["problem", "advice"]
    sentence: str
    values: dict[str, float | str] = {}
    at_s: float | None = None


class Told(BaseModel):
    """One line of a worker's: a step and how far it is (of 0: unknown), or its end: finished, or an error."""

    step: str = ""
    done: int = 0
    total: int = 0
    findings: list[Remark] = []
    error: str | None = None
    finished: bool = False


async def run_worker(
    command: Sequence[str],
    order: Mapping[str, object],
    folder: Path,
    hear: Callable[[Told], None] = lambda _: None,
) -> Told:
    """Have an order carried out; returns the last word, which is finished or has an error.

    `folder` is where the worker's log goes, `hear` gets every line. When the caller is cancelled, the worker
    is killed; when this whole process dies, the worker ends by itself.
    """
    last = Told()
    with (folder / _LOG).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Linux weighs sessions against each other, not their processes
            env={**os.environ, "PYTHONPATH": python_path()},
        )
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            async for line in process.stdout:
                if told := _read(line):
                    last = told
                    hear(told)
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            process.stdin.close()
    if last.finished or last.error:
        return last
    tail = (folder / _LOG).read_bytes()[-_LOG_TAIL:].decode(errors="replace")
    logger.error("a worker ended with status %s; it wrote: %s", process.returncode, tail)
    return Told(error=_BROKEN_OFF)


def _read(line: bytes) -> Told | None:
    try:
        return Told.model_validate_json(line)
    except ValidationError:
        logger.warning("a worker wrote what is no report: %s", line[:200])
        return None


def python_path() -> str:
    """Where the worker finds this package, however the server was started."""
    return os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))

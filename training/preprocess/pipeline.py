"""The job: every source through its steps, by one process, several, or a part of them on each machine."""

import errno
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from engine.errors import KouboError
from training.preprocess.limits import Settings
from training.preprocess.results import WORK, finished
from training.preprocess.source import Tools, prepare_source
from training.preprocess.sources import Source, shown

MakeTools = Callable[[], Tools]


class Tell(Protocol):
    """A progress display."""

    def __call__(self, done: int, total: int) -> None:
        """How much is done."""
        ...

    def describe(self, what: str) -> None:
        """What is being done."""
        ...


class Worker:
    """Does sources one after the other with tools of its own."""

    def __init__(self, output: Path, settings: Settings, make_tools: MakeTools) -> None:
        self._output = output
        self._settings = settings
        self._tools = make_tools()

    def __call__(self, source: Source, progress: Callable[[int, int], None] | None = None) -> str:
        """Does one source and returns its id. Raises KouboError when `output` cannot be written."""
        with writing(self._output):
            prepare_source(source, self._output, self._settings, self._tools, progress)
        return source.id


def run(
    sources: Sequence[Source],
    output: Path,
    settings: Settings,
    make_tools: MakeTools,
    *,
    jobs: int = 1,
    tell: Tell | None = None,
) -> int:
    """Does the sources that are not finished yet and returns their number.

    Raises KouboError when `output` cannot be written or the disk is full; what is finished is kept.
    """
    todo = waiting(sources, output, settings)
    if not todo:
        return 0
    if jobs == 1:
        _alone(todo, Worker(output, settings, make_tools), tell)
    else:
        _side_by_side(todo, output, settings, make_tools, jobs, tell)
    return len(todo)


def waiting(sources: Sequence[Source], output: Path, settings: Settings) -> list[Source]:
    """The sources that are not finished. Raises KouboError when `output` cannot be made."""
    with writing(output):
        (output / WORK).mkdir(parents=True, exist_ok=True)
    return [source for source in sources if not finished(output, source.id, settings)]


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Turns errors of the disk into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise KouboError(
                f"The disk of {output} is full; what is finished is kept: free some space and run the same "
                "command again."
            ) from error
        raise KouboError(
            f"{output} cannot be written ({error.strerror or error}); choose another folder or correct "
            "its rights."
        ) from error


def _alone(todo: Sequence[Source], worker: Worker, tell: Tell | None) -> None:
    for number, source in enumerate(todo):
        if tell is None:
            worker(source)
            continue
        tell.describe(shown(source.path)[-40:])
        worker(source, _within(tell, number, len(todo)))
        tell(1000 * (number + 1), 1000 * len(todo))


def _within(tell: Tell, number: int, count: int) -> Callable[[int, int], None]:
    """Progress inside one source as a part of the whole, in thousandths of a source."""

    def inside(done: int, total: int) -> None:
        if done % 10 == 0 and total:
            tell(1000 * number + 1000 * done // total, 1000 * count)

    return inside


_worker: Worker | None = None


def _start(output: Path, settings: Settings, make_tools: MakeTools) -> None:
    global _worker
    _worker = Worker(output, settings, make_tools)


def _do(source: Source) -> str:
    assert _worker is not None
    return _worker(source)


def _side_by_side(
    todo: Sequence[Source],
    output: Path,
    settings: Settings,
    make_tools: MakeTools,
    jobs: int,
    tell: Tell | None,
) -> None:
    # Spawned, not forked: trackers and torch hold threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(jobs, len(todo)), context, initializer=_start, initargs=(output, settings, make_tools)
    ) as pool:
        futures: list[Future[str]] = [pool.submit(_do, source) for source in todo]
        try:
            for count, future in enumerate(as_completed(futures)):
                future.result()
                if tell is not None:
                    tell(1000 * (count + 1), 1000 * len(todo))
        except BrokenProcessPool as error:
            raise KouboError(
                "A worker ended unexpectedly, perhaps for want of memory; what is finished is kept: run the "
                "same command with fewer --jobs."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)

"""How far TensorRT's builder is, and how to stop it."""

import threading
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0
    inner: int = 0


class Phases:
    """The builder's nested phases as one share of the whole, 0 to 1, that never falls.

    A phase within another fills one step of it. How many follow each other within one step is not known, so
    each takes half of what the one before has left of it. Setting `stopped` asks the builder to give up after
    its next step. Safe to call from several threads.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._open: dict[str, _Phase] = {}
        self._share = 0.0
        self._lock = threading.Lock()

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return self._share

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins within `parent`, or as the whole."""
        with self._lock:
            self._open[name] = _Phase(parent, max(1, steps))

    def step(self, name: str, step: int) -> None:
        """Step number `step`, from 0, of a phase is done."""
        with self._lock:
            phase = self._open[name]
            phase.done, phase.inner = step + 1, 0
            self._share = max(self._share, self._inside(None))

    def finish(self, name: str) -> None:
        """A phase is over, whether or not all its steps were done."""
        with self._lock:
            phase = self._open.pop(name)
            if phase.parent in self._open:
                self._open[phase.parent].inner += 1

    def _inside(self, parent: str | None) -> float:
        """The most that any open phase within `parent` has done of itself."""
        inside = (name for name, phase in self._open.items() if phase.parent == parent)
        return max((self._part(name) for name in inside), default=0.0)

    def _part(self, name: str) -> float:
        phase = self._open[name]
        left = 0.5**phase.inner
        step = 1 - left + left / 2 * self._inside(name)
        return min(1.0, (phase.done + step) / phase.steps)


def monitor(trt: Any, phases: Phases) -> Any:
    """TensorRT's own kind of progress monitor, which tells `phases` and stops the build when these say so."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return not phases.stopped.is_set()

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()

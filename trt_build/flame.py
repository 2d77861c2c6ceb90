"""Where a program's processor time goes: stacks sampled while it runs, drawn as a flame graph (SVG).

A timer interrupts the main thread, and Python sees the signal once the C function that it is in has
returned. So each sample is weighted by the processor time since the one before: a long call into a library
counts in full, and short ones evenly. A profiler that traces calls would cost more than what it measures
here, and a sampling thread sees Python only where the interpreter's lock is free.
"""

import linecache
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import CodeType, FrameType

from engine.errors import KouboError

PERIOD_S = 0.00015
"""Between two samples, on average. Short, since what passes before a long call is counted with that call;
never the same, or the samples of a loop would always fall on the same of its steps.
"""

_ROOT = Path(__file__).resolve().parents[1]
_WIDTH, _ROW, _HEAD, _MARGIN = 1200, 18, 46, 10
_LETTER = 6.2  # width of one, pixels
_LEAST = 0.002  # share of the whole that gets a box
_COLOURS = {
    "engine/picture": "#e8a15c",
    "engine/mouth": "#d9705f",
    "engine/speech": "#7fb069",
    "engine": "#e3c567",
    "streaming": "#7ea6d9",
    "other": "#c9c3b8",
}
_LINE = "#f3ead7"


@dataclass(slots=True)
class Stack:
    """A node of the tree of calls: seconds of processor time in it and below it."""

    name: str
    place: str = ""
    seconds: float = 0.0
    below: dict[str, "Stack"] = field(default_factory=dict)

    def add(self, names: list[tuple[str, str]], seconds: float) -> None:
        """Count `seconds` for a stack, (name, place) from the outside in."""
        self.seconds += seconds
        if names:
            (name, place), *rest = names
            self.below.setdefault(name, Stack(name, place)).add(rest, seconds)

    @property
    def depth(self) -> int:
        """Of the deepest stack, itself counted."""
        return 1 + max((one.depth for one in self.below.values()), default=0)


@contextmanager
def sampled(top: CodeType) -> Iterator[Stack]:
    """Sample the main thread within the block: the tree of what runs below the function whose code is `top`.

    The last node of each stack is the line of source at which it was. Raises KouboError where there is no
    such timer (Windows), outside of the main thread, and where PyTorch's compiler was loaded.
    """
    if "torch._dynamo" in sys.modules:
        # Its frames are not whole while they begin; reading them ends the process.
        raise KouboError("Stacks cannot be sampled where PyTorch compiles; do it in a process of its own.")
    root = Stack("all")
    found: dict[tuple[CodeType | int, ...], float] = {}
    chance = random.Random(0)
    last, taking = time.process_time(), False

    def take(_: int, frame: FrameType | None) -> None:
        nonlocal last, taking
        if taking:  # on a busy machine the next signal comes before this one is dealt with
            return
        taking = True
        began = time.perf_counter()
        spent = time.process_time() - last
        stack = _stack(frame, top)
        if stack is not None:
            found[stack] = found.get(stack, 0.0) + spent
        last = time.process_time()  # without what this took
        # Set anew each time, and never so soon that nothing else gets on; again in case it was too soon.
        pause = max(PERIOD_S * chance.uniform(0.4, 1.6), time.perf_counter() - began)
        signal.setitimer(signal.ITIMER_REAL, pause, 10 * PERIOD_S)
        taking = False

    try:
        before = signal.signal(signal.SIGALRM, take)
    except (AttributeError, ValueError) as error:
        raise KouboError("Stacks can be sampled on Linux and macOS only, in the main thread.") from error
    signal.setitimer(signal.ITIMER_REAL, PERIOD_S, 10 * PERIOD_S)
    try:
        yield root
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        for stack, seconds in found.items():
            root.add(_names(stack), seconds)


def _stack(frame: FrameType | None, top: CodeType) -> tuple[CodeType | int, ...] | None:
    """The line, then the code of each function from the innermost to the one below `top`; None outside."""
    # Some instructions of the interpreter's own belong to no line.
    stack: list[CodeType | int] = [frame.f_lineno or 0] if frame is not None else []
    while frame is not None:
        if frame.f_code is top:
            return tuple(stack)
        stack.append(frame.f_code)
        frame = frame.f_back
    return None


def _names(stack: tuple[CodeType | int, ...]) -> list[tuple[str, str]]:
    """(name, place) from the outermost function to the line."""
    codes = [code for code in stack if isinstance(code, CodeType)]
    names = [(code.co_qualname, _short(code.co_filename)) for code in reversed(codes)]
    line = stack[0]
    if codes and isinstance(line, int) and line:
        file = codes[0].co_filename
        names.append((linecache.getline(file, line).strip(), f"{_short(file)}:{line}"))
    return names


def _short(file: str) -> str:
    path = Path(file)
    return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name


def draw_flame(root: Stack, title: str, path: Path) -> None:
    """Write the tree as an SVG that needs no script: what calls above what is called, width is time.

    A box tells its name, its milliseconds and its share where the mouse rests on it. Raises KouboError for a
    tree without time.
    """
    if root.seconds <= 0:
        raise KouboError("No stack was sampled; measure for longer.")
    boxes = list(_boxes(root, root, 0.0, 0))
    rows = 1 + max(row for row, *_ in boxes)
    height = _HEAD + rows * _ROW + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="DejaVu Sans Mono,monospace" font-size="10">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fffdf8"/>',
        f'<text x="{_MARGIN}" y="20" font-size="14">{escape(title)}</text>',
        _legend(),
        *(_drawn(root, *box) for box in boxes),
        "</svg>",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text("\n".join(parts) + "\n", encoding="utf-8")
    part.replace(path)


def _boxes(root: Stack, at: Stack, start: float, row: int) -> Iterator[tuple[int, float, Stack]]:
    """(row, where it begins in seconds, node) of all that are wide enough."""
    yield row, start, at
    for one in sorted(at.below.values(), key=lambda node: -node.seconds):
        if one.seconds >= _LEAST * root.seconds:
            yield from _boxes(root, one, start, row + 1)
        start += one.seconds


def _drawn(root: Stack, row: int, start: float, node: Stack) -> str:
    scale = (_WIDTH - 2 * _MARGIN) / root.seconds
    x, y, width = _MARGIN + start * scale, _HEAD + row * _ROW, node.seconds * scale
    share = 100 * node.seconds / root.seconds
    told = f"{node.name} ({node.place}): {share:.1f} %" if node.place else f"{node.name}: {share:.1f} %"
    letters = int((width - 6) / _LETTER)
    name = node.name if len(node.name) <= letters else node.name[: max(letters - 1, 0)] + "…"
    text = f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(name)}</text>' if letters >= 4 else ""
    return (
        f'<g><title>{escape(told)}</title><rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.3):.1f}" '
        f'height="{_ROW - 1}" rx="2" fill="{_colour(node)}"/>{text}</g>'
    )


def _colour(node: Stack) -> str:
    if ":" in node.place:
        return _LINE
    for folder, colour in _COLOURS.items():
        if node.place.startswith(folder):
            return colour
    return _COLOURS["other"]


def _legend() -> str:
    entries = [*_COLOURS.items(), ("a line of source", _LINE)]
    drawn = []
    for number, (name, colour) in enumerate(entries):
        x = _MARGIN + 130 * number
        drawn.append(f'<rect x="{x}" y="29" width="10" height="10" rx="2" fill="{colour}"/>')
        drawn.append(f'<text x="{x + 14}" y="38">{escape(name)}</text>')
    return "".join(drawn)

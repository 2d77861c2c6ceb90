"""Stacks are sampled where the time goes, and drawn so that any viewer shows them."""

import re
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.errors import KouboError
from tests.alone import alone
from trt_build import flame
from trt_build.flame import Stack, draw_flame, sampled


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(500))


def slow_part() -> None:
    busy(0.12)


def quick_part() -> None:
    busy(0.03)


def work() -> None:
    slow_part()
    quick_part()


def tree() -> Stack:
    root = Stack("all")
    root.add([("one <1>", "engine/picture/a.py"), ("x = y & z", "engine/picture/a.py:3")], 0.6)
    root.add([("one <1>", "engine/picture/a.py")], 0.1)
    root.add([("two", "streaming/b.py")], 0.2999)
    root.add([("never seen", "lib.py")], 0.0001)
    return root


def texts(path: Path) -> list[str]:
    return [
        str(node.text) for node in ElementTree.parse(path).iter() if node.text and node.tag.endswith("text")
    ]


def time_is_found_where_it_is_spent() -> None:
    with sampled(work.__code__) as root:
        work()
    slow, quick = root.below["slow_part"], root.below["quick_part"]
    assert slow.below["busy"].place == "tests/trt_build/test_flame.py"
    assert slow.seconds > 2 * quick.seconds > 0
    assert root.seconds == pytest.approx(sum(one.seconds for one in root.below.values()))


def the_last_node_is_the_line_of_source() -> None:
    with sampled(work.__code__) as root:
        work()
    line = root.below["slow_part"].below["busy"].below["sum(range(500))"]
    assert re.fullmatch(r"tests/trt_build/test_flame.py:\d+", line.place)
    assert not line.below


def a_long_call_counts_in_full() -> None:
    """The signal is seen only once it has returned."""

    def long_call() -> None:
        sorted(range(3_000_000), key=int.__neg__)

    before = time.process_time()
    with sampled(a_long_call_counts_in_full.__code__) as root:
        long_call()
        busy(0.02)
    spent = time.process_time() - before
    long = next(one for name, one in root.below.items() if name.endswith("long_call"))
    assert long.seconds > 0.5 * (spent - 0.02) - 0.01


def samples_never_pile_up_where_the_machine_is_too_slow_for_them() -> None:
    flame.PERIOD_S = 2e-6
    with sampled(work.__code__) as root:
        work()
    assert 1 < root.depth < 20
    assert root.seconds > 0.1


def nothing_is_sampled_outside_of_the_function_or_afterwards() -> None:
    with sampled(work.__code__) as root:
        busy(0.02)
    assert not root.below
    busy(0.02)
    assert root.seconds == 0


@pytest.mark.parametrize(
    "check",
    [
        time_is_found_where_it_is_spent,
        the_last_node_is_the_line_of_source,
        a_long_call_counts_in_full,
        samples_never_pile_up_where_the_machine_is_too_slow_for_them,
        nothing_is_sampled_outside_of_the_function_or_afterwards,
    ],
    ids=lambda check: check.__name__,
)
def test_sampling(check: Callable[[], None]) -> None:
    alone(check)


def test_frames_of_pytorch_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", types.ModuleType("torch._dynamo"))
    with pytest.raises(KouboError, match="process of its own"), sampled(work.__code__):
        work()


def test_only_the_main_thread_can_be_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    found: list[Exception] = []

    def run() -> None:
        try:
            with sampled(work.__code__):
                work()
        except KouboError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "main thread" in str(found[0])


def test_the_drawing_is_whole_and_names_what_it_shows(tmp_path: Path) -> None:
    draw_flame(tree(), "A title & more", tmp_path / "new" / "flame.svg")
    path = tmp_path / "new" / "flame.svg"
    shown = texts(path)
    assert "A title & more" in shown
    assert "one <1>" in shown
    assert "x = y & z" in shown
    assert "never seen" not in path.read_text(), "a box narrower than a hair"
    assert "one <1> (engine/picture/a.py): 70.0 %" in path.read_text().replace("&lt;", "<").replace(
        "&gt;", ">"
    )
    assert "<script" not in path.read_text()
    assert [one.name for one in path.parent.iterdir()] == ["flame.svg"]


def test_boxes_lie_within_what_called_them(tmp_path: Path) -> None:
    draw_flame(tree(), "t", tmp_path / "flame.svg")
    boxes = {}
    for group in ElementTree.parse(tmp_path / "flame.svg").iter("{http://www.w3.org/2000/svg}g"):
        title, box = group[0], group[1]
        boxes[str(title.text)] = {name: float(box.attrib[name]) for name in ("x", "y", "width")}
    caller = next(box for name, box in boxes.items() if name.startswith("one"))
    line = next(box for name, box in boxes.items() if name.startswith("x = y"))
    assert line["y"] > caller["y"]
    assert caller["x"] <= line["x"]
    assert line["x"] + line["width"] <= caller["x"] + caller["width"] + 1
    assert line["width"] == pytest.approx(6 / 7 * caller["width"], rel=0.01)


def test_depth_counts_the_longest_stack() -> None:
    assert tree().depth == 3


def test_nothing_sampled_is_nothing_drawn(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="measure for longer"):
        draw_flame(Stack("all"), "t", tmp_path / "flame.svg")
    assert not list(tmp_path.iterdir())

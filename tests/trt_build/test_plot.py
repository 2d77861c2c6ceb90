import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from engine.errors import MissingToolError
from trt_build.plot import need_matplotlib, plot_capacity, plot_mouth

figure_module = pytest.importorskip("matplotlib.figure")
LADDER = (1, 2, 4, 8, 16, 32, 64)


def report(call: float, face: float, sizes: tuple[int, ...] = LADDER) -> dict[str, Any]:
    batches = {}
    for size in sizes:
        spent = call + face * size
        batches[str(size)] = {
            "ms": {"p50": spent, "p95": 1.1 * spent, "p99": 1.3 * spent},
            "per_second": 1000 * size / spent,
        }
    return {"precision": "f16", "batches": batches}


MOUTH = {
    "model": "lite192",
    "runtimes": {"tensorrt": report(0.4, 0.05), "openvino": report(0.2, 3.3, (1,))},
    "roofline": [{"batch": size, "floor": 0.002 * size} for size in LADDER],
}

CAPACITY = {
    "model": "lite192",
    "runtime": "tensorrt",
    "precision": "f16",
    "streams": 96,
    "steps": [
        {"streams": n, "delay_ms": {"p50": n / 4, "p95": n / 3, "p99": n / 2.6}, "failure": failure}
        for n, failure in ((16, ""), (32, ""), (64, ""), (96, ""), (112, "late"), (128, "late"))
    ],
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were written, to look into."""
    figures: list[Any] = []
    save = figure_module.Figure.savefig

    def keep(figure: Any, *args: Any, **kwargs: Any) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(figure_module.Figure, "savefig", keep)
    return figures


@pytest.mark.parametrize(("plot", "figures"), [(plot_mouth, MOUTH), (plot_capacity, CAPACITY)])
def test_a_png_of_sane_size_is_written(
    tmp_path: Path, plot: Callable[[dict[str, Any], str, Path], None], figures: dict[str, Any]
) -> None:
    path = tmp_path / "new" / "plot.png"
    plot(figures, "NVIDIA H200", path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = cv2.imread(str(path))
    assert picture is not None
    height, width = picture.shape[:2]
    assert 1000 < width < 2000
    assert 600 < height < 1000
    # Something is drawn, in colour, on white.
    assert 0.005 < (picture.min(axis=2) < 200).mean() < 0.4
    assert (picture.max(axis=2) - picture.min(axis=2)).max() > 100
    assert [file.name for file in path.parent.iterdir()] == ["plot.png"]


def test_the_plot_of_a_mouth_names_what_it_shows(tmp_path: Path, drawn: list[Any]) -> None:
    plot_mouth(MOUTH, "NVIDIA H200", tmp_path / "plot.png")
    (figure,) = drawn
    left, right = figure.axes
    assert left.get_ylabel() == "a call, ms (p50, band to p99)"
    assert right.get_ylabel() == "pictures a second"
    assert left.get_xlabel() == right.get_xlabel() == "faces a call"
    assert figure.get_suptitle() == "lite192: one call of the live half\nNVIDIA H200"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "tensorrt f16: from 0.45 ms, up to 17,778 a second",
        "openvino f16: from 3.5 ms, up to 286 a second",
        "limit of the card",
    ]
    assert any("40 ms" in text.get_text() for text in left.texts)


def test_the_band_reaches_from_the_median_to_p99(tmp_path: Path, drawn: list[Any]) -> None:
    plot_mouth(MOUTH, "NVIDIA H200", tmp_path / "plot.png")
    left = drawn[0].axes[0]
    band = left.collections[0].get_paths()[0].vertices
    at_64 = band[band[:, 0] == 64][:, 1]
    assert at_64.min() == pytest.approx(3.6)
    assert at_64.max() == pytest.approx(1.3 * 3.6)
    low, high = left.get_ylim()
    assert low < 0.45
    assert high > 40


def test_without_a_roofline_there_is_no_limit(tmp_path: Path, drawn: list[Any]) -> None:
    plot_mouth(MOUTH | {"roofline": None}, "a processor", tmp_path / "plot.png")
    assert len(drawn[0].legends[0].get_texts()) == 2


def test_one_runtime_with_one_batch_is_drawn_too(tmp_path: Path, drawn: list[Any]) -> None:
    plot_mouth({"model": "m", "runtimes": {"openvino": report(0, 3, (1,))}}, "here", tmp_path / "plot.png")
    (right,) = drawn[0].axes[1:]
    low, high = right.get_ylim()
    assert high / low > 2


def test_the_plot_of_a_card_shows_the_deadline(tmp_path: Path, drawn: list[Any]) -> None:
    plot_capacity(CAPACITY, "NVIDIA H200", tmp_path / "plot.png")
    (axes,) = drawn[0].axes
    assert axes.get_title() == "lite192, tensorrt f16: 96 streams in time\nNVIDIA H200"
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["in time"].get_xdata()) == [16, 32, 64, 96]
    assert list(lines["late, or the queue grows"].get_xdata()) == [112, 128]
    assert any(list(line.get_ydata()) == [40, 40] for line in axes.lines)
    assert "40 ms" in [text.get_text() for text in axes.texts]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()][:2] == ["p50", "p99"]


def test_a_card_that_carries_none_is_drawn_too(tmp_path: Path) -> None:
    steps = [
        {"streams": n, "delay_ms": {"p50": 50, "p95": 60, "p99": 70 * n}, "failure": "late"} for n in (1, 2)
    ]
    plot_capacity(CAPACITY | {"streams": 0, "steps": steps}, "here", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()


def test_without_matplotlib_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingToolError, match=r"pip install 'koubo\[bench\]'"):
        need_matplotlib()

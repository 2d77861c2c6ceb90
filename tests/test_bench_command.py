import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commands.bench import app
from engine.anchor.package import shipped_mouth
from engine.errors import KouboError, MissingToolError
from engine.mouth.batches import LADDER
from engine.mouth.gpu import Gpu
from engine.mouth.runtime import MouthRuntime
from tests.fakes import FakeMouth
from tests.simulated_clock import SimulatedClock, TimedMouth
from tests.tiny_mouth import write_tiny_mouth

H200 = Gpu(0, "NVIDIA H200", "9.0", "580.65.06", 141 << 30)
NO_GPU = "This machine has no NVIDIA driver; install one to use its GPU."


def koubo_bench(*words: object) -> Result:
    """The command as it is typed; a KouboError is raised, as the program's main catches it."""
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def figures(*words: object) -> dict[str, Any]:
    done = koubo_bench(*words, "--json")
    assert done.exit_code == 0, done.output
    content: dict[str, Any] = json.loads(done.stdout)
    return content


class NamedMouth(FakeMouth):
    def __init__(self, name: str) -> None:
        super().__init__(8)
        self.name = name


@pytest.fixture
def mouth(tmp_path: Path) -> Path:
    return write_tiny_mouth(tmp_path / "tiny", 8)


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], MouthRuntime] | str]:
    """How each runtime is opened here: a function, or the reason why it is not. No GPU."""
    present: dict[str, Callable[[], MouthRuntime] | str] = {
        "tensorrt": "Install 'koubo[gpu]' for TensorRT.",
        "torch": NO_GPU,
        "openvino": lambda: NamedMouth("openvino"),
    }

    def open_runtime(name: str, folder: Path) -> MouthRuntime:
        found = present.get(name, f"There is no runtime {name!r}.")
        if isinstance(found, str):
            raise MissingToolError(found)
        return found()

    def no_gpu() -> Gpu:
        raise MissingToolError(NO_GPU)

    monkeypatch.setattr("engine.mouth.choose.RUNTIMES", ("tensorrt", "torch", "openvino"))
    monkeypatch.setattr("engine.mouth.choose.open_runtime", open_runtime)
    for module in ("engine.mouth.gpu", "trt_build.runs"):
        monkeypatch.setattr(f"{module}.find_gpu", no_gpu)
    return present


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, runtimes: dict[str, Any]) -> SimulatedClock:
    """A card in simulated time, on which 64 streams are drawn in time by one worker, 56 by two."""
    clock = SimulatedClock()
    runtimes["torch"] = lambda: TimedMouth(clock, 0.004, 0.0005)
    for module in ("engine.mouth.gpu", "trt_build.runs"):
        monkeypatch.setattr(f"{module}.find_gpu", lambda: H200)
    monkeypatch.setattr("trt_build.capacity.WallClock", lambda: clock)
    return clock


@pytest.mark.usefixtures("runtimes")
def test_the_best_runtime_is_measured_by_itself(mouth: Path) -> None:
    found = figures("mouth", "--mouth", mouth, "--frames", 10)
    assert (found["model"], found["runtime"], found["precision"]) == ("tiny", "openvino", "u8")
    assert 0 < found["ms_per_frame"]["p50"] <= found["ms_per_frame"]["p99"]
    assert list(found["runtimes"]["openvino"]["batches"]) == ["1"]
    assert found["absent"] == {"tensorrt": "Install 'koubo[gpu]' for TensorRT.", "torch": NO_GPU}


def test_all_runtimes_with_the_batches_that_were_asked_for(mouth: Path, runtimes: dict[str, Any]) -> None:
    runtimes["torch"] = lambda: NamedMouth("torch")
    found = figures("mouth", "--model", mouth, "--runtime", "all", "--batch", "1,3", "--frames", 10)
    assert found["runtime"] == "torch"
    assert {name: list(report["batches"]) for name, report in found["runtimes"].items()} == {
        "torch": ["1", "3"],
        "openvino": ["1", "3"],
    }


@pytest.mark.usefixtures("runtimes")
def test_a_runtime_that_is_not_there_is_told(mouth: Path) -> None:
    with pytest.raises(KouboError, match="no NVIDIA driver"):
        koubo_bench("mouth", "--mouth", mouth, "--runtime", "torch")


@pytest.mark.usefixtures("runtimes")
def test_the_cost_of_a_picture_is_beside_the_figures(mouth: Path) -> None:
    found = figures("mouth", "--mouth", mouth, "--frames", 10)
    assert found["cost"]["map_bytes"] > 0
    assert found["roofline"] is None
    assert found["no_roofline"] == NO_GPU


@pytest.mark.usefixtures("runtimes")
def test_the_table_lists_what_is_absent_and_why(mouth: Path) -> None:
    shown = koubo_bench("mouth", "--mouth", mouth, "--frames", 10).stdout
    assert "openvino u8" in shown
    # The brackets are no markup.
    assert "no tensorrt: Install 'koubo[gpu]' for TensorRT." in shown
    assert f"no torch, roofline: {NO_GPU}" in shown


@pytest.mark.parametrize(
    ("batch", "hint"), [("1,two", "no list of numbers"), ("0", "out of range"), ("1,65", "1 to 64 faces")]
)
@pytest.mark.usefixtures("runtimes")
def test_batches_that_cannot_be_are_told(mouth: Path, batch: str, hint: str) -> None:
    with pytest.raises(KouboError, match=hint):
        koubo_bench("mouth", "--mouth", mouth, "--batch", batch)


def test_an_unknown_mouth_is_told() -> None:
    for command in ("mouth", "gpu"):
        with pytest.raises(KouboError, match="no mouth called giant"):
            koubo_bench(command, "--model", "giant")


@pytest.mark.usefixtures("runtimes")
def test_a_run_is_saved_and_compared(mouth: Path, tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    first = koubo_bench("mouth", "--mouth", mouth, "--frames", 10, "--save", saved)
    assert str(saved) in first.stdout.replace("\n", "")
    run = json.loads(saved.read_text())
    assert run["command"] == "bench mouth"
    # Then everything took a thousand times as long, on another processor.
    for step in run["figures"]["runtimes"]["openvino"]["batches"].values():
        step["ms"] = {name: 1000 * value for name, value in step["ms"].items()}
    run["machine"]["cpu"] = "an abacus"
    saved.write_text(json.dumps(run))
    shown = koubo_bench("mouth", "--mouth", mouth, "--frames", 10, "--against", saved).stdout
    assert "better" in shown
    assert "other cpu: an abacus ->" in shown
    against = figures("mouth", "--mouth", mouth, "--frames", 10, "--against", saved)["against"]
    names = {change["figure"]: change["verdict"] for change in against}
    assert names["runtimes.openvino.batches.1.ms.p50"] == "better"


@pytest.mark.parametrize("option", ["--against", "--plot", "--save"])
def test_what_cannot_be_done_is_told_before_anything_is_measured(
    mouth: Path, tmp_path: Path, runtimes: dict[str, Any], option: str
) -> None:
    runtimes["openvino"] = lambda: pytest.fail("measured for nothing")
    with pytest.raises(KouboError):
        koubo_bench("mouth", "--mouth", mouth, option, tmp_path)


def test_without_matplotlib_nothing_is_measured_for_a_plot(
    mouth: Path, tmp_path: Path, runtimes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    runtimes["openvino"] = lambda: pytest.fail("measured for nothing")
    with pytest.raises(KouboError, match="Plots need matplotlib"):
        koubo_bench("mouth", "--mouth", mouth, "--plot", tmp_path / "m.png")


@pytest.mark.usefixtures("runtimes")
def test_a_run_is_drawn(mouth: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    koubo_bench("mouth", "--mouth", mouth, "--frames", 10, "--batch", "1,2", "--plot", tmp_path / "m.png")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("runtimes")
def test_without_a_gpu_its_bench_says_so(mouth: Path) -> None:
    with pytest.raises(KouboError) as told:
        koubo_bench("gpu", "--mouth", mouth)
    assert str(told.value) == NO_GPU


@pytest.mark.usefixtures("gpu")
def test_the_streams_of_a_card_are_counted(mouth: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    saved, drawn = tmp_path / "run.json", tmp_path / "c.png"
    found = figures("gpu", "--mouth", mouth, "--workers", 1, "--save", saved, "--plot", drawn)
    assert found["streams"] == pytest.approx(64, rel=0.03)
    assert (found["gpu"], found["runtime"], found["model"]) == ("NVIDIA H200", "fake", "tiny")
    assert found["delay_ms"]["p99"] < 40
    assert found["roofline"][-1]["batch"] == 64
    assert found["roofline"][-1]["streams"] > found["streams"]
    assert found["absent"] == {"tensorrt": "Install 'koubo[gpu]' for TensorRT."}
    assert json.loads(saved.read_text())["figures"]["streams"] == found["streams"]
    assert drawn.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("gpu")
def test_two_workers_wait_for_each_other_on_one_card(mouth: Path) -> None:
    done = koubo_bench("gpu", "--mouth", mouth)
    assert "p99 is" in done.stdout
    assert "streams in time." in done.stdout
    assert "No program on an NVIDIA H200 beats" in done.stdout
    assert figures("gpu", "--mouth", mouth)["streams"] == pytest.approx(56, abs=2)


def test_a_card_without_a_runtime_gives_the_reasons(
    mouth: Path, gpu: SimulatedClock, runtimes: dict[str, Any]
) -> None:
    runtimes["torch"] = "PyTorch is not installed."
    with pytest.raises(KouboError, match=r"for TensorRT\. PyTorch is not installed\."):
        koubo_bench("gpu", "--mouth", mouth)


def test_the_limits_of_a_card_that_is_elsewhere_are_told(mouth: Path) -> None:
    found = figures("mouth", "--mouth", mouth, "--card", "NVIDIA L4", "--frames", "10")
    assert found["card"] == "NVIDIA L4"
    assert [line["batch"] for line in found["roofline"]] == list(LADDER)
    with pytest.raises(KouboError, match="NVIDIA L4"):
        koubo_bench("mouth", "--mouth", mouth, "--card", "Voodoo 2")


def test_a_card_that_nobody_knows_has_no_roofline(
    mouth: Path, gpu: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Gpu(0, "NVIDIA Z1000", "20.0", "999", 1 << 40)
    monkeypatch.setattr("engine.mouth.gpu.find_gpu", lambda: unknown)
    found = figures("gpu", "--mouth", mouth)
    assert found["roofline"] is None
    assert found["no_roofline"] == "The peak of NVIDIA Z1000 is not in Koubo's table."


def test_the_measure_can_be_tried_on_a_cpu_and_says_so(
    mouth: Path, gpu: SimulatedClock, runtimes: dict[str, Any]
) -> None:
    runtimes["openvino"] = lambda: TimedMouth(gpu, 0.0, 0.004)
    done = koubo_bench("gpu", "--mouth", mouth, "--runtime", "openvino")
    assert "not those of a GPU" in done.stderr
    assert "tiny on the processor" in done.stdout
    found = figures("gpu", "--mouth", mouth, "--runtime", "openvino")
    assert found["gpu"] is None
    assert found["roofline"] is None
    # 250 faces a second are ten streams, at which there is no time to spare.
    assert 8 <= found["streams"] <= 10


def test_a_run_of_another_bench_is_no_measure_for_this_one(
    mouth: Path, tmp_path: Path, runtimes: dict[str, Any]
) -> None:
    saved = tmp_path / "run.json"
    koubo_bench("mouth", "--mouth", mouth, "--frames", 10, "--save", saved)
    with pytest.raises(KouboError, match="is a run of `koubo bench mouth`"):
        koubo_bench("live", "--against", saved)


@pytest.mark.gpu
def test_on_a_real_card() -> None:
    from engine.mouth.choose import open_runtime
    from engine.mouth.gpu import find_gpu

    try:
        card = find_gpu()
        open_runtime("torch", shipped_mouth("lite192"))
    except KouboError as error:
        pytest.skip(str(error))
    found = figures("mouth", "--runtime", "torch", "--batch", "1,64", "--frames", 50)
    single, full = (found["runtimes"]["torch"]["batches"][size] for size in ("1", "64"))
    assert single["ms"]["p50"] < 20
    assert full["per_second"] > 5 * single["per_second"]
    for line in found["roofline"] or ():
        if str(line["batch"]) == "64":
            assert full["ms"]["p50"] > line["floor"]
    found = figures("gpu", "--runtime", "torch", "--seconds", 1)
    assert found["gpu"] == card.name
    assert 16 < found["streams"] < 1e5
    assert found["delay_ms"]["p99"] < 40


@pytest.mark.parametrize("region", ["1,2", "a,b,c,d", "9,0,4,4", "0,0,5000,5000"])
def test_a_region_that_is_none_is_told(runtimes: dict[str, object], region: str, tmp_path: Path) -> None:
    folder = write_tiny_mouth(tmp_path / "mouth", 8)
    with pytest.raises(KouboError, match="--region"):
        koubo_bench("mouth", "--mouth", folder, "--runtime", "openvino", "--region", region)

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import AvatarError, KouboError, MissingToolError
from engine.mouth import choose as module
from engine.mouth.choose import AUTO, OPENERS, RUNTIMES, Choice, choose, open_runtime
from engine.mouth.engines import EngineUnusable
from engine.mouth.runtime import MouthRuntime
from tests.fakes import FakeMouth
from tests.tiny_mouth import write_tiny_mouth

MOUTH = Path("mouth")
Set = Callable[..., None]


class Named(FakeMouth):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


@pytest.fixture
def openers(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Sets what each runtime does when it is opened: an error to raise, or None to open."""

    def set_all(**what: KouboError | None) -> None:
        for name in RUNTIMES:
            error = what.get(name)

            def open_it(mouth: Path, name: str = name, error: KouboError | None = error) -> MouthRuntime:
                if error is not None:
                    raise error
                return Named(name)

            monkeypatch.setitem(OPENERS, name, open_it)

    return set_all


def test_the_best_that_works_is_chosen(openers: Set) -> None:
    openers()
    choice = choose(MOUTH)
    assert choice.runtime.name == "tensorrt"
    assert choice.passed_over == {}


def test_what_does_not_work_is_passed_over_with_its_reason(openers: Set) -> None:
    openers(tensorrt=MissingToolError("No TensorRT."), torch=KouboError("The GPU's memory is full."))
    choice = choose(MOUTH)
    assert choice.runtime.name == "openvino"
    assert choice.passed_over == {"tensorrt": "No TensorRT.", "torch": "The GPU's memory is full."}
    assert "openvino" in choice.sentence
    assert "No TensorRT." in choice.sentence


def test_a_runtime_asked_for_is_not_replaced(openers: Set) -> None:
    openers(torch=MissingToolError("No torch."))
    with pytest.raises(MissingToolError, match="No torch"):
        choose(MOUTH, "torch")
    assert choose(MOUTH, "openvino").runtime.name == "openvino"


def test_when_nothing_works_the_last_reason_is_told(openers: Set) -> None:
    gone = MissingToolError("gone")
    openers(tensorrt=gone, torch=gone, openvino=MissingToolError("No processor."))
    with pytest.raises(MissingToolError, match="No processor"):
        choose(MOUTH)


@pytest.mark.parametrize("wanted", [AUTO, "tensorrt"])
def test_a_damaged_mouth_is_not_hidden_by_another_runtime(openers: Set, wanted: str) -> None:
    openers(tensorrt=AvatarError("The mouth is damaged."))
    with pytest.raises(AvatarError, match="damaged"):
        choose(MOUTH, wanted)


def test_an_unknown_runtime_is_told_with_the_known_ones() -> None:
    with pytest.raises(KouboError, match="auto, tensorrt, torch, openvino"):
        open_runtime("abacus", MOUTH)


class Builder:
    """Builds engines: from the second opening on TensorRT works, unless it fails."""

    def __init__(self, error: KouboError | None = None) -> None:
        self.built: list[Path] = []
        self.error = error

    def __call__(self, mouth: Path) -> None:
        self.built.append(mouth)
        if self.error:
            raise self.error

    def opener(self, mouth: Path) -> MouthRuntime:
        if not self.built:
            raise EngineUnusable("The engine was built for another card.")
        return Named("tensorrt")


@pytest.mark.parametrize("wanted", [AUTO, "tensorrt"])
def test_an_engine_that_cannot_be_used_is_built_anew_and_told(
    openers: Set, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    openers()
    builder = Builder()
    monkeypatch.setitem(OPENERS, "tensorrt", builder.opener)
    told: list[str] = []
    assert choose(MOUTH, wanted, build=builder, tell=told.append).runtime.name == "tensorrt"
    assert builder.built == [MOUTH]
    assert len(told) == 1
    assert "another card" in told[0]


def test_without_a_builder_it_counts_as_not_there(openers: Set) -> None:
    openers(tensorrt=EngineUnusable("There is no engine yet."))
    choice = choose(MOUTH)
    assert choice.runtime.name == "torch"
    assert choice.passed_over == {"tensorrt": "There is no engine yet."}


def test_a_build_that_fails_is_a_reason_like_any_other(openers: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    openers()
    builder = Builder(KouboError("TensorRT could not build."))
    monkeypatch.setitem(OPENERS, "tensorrt", builder.opener)
    choice = choose(MOUTH, build=builder)
    assert choice.runtime.name == "torch"
    assert "could not build" in choice.passed_over["tensorrt"]


def test_an_engine_is_built_once_only(openers: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    openers()

    def never(mouth: Path) -> MouthRuntime:
        raise EngineUnusable("TensorRT refuses it.")

    monkeypatch.setitem(OPENERS, "tensorrt", never)
    builder = Builder()
    assert choose(MOUTH, build=builder).runtime.name == "torch"
    assert len(builder.built) == 1


def test_without_a_gpu_the_processor_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise MissingToolError("This machine has no NVIDIA driver.")

    monkeypatch.setattr(module, "find_gpu", none)
    choice = choose(write_tiny_mouth(tmp_path, 48))
    assert choice.runtime.name == "openvino"
    assert set(choice.passed_over) == {"tensorrt", "torch"}
    assert all("no NVIDIA driver" in reason for reason in choice.passed_over.values())


def test_the_sentence_is_short_when_there_is_nothing_to_explain() -> None:
    assert Choice(Named("tensorrt"), {}).sentence == "The mouth runs on tensorrt in u8."


def test_the_same_reason_is_told_once() -> None:
    choice = Choice(Named("openvino"), {"tensorrt": "No driver.", "torch": "No driver."})
    assert choice.sentence == "The mouth runs on openvino in u8. Not on tensorrt or torch: No driver."

"""Which runtime draws the mouth: the one that is asked for, or the best that works on this machine."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import AvatarError, KouboError
from engine.mouth.engines import EngineUnusable
from engine.mouth.gpu import find_gpu
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.runtime import MouthRuntime

logger = logging.getLogger(__name__)

AUTO = "auto"


def _tensorrt(mouth: Path) -> MouthRuntime:
    from engine.mouth.tensorrt import TensorRtMouth

    return TensorRtMouth(mouth, gpu=find_gpu())


def _torch(mouth: Path) -> MouthRuntime:
    # Asked first, because importing PyTorch takes seconds.
    find_gpu()
    from engine.mouth.torch_cuda import TorchMouth

    return TorchMouth(mouth)


def _openvino(mouth: Path) -> MouthRuntime:
    return OpenVinoMouth(mouth)


Opener = Callable[[Path], MouthRuntime]

OPENERS: dict[str, Opener] = {"tensorrt": _tensorrt, "torch": _torch, "openvino": _openvino}
"""How each runtime is opened, best first: TensorRT and PyTorch on a GPU, OpenVINO on the processor."""

RUNTIMES = tuple(OPENERS)


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime, and why no better one: the reason of each runtime that was passed over."""

    runtime: MouthRuntime
    passed_over: dict[str, str]

    @property
    def sentence(self) -> str:
        """What was chosen and why, such as "The mouth runs on openvino in bf16. Not on torch: ..."."""
        names: dict[str, list[str]] = {}
        for name, reason in self.passed_over.items():
            names.setdefault(reason, []).append(name)
        reasons = [f"Not on {' or '.join(alike)}: {reason}" for reason, alike in names.items()]
        return " ".join([f"The mouth runs on {self.runtime.name} in {self.runtime.precision}.", *reasons])


def open_runtime(name: str, mouth: Path) -> MouthRuntime:
    """The runtime called `name` for the mouth in a folder. Raises KouboError: why it cannot be had."""
    if name not in OPENERS:
        raise KouboError(f"There is no runtime {name!r}; choose {', '.join((AUTO, *RUNTIMES))}.")
    return OPENERS[name](mouth)


def choose(
    mouth: Path,
    wanted: str = AUTO,
    *,
    build: Callable[[Path], None] | None = None,
    tell: Callable[[str], None] = logger.info,
) -> Choice:
    """The runtime `wanted` for the mouth in a folder; AUTO: the best that works here.

    `build` makes the TensorRT engines that are missing, foreign or damaged; without it they count as not
    there. `tell` hears of it. Raises KouboError when the runtime asked for, or the mouth, is unusable.
    """
    passed_over: dict[str, str] = {}
    for name in RUNTIMES if wanted == AUTO else (wanted,):
        try:
            return Choice(_open(name, mouth, build, tell), passed_over)
        except AvatarError:  # the mouth itself is damaged: no other runtime would draw it
            raise
        except KouboError as error:
            if name in (wanted, RUNTIMES[-1]):
                raise
            passed_over[name] = str(error)
    raise AssertionError  # the last runtime was opened or raised


def _open(
    name: str, mouth: Path, build: Callable[[Path], None] | None, tell: Callable[[str], None]
) -> MouthRuntime:
    try:
        return open_runtime(name, mouth)
    except EngineUnusable as error:
        if build is None:
            raise
        tell(f"{error} This happens now by itself, once; it takes a few minutes.")
    build(mouth)
    return open_runtime(name, mouth)

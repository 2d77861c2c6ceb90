"""Which GPU there is, asked of a fake driver library, and of the real one if there is one."""

import os
import sys
from typing import Any

import pytest

from engine.errors import MissingToolError
from engine.mouth.gpu import Gpu, find_gpu


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


class Memory:
    total = 24 << 30


class FakeNvml:
    """pynvml on a machine with these GPUs; `fails` is the call that the driver does not answer."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_NotSupported

    def __init__(self, *names: str | bytes, fails: str = "", shared_memory: bool = False) -> None:
        self.names = names
        self.fails = fails
        self.shared_memory = shared_memory
        self.open = 0

    def nvmlInit(self) -> None:
        self._answer("nvmlInit")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        self._answer("nvmlDeviceGetCount")
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str | bytes:
        self._answer("nvmlDeviceGetHandleByIndex")
        return self.names[index]

    def nvmlDeviceGetCudaComputeCapability(self, handle: str | bytes) -> list[int]:
        self._answer("nvmlDeviceGetCudaComputeCapability")
        return [8, 6]

    def nvmlDeviceGetName(self, handle: str | bytes) -> str | bytes:
        self._answer("nvmlDeviceGetName")
        return handle

    def nvmlSystemGetDriverVersion(self) -> str | bytes:
        self._answer("nvmlSystemGetDriverVersion")
        return b"580.65.06" if isinstance(self.names[0], bytes) else "580.65.06"

    def nvmlDeviceGetMemoryInfo(self, handle: str | bytes) -> Memory:
        self._answer("nvmlDeviceGetMemoryInfo")
        if self.shared_memory:
            raise NVMLError_NotSupported("Not Supported")
        return Memory()

    def _answer(self, call: str) -> None:
        assert self.open or call == "nvmlInit"
        if call == self.fails:
            raise NVMLError("Unknown Error")


CALLS = [name for name in vars(FakeNvml) if name.startswith("nvml")]


@pytest.mark.parametrize("name", ["NVIDIA A10", b"NVIDIA A10"])
def test_the_first_gpu_is_described(name: str | bytes) -> None:
    nvml = FakeNvml(name, "NVIDIA T4")
    assert find_gpu(nvml) == Gpu(0, "NVIDIA A10", "8.6", "580.65.06", 24 << 30)
    assert nvml.open == 0


def test_a_gpu_that_shares_the_memory_of_the_machine() -> None:
    gpu = find_gpu(FakeNvml("NVIDIA GB10", shared_memory=True))
    assert gpu.memory == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_no_gpu_is_told() -> None:
    nvml = FakeNvml()
    with pytest.raises(MissingToolError, match="sees no GPU"):
        find_gpu(nvml)
    assert nvml.open == 0


def test_no_driver_is_told() -> None:
    with pytest.raises(MissingToolError, match="has no NVIDIA driver"):
        find_gpu(FakeNvml("NVIDIA A10", fails="nvmlInit"))


@pytest.mark.parametrize("call", [call for call in CALLS if call not in ("nvmlInit", "nvmlShutdown")])
def test_a_driver_that_does_not_answer_is_told(call: str) -> None:
    nvml = FakeNvml("NVIDIA A10", fails=call)
    with pytest.raises(MissingToolError, match=r"gives no answer \(Unknown Error\)") as caught:
        find_gpu(nvml)
    assert nvml.open == 0
    assert "\n" not in str(caught.value)


def test_without_the_library_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MissingToolError, match=r"pip install 'koubo\[gpu\]'"):
        find_gpu()


def test_the_real_library_has_every_name() -> None:
    real: Any = pytest.importorskip("pynvml")
    assert [name for name in CALLS if not hasattr(real, name)] == []
    assert issubclass(real.NVMLError_NotSupported, real.NVMLError)


def test_the_real_driver_answers_or_is_missing() -> None:
    pytest.importorskip("pynvml")
    try:
        found = str(find_gpu())
    except MissingToolError as error:
        found = str(error)
    assert "NVIDIA" in found

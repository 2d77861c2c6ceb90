"""Which GPU this machine has, asked of its driver (NVML), without starting CUDA."""

import os
from dataclasses import dataclass
from typing import Any

from engine.errors import MissingToolError

NOT_INSTALLED = "GPU support is not installed; install it with `pip install 'koubo[gpu]'`."


@dataclass(frozen=True, slots=True)
class Gpu:
    """An NVIDIA GPU: `capability` such as "9.0", `driver` such as "580.65.06", `memory` in bytes.

    Where GPU and processor share their memory, it is all that the machine has.
    """

    index: int
    name: str
    capability: str
    driver: str
    memory: int


def find_gpu(nvml: Any = None) -> Gpu:
    """The first GPU. Raises MissingToolError, which says what is missing; `nvml` stands in for pynvml."""
    nvml = nvml or _nvml()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise MissingToolError(
            f"This machine has no NVIDIA driver ({error}); install one to use its GPU."
        ) from error
    try:
        if nvml.nvmlDeviceGetCount() == 0:
            raise MissingToolError("The NVIDIA driver sees no GPU; check that the card is free and visible.")
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        return Gpu(
            0,
            _text(nvml.nvmlDeviceGetName(handle)),
            f"{major}.{minor}",
            _text(nvml.nvmlSystemGetDriverVersion()),
            _memory(nvml, handle),
        )
    except nvml.NVMLError as error:
        raise MissingToolError(
            f"The NVIDIA driver gives no answer ({error}); restart the machine or mend the driver."
        ) from error
    finally:
        nvml.nvmlShutdown()


def _memory(nvml: Any, handle: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError_NotSupported:  # it has none of its own
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _nvml() -> Any:
    try:
        import pynvml
    except ImportError as error:
        raise MissingToolError(NOT_INSTALLED) from error
    return pynvml


def _text(value: str | bytes) -> str:
    # Older releases of the library answer in bytes.
    return value.decode() if isinstance(value, bytes) else value

"""A mouth's ONNX files to TensorRT engines for this machine's GPU: one way for TensorRT 10 and 11."""

import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import AvatarError, KouboError, MissingToolError
from engine.mouth.batches import PROFILES
from engine.mouth.cuda import CudaDevice, Device
from engine.mouth.engines import (
    ADVICE,
    EngineKey,
    EngineStore,
    EngineUnusable,
    engine_key,
    report_path,
    write_whole,
)
from engine.mouth.gpu import Gpu
from engine.mouth.tensorrt import load_tensorrt, logger_for
from trt_build.monitor import Phases, monitor
from trt_build.plan import PARTS, check
from trt_build.report import Report, first, inspect, read_report

Progress = Callable[[str, float, dict[str, float]], None]
"""Told what is being built, the share done (0 to 1), and nothing more so far."""

LEVELS = range(6)
"""TensorRT's optimisation levels: 0 builds fastest, 5 tries most; its own default is 3."""

_OLDEST = (10, 16)
_WORKSPACE = 4 << 30
_TELL_EVERY = 0.05


@dataclass(frozen=True, slots=True)
class Built:
    """An engine of one part: `why` it was built, or None when a good one was there already.

    `seconds` and `bytes` of the build and the engine; `report` None and a note where there could be none.
    """

    part: str
    engine: Path
    why: str | None
    seconds: float
    bytes: int
    report: Report | None
    notes: tuple[str, ...] = ()


def build(
    mouth: Path,
    gpu: Gpu,
    *,
    store: EngineStore | None = None,
    trt: Any = None,
    device: Device | None = None,
    force: bool = False,
    level: int | None = None,
    progress: Progress | None = None,
) -> list[Built]:
    """Engines of both parts of the mouth in the folder `mouth` for `gpu`; good ones are kept.

    `force` builds anew, and so does a `level` (LEVELS), since no engine remembers its own. `trt` stands in
    for the module tensorrt; then CUDA is left alone but for a `device` that is given too. Raises
    MissingToolError (no TensorRT, an old one, or no CUDA), AvatarError (no mouth, or TensorRT refuses it),
    KouboError (the build fails). Ctrl-C leaves nothing half-written.
    """
    real = trt is None
    trt = trt or tensorrt_to_build()
    store = store or EngineStore()
    built = []
    for part in PARTS:
        key = engine_key(mouth, part, gpu, str(trt.__version__))
        try:
            plan = store.load(key)
            why = "A new one was asked for." if force or level is not None else None
        except EngineUnusable as error:
            why = str(error).replace(f"; {ADVICE}", "")
        if why is None:
            path = store.path(key)
            built.append(Built(part, path, None, 0.0, len(plan), read_report(report_path(path))))
        else:
            check(mouth, part)
            if real and device is None:
                device = CudaDevice(gpu)
            task = _Task(trt, device, mouth / f"{part}.onnx", key, gpu, store, level)
            built.append(task.run(why, progress or _tell_nobody))
    return built


def tensorrt_to_build() -> Any:
    """The module tensorrt. Raises MissingToolError: not installed, without its libraries, or too old."""
    trt = load_tensorrt()
    if tuple(int(number) for number in trt.__version__.split(".")[:2]) < _OLDEST:
        raise MissingToolError(
            f"TensorRT {trt.__version__} is too old, Koubo needs {'.'.join(map(str, _OLDEST))} or newer; "
            "update it with `pip install --upgrade 'koubo[gpu]'`."
        )
    return trt


def parse(mouth: Path, trt: Any) -> None:
    """Has TensorRT's own parser read both parts. Raises MissingToolError, AvatarError as `build` does."""
    for part in PARTS:
        logger = logger_for(trt)
        _parse(trt, logger, _builder(trt, logger), mouth / f"{part}.onnx")


@dataclass(frozen=True, slots=True)
class _Task:
    """One engine to build."""

    trt: Any
    device: Device | None
    model: Path
    key: EngineKey
    gpu: Gpu
    store: EngineStore
    level: int | None

    def run(self, why: str, progress: Progress) -> Built:
        """Builds, and tells how far it is. Ctrl-C gives up."""
        what = self.key.part.replace("_", " ")
        phases = Phases()
        # TensorRT works in a thread of its own, so that Ctrl-C here never breaks into its C++.
        with ThreadPoolExecutor(1) as pool:
            building = pool.submit(self._build, why, phases)
            try:
                while not wait([building], _TELL_EVERY).done:
                    progress(what, phases.share, {})
            finally:
                phases.stopped.set()
        built = building.result()
        progress(what, 1.0, {})
        return built

    def _build(self, why: str, phases: Phases) -> Built:
        if self.device is not None:
            self.device.activate()
        started = time.monotonic()
        logger = logger_for(self.trt)
        builder = _builder(self.trt, logger)
        network = _parse(self.trt, logger, builder, self.model)
        config = self._config(builder)
        self._add_profiles(builder, network, config)
        notes = self._read_timings(config)
        config.progress_monitor = monitor(self.trt, phases)
        serialized = builder.build_serialized_network(network, config)
        if serialized is None:
            raise KouboError(
                f"TensorRT {self.key.tensorrt} could not build {self.model} for {self.key.gpu} "
                f"({first(logger.errors)}); free memory on the GPU, or update TensorRT and the driver."
            )
        plan = bytes(memoryview(serialized))
        path = self.store.save(self.key, plan)
        timings = config.get_timing_cache()
        if timings is not None:
            _write_timings(self._timings, bytes(memoryview(timings.serialize())))
        seconds = time.monotonic() - started
        report: Report | None = None
        try:
            report = inspect(self.trt, logger, plan)
        except KouboError as error:
            notes = (*notes, str(error))
        if report is not None:
            facts = {"key": asdict(self.key), "seconds": round(seconds, 1), "level": self.level}
            write_whole(report_path(path), json.dumps(facts | asdict(report), indent=1).encode())
        return Built(self.key.part, path, why, seconds, len(plan), report, notes)

    def _config(self, builder: Any) -> Any:
        config = builder.create_builder_config()
        # Every context takes the most scratch memory that any layer of it was allowed: keep room for many.
        limit = min(_WORKSPACE, self.gpu.memory // 4)
        config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, limit)
        config.profiling_verbosity = self.trt.ProfilingVerbosity.DETAILED
        if self.level is not None:
            config.builder_optimization_level = self.level
        return config

    def _add_profiles(self, builder: Any, network: Any, config: Any) -> None:
        inputs = [network.get_input(number) for number in range(network.num_inputs)]
        for sizes in PROFILES:
            profile = builder.create_optimization_profile()
            for port in inputs:
                sides = tuple(port.shape)[1:]
                profile.set_shape(port.name, *((size, *sides) for size in sizes))
            if config.add_optimization_profile(profile) < 0:
                raise AvatarError(
                    f"TensorRT cannot run {self.model} in batches of {sizes[0]} to {sizes[2]}; "
                    "export the mouth again."
                )

    @property
    def _timings(self) -> Path:
        """What TensorRT has measured on this GPU: it makes the next build quicker."""
        name = f"{self.key.gpu} {self.key.capability} {self.key.tensorrt}"
        return self.store.folder / f"timing-{hashlib.sha256(name.encode()).hexdigest()[:20]}.cache"

    def _read_timings(self, config: Any) -> tuple[str, ...]:
        """Gives the builder what it measured before; returns a note when that is of no use."""
        content, notes = _read_timings(self._timings)
        timings = config.create_timing_cache(content)
        if timings is None or not config.set_timing_cache(timings, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
            if content:
                notes = (f"The timing cache {self._timings} is not of this GPU; it starts anew.",)
        return notes


def _builder(trt: Any, logger: Any) -> Any:
    try:
        return trt.Builder(logger)
    except TypeError as error:  # what the bindings make of a builder that could not be created
        raise MissingToolError(
            f"TensorRT {trt.__version__} does not start here ({first(logger.errors)}); it needs an NVIDIA "
            "GPU and a driver for its version of CUDA."
        ) from error


def _parse(trt: Any, logger: Any, builder: Any, model: Path) -> Any:
    # Every type comes from the graph. TensorRT 10 has to be asked for that, TensorRT 11 knows no other way;
    # the flag has another number in each.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        errors = [_parser_error(parser.get_error(number)) for number in range(parser.num_errors)]
        raise AvatarError(
            f"TensorRT {trt.__version__} cannot read {model} ({'; '.join(errors)}); export the mouth again."
        )
    return network


def _parser_error(refusal: Any) -> str:
    operator = refusal.node_operator()
    node = f'{operator} "{refusal.node_name()}": ' if operator else ""
    return node + " ".join(refusal.desc().split())


def _read_timings(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """(the timing cache or nothing, a note when it was damaged)."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b"", ()
    except OSError as error:
        return b"", (f"The timing cache {path} cannot be read ({error.strerror}); it starts anew.",)
    digest, timings = content[:32], content[32:]
    if hashlib.sha256(timings).digest() != digest:
        return b"", (f"The timing cache {path} was damaged; it starts anew.",)
    return timings, ()


def _write_timings(path: Path, timings: bytes) -> None:
    write_whole(path, hashlib.sha256(timings).digest(), timings)


def _tell_nobody(what: str, share: float, figures: dict[str, float]) -> None:
    pass

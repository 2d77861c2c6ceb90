"""The fake GPU must refuse what CUDA and TensorRT refuse, and notice what they leave undefined."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.mouth.cuda import GpuError
from engine.mouth.tensorrt import logger_for
from engine.mouth.tensors import ENCODER
from tests.engine.mouth.gpu_rig import BYTES, SIZE, Rig, Trip
from tests.fake_cuda import FakeCuda, GpuFault
from tests.fake_gpu import FakeDevice, fake_plan
from tests.trt_build.bindings import VERSIONS, open_bindings


def test_the_fake_notices_memory_used_after_it_was_freed() -> None:
    device = FakeDevice()
    trip = Trip(device)
    address = device.allocate(BYTES).handle
    gc.collect()
    with pytest.raises(GpuFault, match="after they were freed"):
        device.copy(address, trip.here.handle, BYTES, trip.stream)


def test_the_fake_notices_copies_over_the_edge() -> None:
    device = FakeDevice()
    trip = Trip(device)
    with pytest.raises(GpuFault, match="no one's"):
        device.copy(trip.there.handle, trip.here.handle, BYTES + 1, trip.stream)


def test_the_fake_notices_pinned_memory_changed_before_its_copy() -> None:
    device = FakeDevice()
    trip = Trip(device)
    trip.up[:] = 1
    trip.queue()
    trip.up[0] = 2
    with pytest.raises(GpuFault, match="changed before it was copied"):
        device.synchronize(trip.stream)


def test_the_fake_notices_memory_freed_under_a_queued_copy() -> None:
    device = FakeDevice()
    trip = Trip(device)
    trip.queue()
    with pytest.raises(GpuFault, match="queued work uses"):
        device.cuda.cudaFree(trip.there.handle)
    device.synchronize(trip.stream)


def test_the_fake_gives_garbage_to_those_who_do_not_wait() -> None:
    device = FakeDevice()
    trip = Trip(device)
    trip.down[:] = trip.up[:] = 5
    trip.queue()
    assert (trip.down == 255).all()
    device.synchronize(trip.stream)
    assert (trip.down == 5).all()


def test_streams_of_the_fake_take_turns_by_chance() -> None:
    orders = set()
    for seed in range(8):
        device = FakeDevice(FakeCuda(seed=seed))
        first, second = device.stream(), device.stream()
        places = [device.allocate(BYTES), device.allocate(BYTES)]
        pinned = device.host_array((2, BYTES), np.uint8)
        pinned[0], pinned[1] = 1, 2
        for row, stream in enumerate((first, second)):
            for place in places:
                device.copy(place.handle, pinned[row].ctypes.data, BYTES, stream)
        device.synchronize(first)
        device.synchronize(second)
        down = device.host_array((2, BYTES), np.uint8)
        for row, place in enumerate(places):
            device.copy(down[row].ctypes.data, place.handle, BYTES, first)
        device.synchronize(first)
        orders.add((int(down[0, 0]), int(down[1, 0])))
    assert len(orders) > 1


class Bench:
    """A context of the tiny encoder for two faces, all set, as the runtime does it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.log = logger_for(rig.trt)
        runtime = rig.trt.Runtime(self.log)
        engine: Any = runtime.deserialize_cuda_engine(fake_plan(rig.folder / "face_encoder.onnx", ENCODER))
        self.stream = rig.device.stream()
        self.memory = {name: rig.device.allocate(1 << 16) for name in ("face", "skip0", "skip1", "scratch")}
        self.context: Any = engine.create_execution_context(
            rig.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )

    def set_all(self) -> None:
        assert self.context.set_optimization_profile_async(0, self.stream.handle)
        self.context.set_device_memory(self.memory["scratch"].handle, 1 << 16)
        assert self.context.set_input_shape("face", (2, SIZE, SIZE, 3))
        for name in ("face", "skip0", "skip1"):
            assert self.context.set_tensor_address(name, self.memory[name].handle)

    def execute(self) -> None:
        if not self.context.execute_async_v3(self.stream.handle):
            raise GpuError(self.log.errors[-1])

    def finish(self) -> None:
        self.rig.device.synchronize(self.stream)


def test_the_fake_has_no_names_but_those_it_was_given(loose: Rig) -> None:
    bench = Bench(loose)
    for name in ("execute_async_v2", "set_binding_shape", "active_optimization_profile"):
        with pytest.raises(AttributeError):
            getattr(bench.context, name)
    with pytest.raises(TypeError, match="incompatible"):
        loose.trt.Runtime(object())


def test_the_fake_wants_shapes_addresses_and_memory_before_it_runs(loose: Rig) -> None:
    bench = Bench(loose)
    with pytest.raises(GpuError, match="addresses"):
        bench.execute()
    assert not bench.context.set_input_shape("face", (2, SIZE, SIZE, 3))  # there is no profile yet
    assert not bench.context.set_optimization_profile_async(3, bench.stream.handle)
    assert bench.context.set_optimization_profile_async(0, bench.stream.handle)
    assert not bench.context.set_input_shape("face", (3, SIZE, SIZE, 3))
    assert not bench.context.set_input_shape("face", (2, SIZE, SIZE))
    assert not bench.context.set_input_shape("skip0", (2, 3, SIZE, SIZE))
    assert not bench.context.set_tensor_address("face", bench.memory["face"].handle + 8)
    assert not bench.context.set_tensor_address("nose", bench.memory["face"].handle)
    for name in ("face", "skip0", "skip1"):
        assert bench.context.set_tensor_address(name, bench.memory[name].handle)
    with pytest.raises(GpuError, match="dimensions"):
        bench.execute()
    assert bench.context.set_input_shape("face", (2, SIZE, SIZE, 3))
    with pytest.raises(GpuError, match="memory"):
        bench.execute()
    bench.set_all()
    bench.execute()
    bench.finish()
    assert bench.context.set_optimization_profile_async(0, bench.stream.handle)
    with pytest.raises(GpuError, match="dimensions"):  # a new profile forgets the shapes
        bench.execute()


def test_the_fake_captures_nothing_before_the_first_run(loose: Rig) -> None:
    bench = Bench(loose)
    bench.set_all()
    with pytest.raises(GpuError, match="not permitted"):
        loose.device.capture(bench.stream, bench.execute)


def test_the_fake_notices_a_context_changed_after_its_capture(loose: Rig) -> None:
    bench = Bench(loose)
    bench.set_all()
    bench.execute()
    bench.finish()
    loose.device.capture(bench.stream, bench.execute)
    with pytest.raises(GpuFault, match="captured"):
        bench.context.set_input_shape("face", (1, SIZE, SIZE, 3))


def test_the_fake_notices_a_context_changed_before_its_turn(loose: Rig) -> None:
    bench = Bench(loose)
    bench.set_all()
    bench.execute()
    bench.context.set_input_shape("face", (1, SIZE, SIZE, 3))
    with pytest.raises(GpuFault, match="changed"):
        bench.finish()


def test_the_fake_notices_two_streams_in_the_same_memory(loose: Rig) -> None:
    first, second = Bench(loose), Bench(loose)
    second.memory["scratch"] = first.memory["scratch"]
    first.set_all()
    second.set_all()
    first.execute()
    with pytest.raises(GpuFault, match="two streams"):
        second.execute()
    first.finish()


def test_the_fake_notices_outputs_without_room(loose: Rig) -> None:
    bench = Bench(loose)
    bench.memory["skip1"] = loose.device.allocate(4)
    bench.set_all()
    with pytest.raises(GpuFault, match="no one's"):
        bench.execute()


STRANGERS = r"""
import enum, inspect, json, re
import tensorrt_bindings as trt
from tests.fake_gpu import TWINS, _Severity

strangers = []
for name, fake in {**TWINS, "ILogger.Severity": _Severity}.items():
    real = trt
    for word in name.split("."):
        real = getattr(real, word)
    for member, value in vars(fake).items():
        if member.startswith("_"):
            continue
        if not hasattr(real, member):
            strangers.append(f"{name}.{member}")
        elif inspect.isfunction(value):
            written = getattr(real, member).__doc__
            strangers += [
                f"{name}.{member}({parameter})"
                for parameter in inspect.signature(value).parameters
                if not re.search(rf"\b{parameter}\b", written)
            ]
        elif isinstance(value, enum.Enum) and int(getattr(real, member)) != value.value:
            strangers.append(f"{name}.{member} = {value.value}")
print(json.dumps(strangers))
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fake_has_nothing_that_the_real_tensorrt_lacks(version: str, tmp_path: Path) -> None:
    strangers, _ = open_bindings(version, tmp_path).run(STRANGERS)
    assert strangers == []


LOGGER = """
import json
import tensorrt_bindings as trt
from engine.mouth.tensorrt import logger_for

logger = logger_for(trt)
assert isinstance(logger, trt.ILogger) and logger_for(trt) is logger
for severity in trt.ILogger.Severity.__members__.values():
    logger.log(severity, severity.name)
print(json.dumps(list(logger.errors)))
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_logger_is_one_for_the_real_tensorrt(version: str, tmp_path: Path) -> None:
    errors, told = open_bindings(version, tmp_path).run(LOGGER)
    assert errors == ["INTERNAL_ERROR", "ERROR"]
    assert "TensorRT: WARNING" in told
    assert "INFO" not in told

"""Every name of TensorRT's that our code uses is there in both versions, by their real bindings.

Which expression is an object of which class is told here by hand (OBJECTS); what is used of each is read from
the source and has to be what USED says, so that somebody looks at each new use.
"""

import ast
from pathlib import Path

import pytest

from tests.trt_build.bindings import VERSIONS, open_bindings

_ROOT = Path(__file__).parents[2]

MODULE = ""
OBJECTS = {
    "engine/mouth/tensorrt.py": {
        "trt": MODULE,
        "self._trt": MODULE,
        "severities": "ILogger.Severity",
        "self._runtime": "Runtime",
        "engine": "ICudaEngine",
        "self._by_part[part]": "ICudaEngine",
        "context": "IExecutionContext",
        "self._context": "IExecutionContext",
    },
    "trt_build/build.py": {
        "trt": MODULE,
        "self.trt": MODULE,
        "builder": "Builder",
        "network": "INetworkDefinition",
        "port": "ITensor",
        "parser": "OnnxParser",
        "refusal": "ParserError",
        "config": "IBuilderConfig",
        "profile": "IOptimizationProfile",
        "timings": "ITimingCache",
    },
    "trt_build/report.py": {
        "trt": MODULE,
        "runtime": "Runtime",
        "engine": "ICudaEngine",
        "engine.create_engine_inspector()": "EngineInspector",
    },
    "trt_build/monitor.py": {"trt": MODULE},
}
"""File -> expression -> the class of TensorRT that it is an object of."""

METHODS = {
    "engine/mouth/tensorrt.py": {"Logger": "ILogger"},
    "trt_build/monitor.py": {"Monitor": "IProgressMonitor"},
}
"""Our classes whose methods TensorRT calls by name."""

USED = {
    MODULE: """
        Builder DataType ExecutionContextAllocationStrategy ILogger IProgressMonitor LayerInformationFormat
        MemoryPoolType NetworkDefinitionCreationFlag OnnxParser ProfilingVerbosity Runtime TensorIOMode
        __version__""",
    "Builder": """
        build_serialized_network create_builder_config create_network create_optimization_profile""",
    "DataType": "FLOAT HALF UINT8",
    "EngineInspector": "get_engine_information",
    "ExecutionContextAllocationStrategy": "USER_MANAGED",
    "IBuilderConfig": """
        add_optimization_profile builder_optimization_level create_timing_cache get_timing_cache
        profiling_verbosity progress_monitor set_memory_pool_limit set_timing_cache""",
    "ICudaEngine": """
        create_engine_inspector create_execution_context device_memory_size_v2
        get_device_memory_size_for_profile_v2 get_tensor_dtype get_tensor_mode get_tensor_name
        get_tensor_shape num_io_tensors num_optimization_profiles""",
    "IExecutionContext": """
        execute_async_v3 set_device_memory set_input_shape set_optimization_profile_async
        set_tensor_address""",
    "ILogger": "Severity __init__ log",
    "ILogger.Severity": "ERROR INFO INTERNAL_ERROR VERBOSE WARNING",
    "INetworkDefinition": "get_input num_inputs",
    "IOptimizationProfile": "set_shape",
    "IProgressMonitor": "__init__ phase_finish phase_start step_complete",
    "ITensor": "name shape",
    "ITimingCache": "serialize",
    "LayerInformationFormat": "JSON",
    "MemoryPoolType": "WORKSPACE",
    "NetworkDefinitionCreationFlag": "STRONGLY_TYPED",
    "OnnxParser": "get_error num_errors parse_from_file",
    "ParserError": "desc node_name node_operator",
    "ProfilingVerbosity": "DETAILED",
    "Runtime": "deserialize_cuda_engine",
    "TensorIOMode": "INPUT OUTPUT",
}
"""Class -> what is used of it."""

ALL_USED = {f"{owner}.{name}".lstrip(".") for owner, names in USED.items() for name in names.split()}

GONE = {
    *("FP16", "INT8", "BF16", "FP8"),
    *("EXPLICIT_BATCH", "platform_has_fast_fp16", "platform_has_fast_int8", "precision", "int8_calibrator"),
    *("device_memory_size", "get_device_memory_size_for_profile", "supports_model"),
}
"""Names of TensorRT 10 that much code still uses and that 11 has no longer, or not in their place."""

_DUMP = """
import inspect, json
import tensorrt_bindings as trt

def members(thing, prefix):
    names = []
    for name in dir(thing):
        names.append(prefix + name)
        if inspect.isclass(getattr(thing, name)) and not name.startswith("_"):
            names += members(getattr(thing, name), prefix + name + ".")
    return names

print(json.dumps({"names": members(trt, ""), "version": trt.__version__}))
"""


def uses(source: str, objects: dict[str, str]) -> set[str]:
    """Dotted names of TensorRT's that a source uses on the objects that it is known to have."""
    modules = [expression for expression, owner in objects.items() if owner == MODULE]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value)
            owners = {owner for expression, owner in objects.items() if expression == base}
            owners |= {base.removeprefix(f"{name}.") for name in modules if base.startswith(f"{name}.")}
            found |= {f"{owner}.{node.attr}".lstrip(".") for owner in owners}
    return {name for name in found if not name.startswith("__version__.")}


def methods(source: str, ours: dict[str, str]) -> set[str]:
    """Dotted names of TensorRT's methods that our own classes give anew."""
    return {
        f"{ours[node.name]}.{method.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and node.name in ours
        for method in node.body
        if isinstance(method, ast.FunctionDef)
    }


def asked_for(source: str, objects: dict[str, str]) -> set[str]:
    """Bare names asked of objects that are not known to be TensorRT's, by a dot or with getattr."""
    tree = ast.parse(source)
    dots = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    texts = {
        node.args[1].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr")
        if isinstance(node.args[1], ast.Constant)
    }
    return {node.attr for node in dots if ast.unparse(node.value) not in objects} | {
        str(text) for text in texts
    }


def sources() -> dict[str, str]:
    return {file: (_ROOT / file).read_text(encoding="utf-8") for file in OBJECTS}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """All dotted names of both versions."""
    there = {}
    for version, whole in VERSIONS.items():
        told, _ = open_bindings(version, tmp_path_factory.mktemp(f"stub{version}")).run(_DUMP)
        assert told["version"] == whole
        there[version] = set(told["names"])
    return there


def last(names: set[str]) -> set[str]:
    return {name.rsplit(".", 1)[-1] for name in names}


def test_the_list_is_what_the_code_uses() -> None:
    used: set[str] = set()
    for file, source in sources().items():
        used |= uses(source, OBJECTS[file]) | methods(source, METHODS.get(file, {}))
    assert sorted(used) == sorted(ALL_USED)


def test_every_expression_is_in_its_source() -> None:
    for file, source in sources().items():
        expressions = {
            ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.expr)
        }
        assert set(OBJECTS[file]) <= expressions


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_is_there(names: dict[str, set[str]], version: str) -> None:
    assert ALL_USED - names[version] == set()


def test_no_name_that_is_gone(names: dict[str, set[str]]) -> None:
    gone = last(names["10"]) - last(names["11"])
    assert GONE - {"FP16", "INT8", "BF16", "FP8"} <= gone
    for file, source in sources().items():
        assert asked_for(source, {}) & (gone | GONE) == set(), file


def test_precisions_are_no_flags_any_more(names: dict[str, set[str]]) -> None:
    for flag in ("FP16", "INT8", "BF16", "FP8"):
        assert f"BuilderFlag.{flag}" in names["10"]
        assert f"BuilderFlag.{flag}" not in names["11"]


def test_nothing_of_tensorrt_is_used_unseen(names: dict[str, set[str]]) -> None:
    """No object that OBJECTS does not tell of is asked for a name that only TensorRT could have given.

    Such a name has several words; one like `name` or `size` says nothing.
    """
    theirs = {name for name in last(names["11"]) if "_" in name.strip("_")}
    for file, source in sources().items():
        modules = [expression for expression, owner in OBJECTS[file].items() if owner == MODULE]
        told = {*OBJECTS[file], *(f"{name}.{inner}" for name in modules for inner in USED[MODULE].split())}
        assert asked_for(source, dict.fromkeys(told, "")) & theirs == set(), file


@pytest.mark.parametrize(
    "line",
    [
        "config.set_flag(trt.BuilderFlag.FP16)",
        "builder.platform_has_fast_fp16",
        "flags = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)",
        "config.int8_calibrator = None",
        "getattr(engine, 'device_memory_size')",
        "self.parser.supports_model(b'')",
    ],
)
def test_a_gone_name_would_be_seen(names: dict[str, set[str]], line: str) -> None:
    gone = (last(names["10"]) - last(names["11"])) | GONE
    assert asked_for(line, {}) & gone


def test_a_gone_name_would_not_be_there(names: dict[str, set[str]]) -> None:
    objects = OBJECTS["trt_build/build.py"]
    for line in ("trt.BuilderFlag.FP16", "builder.platform_has_fast_fp16", "parser.supports_model(x)"):
        assert uses(line, objects) - names["11"]
        assert uses(line, objects) <= names["10"]
        assert uses(line, objects) - ALL_USED


def test_how_uses_are_read() -> None:
    source = "a = trt.X.Y\nb = self.trt.Z()\nconfig.w = other.v\nconfig.u().t"
    found = uses(source, {"trt": MODULE, "self.trt": MODULE, "config": "C"})
    assert found == {"X", "X.Y", "Z", "C.w", "C.u"}
    assert asked_for(source, {"config": "C"}) >= {"v", "t"}
    assert methods("class A(B):\n def m(self): pass\nclass D:\n def n(self): pass", {"A": "T"}) == {"T.m"}

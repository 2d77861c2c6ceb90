"""TensorRT's real Python bindings, in processes of their own, over a stub of its libraries.

`make test` fetches the bindings of two versions, and TensorRT for RTX, into the folder `tensorrt` of the
virtual environment; where they are not, or there is no C compiler, the tests that need them are skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

VERSIONS = {"10": "10.16.1.11", "11": "11.4.0.106"}

_FOLDER = Path(sys.prefix) / "tensorrt"
_LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")
_SOURCE = Path(__file__).with_name("nvinfer_stub.c")
_ROOT = Path(__file__).parents[2]


def compile_stub(folder: Path, version: str) -> None:
    """Writes the stub under the names that the bindings of this version load, such as libnvinfer.so.11."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs a C compiler")
    for name in _LIBRARIES:
        library = f"{name}.so.{version}"
        flags = ["-shared", "-fPIC", f"-Wl,-soname,{library}"]
        command = [compiler, *flags, "-o", str(folder / library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True, timeout=60)


def bindings(version: str) -> Path:
    """The folder to import `tensorrt_bindings` of version "10" or "11" from."""
    folder = _FOLDER / version
    if sys.platform != "linux" or not (folder / "tensorrt_bindings").is_dir():
        pytest.skip(f"needs the bindings of TensorRT {VERSIONS[version]} in {folder} (see the Makefile)")
    return folder


@dataclass(frozen=True, slots=True)
class Bindings:
    """One version of the bindings over its stub, to be used in processes of their own.

    `libraries` tells the stub which real libraries to pass calls on to.
    """

    folder: Path
    stub: Path
    libraries: dict[str, str]

    def run(self, script: str, *arguments: str | Path, code: int = 0) -> tuple[Any, str]:
        """(the JSON in the last line that a script prints, its stderr); it must end with `code`."""
        environment = {
            **os.environ,
            **self.libraries,
            "LD_LIBRARY_PATH": str(self.stub),
            "PYTHONPATH": os.pathsep.join((str(self.folder), str(_ROOT))),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        lines = done.stdout.splitlines()
        return json.loads(lines[-1]) if lines else None, done.stderr


def open_bindings(version: str, stub: Path, *, rtx: bool = False) -> Bindings:
    """The bindings of version "10" or "11"; with `rtx` (11 only) over the real TensorRT for RTX."""
    folder = bindings(version)
    libraries = _rtx() if rtx else {}
    stub.mkdir(exist_ok=True)
    compile_stub(stub, version)
    return Bindings(folder, stub, libraries)


def _rtx() -> dict[str, str]:
    libraries = {}
    for variable, name in (
        ("NVINFER_STUB_TENSORRT", "libtensorrt_rtx"),
        ("NVINFER_STUB_PARSER", "libtensorrt_onnxparser_rtx"),
    ):
        found = sorted((_FOLDER / "rtx").glob(f"*/{name}.so.*"))
        if not found:
            pytest.skip(f"needs TensorRT for RTX in {_FOLDER / 'rtx'} (see the Makefile)")
        libraries[variable] = str(found[0])
    return libraries

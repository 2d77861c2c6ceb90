"""`koubo doctor`: what this machine can do, what is missing and how to get it."""

import importlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands.terminal import Json
from engine.errors import KouboError

State = Literal["ok", "missing", "broken"]
_COLOURS: dict[State, str] = {"ok": "green", "missing": "yellow", "broken": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `needed` for what: "serving", "GPU", ..."""

    what: str
    needed: str
    state: State
    says: str


def doctor(as_json: Json = False) -> None:
    """Tell what draws the mouth on this machine and why, and what other parts of Koubo lack."""
    findings = list(examine())
    if as_json:
        import json

        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    else:
        _show(findings)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Everything that is looked at, in order; what serving needs is "broken" where it does not work."""
    yield Finding("machine", "", "ok", _machine())
    yield _tried("openvino", "serving", "broken", _openvino)
    yield _tried("presenters", "serving", "broken", _presenters)
    yield _tried("voices", "serving", "broken", _voices)
    yield _tried("GPU", "TensorRT and PyTorch", "missing", _gpu)
    yield _package("tensorrt", "TensorRT", "koubo[gpu]")
    yield _package("cuda-bindings", "TensorRT", "koubo[gpu]", "cuda.bindings")
    yield _package("torch", "PyTorch runtime, training, export", "koubo[train]")
    yield _package("onnx", "building and export", "koubo[gpu]")
    yield _package("onnxruntime", "export", "koubo[train]")
    yield _tried("face model", "preparing presenters", "missing", _face_model)
    yield _tried("runtime", "serving", "broken", _runtime)


def _tried(what: str, needed: str, otherwise: State, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, needed, "ok", look())
    except KouboError as error:
        return Finding(what, needed, otherwise, str(error))


def _machine() -> str:
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{system}, Python {platform.python_version()}"


def _openvino() -> str:
    from engine.mouth.openvino_runtime import has_bf16

    precision = "bf16" if has_bf16() else "f32, this processor has no bf16"
    return f"{metadata.version('openvino')}, computes in {precision}"


def _presenters() -> str:
    from engine.anchor.package import list_avatars

    names = list_avatars()
    if not names:
        raise KouboError("No presenter is installed; make one with `koubo avatar create`.")
    return ", ".join(names)


def _voices() -> str:
    from engine.speech.espeak import languages

    return f"espeak-ng speaks {len(languages())} languages"


def _gpu() -> str:
    from engine.mouth.gpu import find_gpu

    gpu = find_gpu()
    return f"{gpu.name}, {gpu.memory / 2**30:.0f} GiB, capability {gpu.capability}, driver {gpu.driver}"


def _package(name: str, needed: str, extra: str, module: str | None = None) -> Finding:
    try:
        importlib.import_module(module or name)
    except ModuleNotFoundError:
        return Finding(name, needed, "missing", f"not installed; `pip install '{extra}'` brings it")
    except (ImportError, OSError) as error:  # installed, but a library below it is not
        return Finding(name, needed, "missing", f"is installed but does not load ({error}); install it anew")
    return Finding(name, needed, "ok", _version(name))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # installed by hand, as TensorRT often is
        return "installed, of unknown version"


def _face_model() -> str:
    from engine.anchor.mediapipe_tracker import known_face_model

    path = known_face_model()
    if path is None:
        raise KouboError("Not here yet; it is fetched when first needed (or set KOUBO_FACE_MODEL).")
    return str(path)


def _runtime() -> str:
    from engine.anchor.package import Avatar, find_avatar, list_avatars
    from engine.mouth.choose import choose

    names = list_avatars()
    if not names:
        raise KouboError("There is no presenter whose mouth could be opened.")
    mouth = Avatar.load(find_avatar(names[0])).mouth
    return choose(mouth).sentence


def _show(findings: list[Finding]) -> None:
    table = Table(title="Koubo on this machine", box=None, pad_edge=False)
    for heading in ("", "what", "needed for", "finding"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        mark = f"[{_COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row(mark, finding.what, finding.needed, escape(finding.says))
    Console().print(table)

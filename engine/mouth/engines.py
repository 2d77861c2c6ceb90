"""TensorRT engines on disk. Each serves one model on one GPU, one driver and one TensorRT, named in its key.

A file is a line of magic, a line of JSON (the key, the plan's size and SHA-256) and the serialized plan.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

from engine.errors import AvatarError, KouboError
from engine.mouth.batches import PROFILES
from engine.mouth.gpu import Gpu
from engine.mouth.sheet import file_hash
from engine.paths import cache_folder

KEPT = 16
"""Engines kept of one part for one GPU: several mouths, each for a few drivers and versions of TensorRT."""

ADVICE = "build one for this machine with `koubo build`"
"""How the sentences of EngineUnusable end."""

_MAGIC = b"KOUBO ENGINE 1\n"
_LONGEST_HEADER = 1 << 16


class EngineUnusable(KouboError):
    """There is no engine for this model on this machine; the sentence says why and how to get one."""


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What an engine serves: the part of the mouth, the SHA-256 of its ONNX file, and where it was built.

    `part` is "face_encoder" or "mouth_decoder"; `capability` such as "9.0"; `profile` the batch sizes.
    """

    part: str
    model: str
    gpu: str
    capability: str
    driver: str
    tensorrt: str
    profile: str

    @property
    def digest(self) -> str:
        """A short name for the whole key."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:20]


def engine_key(mouth: Path, part: str, gpu: Gpu, tensorrt: str) -> EngineKey:
    """The key of `part` of the mouth in the folder `mouth` here. Raises AvatarError: no such ONNX file."""
    try:
        model = file_hash(mouth / f"{part}.onnx")
    except OSError as error:
        raise AvatarError(f"The mouth in {mouth} lacks {part}.onnx; export it again.") from error
    return EngineKey(part, model, gpu.name, gpu.capability, gpu.driver, tensorrt, profile_text())


def profile_text() -> str:
    """The batch sizes of every profile, such as "1-1-2 4-8-16 32-64-64"."""
    return " ".join("-".join(str(size) for size in sizes) for sizes in PROFILES)


class EngineStore:
    """A folder of engines (default: `engines` in Koubo's cache), safe to share between processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "engines"

    def path(self, key: EngineKey) -> Path:
        """Where the engine with this key is or will be."""
        return self.folder / f"{key.part}-{key.digest}.engine"

    def load(self, key: EngineKey) -> bytes:
        """The serialized engine, every byte of it verified. Raises EngineUnusable, which says why not."""
        path = self.path(key)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise EngineUnusable(self._why_none(key)) from None
        except OSError as error:
            raise EngineUnusable(f"The engine {path} cannot be read ({error.strerror}); {ADVICE}.") from error
        with file:
            header = _read_header(file)
            plan = file.read()
        if header is None:
            raise EngineUnusable(f"The engine {path} is damaged; {ADVICE}.")
        found, size, sha256 = header
        if found != key:
            raise EngineUnusable(f"{_difference(found, key)}; {ADVICE}.")
        if len(plan) < size:
            raise EngineUnusable(
                f"The engine {path} is cut short: {len(plan)} of {size} bytes are there; {ADVICE}."
            )
        if hashlib.sha256(plan).hexdigest() != sha256:
            raise EngineUnusable(f"The engine {path} is damaged: its bytes have changed; {ADVICE}.")
        return plan

    def save(self, key: EngineKey, plan: bytes) -> Path:
        """Keep a serialized engine, whole or not at all; returns its file.

        Engines of other drivers and versions stay, for these may come back, but of each part and GPU only
        the newest KEPT.
        """
        path = self.path(key)
        header = {"key": asdict(key), "size": len(plan), "sha256": hashlib.sha256(plan).hexdigest()}
        write_whole(path, _MAGIC, json.dumps(header).encode(), b"\n", plan)
        alike = [old for old, other in self._others(key) if other.gpu == key.gpu]
        for old in sorted(alike, key=_written, reverse=True)[KEPT - 1 :]:
            old.unlink(missing_ok=True)
            report_path(old).unlink(missing_ok=True)
        return path

    def _others(self, key: EngineKey) -> list[tuple[Path, EngineKey]]:
        """Every other engine of the same part whose header can be read."""
        others = []
        for path in self.folder.glob(f"{key.part}-*.engine"):
            if path == self.path(key):
                continue
            try:
                with path.open("rb") as file:
                    header = _read_header(file)
            except OSError:  # another process has just removed it, or it is not ours to read
                continue
            if header is not None:
                others.append((path, header[0]))
        return others

    def _why_none(self, key: EngineKey) -> str:
        others = [other for _, other in self._others(key)]
        same_model = [other for other in others if other.model == key.model]
        if same_model:
            nearest = min(same_model, key=lambda other: len(_differing(other, key)))
            return f"{_difference(nearest, key)}; {ADVICE}."
        if others:
            return (
                f"There is no engine of this {_spoken(key.part)} yet: those in {self.folder} were built for "
                f"other mouths, or for this one before its model changed; {ADVICE}."
            )
        return f"There is no engine of the {_spoken(key.part)} in {self.folder} yet; {ADVICE}."


def report_path(engine: Path) -> Path:
    """Where the builder's report on an engine is kept: beside it."""
    return engine.with_suffix(".json")


def write_whole(path: Path, *pieces: bytes) -> None:
    """Write the pieces of a file so that it is there whole or not at all. Raises KouboError: no room."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.writelines(pieces)
        part.replace(path)
    except OSError as error:
        raise KouboError(
            f"{path} cannot be written ({error.strerror}); make room, or name another folder with "
            "KOUBO_CACHE."
        ) from error
    finally:
        if part.is_file():
            part.unlink()


def _read_header(file: BinaryIO) -> tuple[EngineKey, int, str] | None:
    """(key, size, sha256) of an engine's file, which is left at the plan; None when it is damaged."""
    if file.readline(len(_MAGIC)) != _MAGIC:
        return None
    try:
        header = json.loads(file.readline(_LONGEST_HEADER))
        texts = {field.name: str(header["key"][field.name]) for field in fields(EngineKey)}
        return EngineKey(**texts), int(header["size"]), str(header["sha256"])
    except (ValueError, KeyError, TypeError):
        return None


def _differing(found: EngineKey, wanted: EngineKey) -> list[str]:
    names = [field.name for field in fields(EngineKey)]
    return [name for name in names if getattr(found, name) != getattr(wanted, name)]


def _difference(found: EngineKey, wanted: EngineKey) -> str:
    """A sentence without its end: what `found` was built for and what this machine wants."""
    names = _differing(found, wanted)
    if "part" in names or "model" in names:
        return f"The engine was built for another model than this {_spoken(wanted.part)}"
    if "profile" in names:
        return f"The engine was built for batches of {found.profile}, this Koubo wants {wanted.profile}"
    texts = {"gpu": "{}", "driver": "driver {}", "tensorrt": "TensorRT {}"}
    if "gpu" not in names:
        texts = {"capability": "compute capability {}", **texts}
    built, here = (
        " with ".join(text.format(getattr(key, name)) for name, text in texts.items() if name in names)
        for key in (found, wanted)
    )
    link = "for" if names[0] in ("gpu", "capability") else "with"
    return f"The engine was built {link} {built}, this is {here}"


def _spoken(part: str) -> str:
    return part.replace("_", " ")


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has just removed it
        return 0.0

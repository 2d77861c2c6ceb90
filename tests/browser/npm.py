"""Packages of others from the npm registry, at a fixed version and hash, kept in the cache folder."""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from engine.paths import cache_folder


def npm_package(name: str, version: str, sha512: str) -> Path:
    """The folder of a package, fetched with npm once. Skips the test where that cannot be done."""
    target = cache_folder() / "npm" / f"{name.replace('/', '-')}-{version}"
    if target.is_dir():
        return target
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed; install Node.js to try others' players")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        command = ["npm", "pack", f"{name}@{version}", "--pack-destination", scratch]
        if subprocess.run(command, capture_output=True, check=False, timeout=120).returncode:
            pytest.skip(f"{name} {version} could not be fetched with npm; check the network")
        (archive,) = Path(scratch).glob("*.tgz")
        assert hashlib.sha512(archive.read_bytes()).hexdigest() == sha512
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        (Path(scratch) / "package").replace(target)
    return target

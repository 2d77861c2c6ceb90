"""OBS Studio on a virtual screen, with a profile of its own and obs-websocket switched on."""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.anchor.crop import Picture
from tests.obs.remote import Remote, reach

PASSWORD = secrets.token_urlsafe(12)
"""OBS listens on every address of the machine; nobody else may get in."""
CANVAS = (1280, 720)
SOURCE = "Koubo"
START_S = 60.0

_GLOBAL = """[General]
FirstRun=true
Pre19Defaults=false
LastVersion=486539266
InfoIncrement=99
EnableAutoUpdates=false

[BasicWindow]
PreviewEnabled=true

[Basic]
Profile=Koubo
ProfileDir=Koubo
SceneCollection=Koubo
SceneCollectionFile=Koubo

[OBSWebSocket]
FirstLoad=false
ServerEnabled=true
ServerPort={port}
AlertsEnabled=false
AuthRequired=true
ServerPassword={password}
"""
_PROFILE = """[General]
Name=Koubo

[Video]
BaseCX={width}
BaseCY={height}
OutputCX={width}
OutputCY={height}
FPSCommon=30
"""


@dataclass(frozen=True, slots=True)
class Obs:
    """A running OBS: its remote control, and the X screen with its window as a file."""

    remote: Remote
    screen: Path

    def window(self) -> Picture:
        """What its screen shows now, RGB uint8 (h, w, 3)."""
        dump = self.screen.read_bytes()
        # The X Window Dump format: big-endian words, then the colour map, then 32 bits a pixel, blue first.
        words = np.frombuffer(dump[:100], ">u4")
        start, width, height, line, colours = (int(words[k]) for k in (0, 4, 5, 12, 19))
        pixels = np.frombuffer(dump, np.uint8, height * line, start + 12 * colours)
        return np.ascontiguousarray(
            pixels.reshape(height, line)[:, : 4 * width].reshape(height, width, 4)[..., 2::-1]
        )


def need_obs() -> None:
    """Skip the test where OBS or a virtual screen is missing."""
    for program in ("obs", "Xvfb"):
        if shutil.which(program) is None:
            pytest.skip(
                f"{program} is not installed; install it (Debian: apt install obs-studio xvfb) for OBS tests"
            )


def media_source(url: str, container: str = "") -> dict[str, Any]:
    """Settings of a Media Source that plays a network address."""
    return {
        "is_local_file": False,
        "input": url,
        "input_format": container,
        "buffering_mb": 0,
        "reconnect_delay_sec": 1,
        "restart_on_activate": False,
        "clear_on_media_end": False,
        "hw_decode": False,
    }


@contextmanager
def obs(home: Path) -> Iterator[Obs]:
    """OBS with an empty scene, its window on a screen of its own, its configuration below `home`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    _write_profile(home, port)
    with (home / "obs.txt").open("wb") as log, _screen(home) as display:
        surroundings = {
            **os.environ,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_RUNTIME_DIR": str(home),
            "DISPLAY": display,
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "QT_QPA_PLATFORM": "xcb",
        }
        command = ["obs", "--multi", "--disable-missing-files-check"]
        program = subprocess.Popen(command, env=surroundings, stdout=log, stderr=subprocess.STDOUT)
        try:
            with reach(f"ws://127.0.0.1:{port}", PASSWORD, START_S) as remote:
                yield Obs(remote, home / "Xvfb_screen0")
        finally:
            program.terminate()
            try:
                program.wait(timeout=15)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def _write_profile(home: Path, port: int) -> None:
    config = home / ".config" / "obs-studio"
    profile = config / "basic" / "profiles" / "Koubo"
    profile.mkdir(parents=True)
    home.chmod(0o700)
    (config / "global.ini").write_text(_GLOBAL.format(port=port, password=PASSWORD))
    width, height = CANVAS
    (profile / "basic.ini").write_text(_PROFILE.format(width=width, height=height))


@contextmanager
def _screen(folder: Path) -> Iterator[str]:
    """A virtual X screen, kept in a file in `folder`; gives its display."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1440x900x24", "-nolisten", "tcp"]
    command += ["-fbdir", str(folder)]
    server = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as told:
            yield f":{told.readline().strip()}"
    finally:
        server.terminate()
        server.wait(timeout=15)

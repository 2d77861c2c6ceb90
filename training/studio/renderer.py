"""Headless Chromium with three.js as a renderer: poses in, pictures out.

A page served from loopback loads one GLB character and renders the frames it is told to, one after
the other. It knows nothing of speech; `performance.py` decides what is rendered.
"""

import base64
import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright

from engine.errors import BadMediaError, MissingToolError
from engine.paths import cache_folder

THREE_VERSION = "0.187.0"
_PAGE = Path(__file__).parent / "page"
_CHROMIUM_FLAGS = (
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """Camera, light and background of a shot; lengths in metres, relative to the head bone.

    With `matte` a picture shows not the character but how much of each pixel it covers, in grey.
    """

    width: int
    height: int
    fov: float = 24.0
    view: tuple[float, float, float] = (0.0, 0.06, 0.78)
    aim: tuple[float, float] = (0.0, 0.055)
    backdrop: dict[str, str | int] = field(
        default_factory=lambda: {"top": "#3d4a57", "bottom": "#1d2630", "glow": "#ffcf9e", "seed": 1}
    )
    light: dict[str, Any] = field(
        default_factory=lambda: {
            "ambient": 1.8,
            "lamps": [["#fff1e0", 2.1, 0.8, 0.9, 1.6], ["#dfeaff", 0.8, -1.2, 0.4, 1.0]],
        }
    )
    matte: bool = False


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """One picture: bone rotations in radians, viseme code, other face shapes by morph name."""

    bones: dict[str, tuple[float, float, float]]
    visemes: dict[str, float] = field(default_factory=dict)
    face: dict[str, float] = field(default_factory=dict)


class StudioPage:
    """A character on stage in one browser page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def render(self, specs: Sequence[FrameSpec]) -> list[bytes]:
        """Pictures of `specs`, in order: JPEG, mattes PNG."""
        encoded = self._page.evaluate("specs => studio.frames(specs)", [asdict(spec) for spec in specs])
        return [base64.b64decode(picture) for picture in encoded]


@contextmanager
def stage(character: Path, look: Look) -> Iterator[StudioPage]:
    """Opens a browser with `character` loaded.

    Raises BadMediaError when the file is no GLB or has no viseme shapes, MissingToolError when
    Chromium or three.js is not at hand.
    """
    _check_glb(character)
    with _served(character) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(_CHROMIUM_FLAGS))
        try:
            page = browser.new_page(viewport={"width": look.width, "height": look.height})
            page.goto(f"{address}/page/index.html")
            page.wait_for_function("document.title === 'ready'", timeout=30_000)
            try:
                found = page.evaluate("o => studio.load(o)", {"url": "/character.glb", **asdict(look)})
            except PlaywrightError as error:
                raise BadMediaError(f"{character.name} cannot be loaded as a GLB character.") from error
            if found["missing"] or not found["head"]:
                what = ", ".join(found["missing"]) or "a bone named Head"
                raise BadMediaError(
                    f"{character.name} cannot talk: it lacks {what}; use a character with visemes."
                )
            yield StudioPage(page)
        finally:
            browser.close()


def chromium() -> str:
    """Path of the Chromium program (KOUBO_CHROMIUM or the PATH)."""
    named = os.environ.get("KOUBO_CHROMIUM")
    found = named or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not found:
        raise MissingToolError(
            "Chromium is not installed; install it (Debian: apt install chromium) or set KOUBO_CHROMIUM."
        )
    return found


def three_folder() -> Path:
    """The three.js package, fetched once from the npm registry at a fixed version and hash."""
    target = cache_folder() / f"three-{THREE_VERSION}"
    if target.is_dir():
        return target
    if not shutil.which("npm"):
        raise MissingToolError(
            "The studio fetches three.js with npm, which is not installed; install Node.js once."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        command = ["npm", "pack", f"three@{THREE_VERSION}", "--json", "--pack-destination", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingToolError(
                f"three.js {THREE_VERSION} could not be fetched with npm; check the network and retry."
            )
        archive = Path(scratch) / f"three-{THREE_VERSION}.tgz"
        if hashlib.sha512(archive.read_bytes()).hexdigest() != _three_sha512():
            raise MissingToolError(
                f"three.js {THREE_VERSION} arrived with a wrong hash; clear the npm cache and retry."
            )
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        (Path(scratch) / "package").replace(target)
    return target


def _three_sha512() -> str:
    locked: str = json.loads((_PAGE / "three.json").read_text())["sha512"]
    return locked


def _check_glb(character: Path) -> None:
    if not character.is_file():
        raise BadMediaError(f"There is no character file at {character}; check the path.")
    with character.open("rb") as file:
        if file.read(4) != b"glTF":
            raise BadMediaError(
                f"{character.name} is not a GLB file; export the character as binary glTF (.glb)."
            )


@contextmanager
def _served(character: Path) -> Iterator[str]:
    handler = functools.partial(
        _Handler, {"/character.glb": character}, {"/three/": three_folder(), "/page/": _PAGE}
    )
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="studio-files", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Server(http.server.ThreadingHTTPServer):
    """Does not mind a browser that hangs up."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports everything but a closed connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a few named files and folders, nothing else."""

    protocol_version = "HTTP/1.1"

    def __init__(self, files: dict[str, Path], folders: dict[str, Path], *args: Any) -> None:
        self._files = files
        self._folders = folders
        super().__init__(*args)

    def translate_path(self, path: str) -> str:
        plain = path.split("?")[0]
        if plain in self._files:
            return str(self._files[plain])
        for prefix, folder in self._folders.items():
            if plain.startswith(prefix):
                wanted = (folder / plain[len(prefix) :]).resolve()
                if wanted.is_relative_to(folder.resolve()):
                    return str(wanted)
        return str(_PAGE / "missing")

    def log_message(self, *_: Any) -> None:
        """Keeps the terminal for the progress bar."""

"""The pictures of docs/obs.md, made anew: `python -m tests.obs.pictures docs/images`."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from playwright.async_api import async_playwright

from engine.anchor.crop import Picture
from streaming.bench_server import running_server, server_command
from tests.browser.conftest import find_chromium
from tests.browser.helpers import CHROMIUM_FLAGS
from tests.obs.asking import ask
from tests.obs.program import SOURCE, Obs, media_source, obs

LOUD = 0.2
OUTLET = "udp://127.0.0.1:5000"
TEXT = (
    "Hello everybody, and welcome to the stream. Today I show how I got into this scene, without a camera. "
    * 2
)
SCENES = ("linear-gradient(120deg, #12343b, #2d545e 60%, #e1b382)", "#00b140")


def save(path: Path, picture: Picture) -> None:
    """Write an RGB picture as PNG, small enough for a page."""
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def cropped(picture: Picture) -> Picture:
    """Without the empty screen around the window."""
    rows, columns = np.nonzero(picture.max(axis=2) > 8)
    return np.ascontiguousarray(picture[: rows.max() + 1, : columns.max() + 1])


def add(studio: Obs, name: str, kind: str, settings: Mapping[str, object], **transform: float) -> None:
    """A source on the current scene, placed by obs-websocket's transform."""
    scene = studio.remote.ask("GetSceneList")["currentProgramSceneName"]
    made = studio.remote.ask(
        "CreateInput", sceneName=scene, inputName=name, inputKind=kind, inputSettings=settings
    )
    studio.remote.ask(
        "SetSceneItemTransform",
        sceneName=scene,
        sceneItemId=made["sceneItemId"],
        sceneItemTransform=transform,
    )
    # Without the handles of a selection.
    studio.remote.ask(
        "SetSceneItemLocked", sceneName=scene, sceneItemId=made["sceneItemId"], sceneItemLocked=True
    )


def build_scene(studio: Obs) -> None:
    """A coloured wall, a title, and the presenter as a Media Source."""
    add(studio, "Wall", "color_source_v3", {"color": 0xFF5E542D, "width": 1280, "height": 720}, positionX=0)
    title = {"text": "Live with Ada", "font": {"face": "DejaVu Sans", "size": 72}}
    add(studio, "Title", "text_ft2_source_v2", title, positionX=700, positionY=300)
    add(
        studio,
        SOURCE,
        "ffmpeg_source",
        media_source(OUTLET, "mpegts"),
        positionX=40,
        positionY=60,
        scaleX=0.83,
        scaleY=0.83,
    )


async def windows(port: int, session: str, folder: Path) -> None:
    """The player on scenes, as a browser source mixes it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=list(CHROMIUM_FLAGS))
        tiles = []
        for query, scene in (
            ("", SCENES[0]),
            ("&background=transparent", SCENES[0]),
            ("&background=transparent", SCENES[1]),
        ):
            page = await browser.new_page(viewport={"width": 640, "height": 360})
            await page.goto(f"http://127.0.0.1:{port}/player?session={session}{query}")
            await page.wait_for_selector("#cutout" if query else "#video", state="visible")
            await page.evaluate("scene => { document.documentElement.style.background = scene; }", scene)
            await page.wait_for_timeout(1000)
            png = np.frombuffer(await page.screenshot(), np.uint8)
            tiles.append(np.asarray(cv2.imdecode(png, cv2.IMREAD_COLOR_RGB), np.uint8))
        save(folder / "obs-browser-source.png", np.hstack(tiles))
        await browser.close()


async def main(folder: Path) -> None:
    os.environ["KOUBO_OUTLET_NETWORKS"] = '["127.0.0.0/8"]'
    async with running_server(1, server_command) as server:
        opened = await ask(server, "POST", "/v1/sessions", avatar="ada")
        session = f"/v1/sessions/{opened['id']}"
        await ask(server, "POST", f"{session}/outlets", url=OUTLET)
        with tempfile.TemporaryDirectory() as home, obs(Path(home)) as studio:
            build_scene(studio)
            await asyncio.sleep(12)
            await ask(server, "POST", f"{session}/speak", text=TEXT)
            while await asyncio.to_thread(studio.remote.loudest, SOURCE, 0.1) < LOUD:
                pass
            save(folder / "obs-window.png", cropped(studio.window()))
            studio.remote.ask("OpenInputPropertiesDialog", inputName=SOURCE)
            await asyncio.sleep(4)
            save(folder / "obs-media-source.png", cropped(studio.window()))
        await ask(server, "POST", f"{session}/speak", text=TEXT)
        await windows(server.port, str(opened["id"]), folder)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

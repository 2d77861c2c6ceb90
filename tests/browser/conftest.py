"""A real server in its own process and a real Chromium, both started once."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.browser.helpers import CHROMIUM_FLAGS, skip_when_busy

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome; KOUBO_CHROMIUM comes first."""
    names = (os.environ.get("KOUBO_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"the server did not come up; it wrote:\n{log.read_text()[-4000:]}")


@pytest.fixture
def quiet_machine() -> None:
    """For tests that judge times."""
    skip_when_busy()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The Chromium to drive; tests that need it are skipped without one."""
    found = find_chromium()
    if found is None:
        pytest.skip(
            "Chromium is not installed; install it (Debian: apt install chromium) to run browser tests"
        )
    return found


@contextmanager
def serving(log: Path, *command: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Base URL of a server that `python -m COMMAND --port PORT` starts; what it writes goes to `log`."""
    port = _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_healthy(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture(scope="session")
def server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a running `koubo serve`."""
    log = tmp_path_factory.mktemp("server") / "output.txt"
    with serving(log, "koubo", "serve", "--host", "127.0.0.1") as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """One Chromium for all tests; its microphone is the fake device, contexts grant permissions."""
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, server: str) -> AsyncIterator[BrowserContext]:
    """A fresh English profile at desktop size that may use the microphone and the clipboard."""
    made = await browser.new_context(
        base_url=server,
        locale="en-US",
        viewport={"width": 1440, "height": 900},
        permissions=["microphone", "clipboard-read", "clipboard-write"],
    )
    made.set_default_timeout(20_000)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """The console, loaded, its presenters shown. A console error or an uncaught exception fails the test."""
    opened = await context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    await opened.goto("/")
    await opened.wait_for_selector(".presenter")
    yield opened
    # Leaving the page ends its session, so that the next test finds the server empty.
    await opened.goto("about:blank")
    await asyncio.sleep(0.2)
    # Chromium logs every refused request; tests that provoke one say so by their name.
    unexpected = [text for text in complaints if not text.startswith("Failed to load resource")]
    assert unexpected == []

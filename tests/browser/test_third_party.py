"""Others' WHEP players and WHIP clients at our doors, in Chromium, on a page of another origin."""

import asyncio
import functools
import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Response

from streaming.bench_server import Server, running_server, server_command
from tests.browser.npm import npm_package

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

MEDOOZE = (
    "whip-whep",
    "1.2.0",
    "08ff9386ddcefcde902de6d6e4bc6c34a83314de4a5fa5a29cbaf548bb3be1f7"
    "9a818bbe1aacbed1dc38f29e5142e13e165acce31c8e94e756d94390c258c898",
)
EYEVINN = (
    "@eyevinn/webrtc-player",
    "0.13.0",
    "5f9373ce76f2c3d3d78fce47615ee7c8749b782d2d5a94d30051188e296794b2"
    "d67e8f44011c75b42424e6d7619889a70d24fc54de74498b7ab8c0ee7685675b",
)
EVENTS = (
    "events",
    "3.3.0",
    "990c3ed9f9106c02f343b574318d08a9d9d734e793b4fe2bd2537dcfb0006b00"
    "9782a79aedb0e28b6d0062b201ac577f1f1d0cd8e733e92d75d4268591471bd1",
)

MEDOOZE_PAGE = """<!doctype html><video id="video" autoplay playsinline muted></video>
<script type="module">
import { WHEPClient } from "./whep.js";
import { WHIPClient } from "./whip.js";
window.view = async (url, token) => {
  const pc = new RTCPeerConnection();
  pc.addTransceiver("audio", { direction: "recvonly" });
  pc.addTransceiver("video", { direction: "recvonly" });
  const stream = new MediaStream();
  pc.ontrack = ({ track }) => stream.addTrack(track);
  video.srcObject = stream;
  window.client = new WHEPClient();
  await window.client.view(pc, url, token);
};
window.publish = async (url, token) => {
  window.pc = new RTCPeerConnection();
  const media = await navigator.mediaDevices.getUserMedia({ audio: true });
  for (const track of media.getTracks()) pc.addTrack(track, media);
  window.client = new WHIPClient();
  await window.client.publish(pc, url, token);
};
document.title = "ready";
</script>"""

# The player is CommonJS for bundlers; its other protocols' packages are not asked for anything by WHEP.
EYEVINN_PAGE = """<!doctype html><video id="video" autoplay playsinline muted></video>
<script type="module">
const load = async (url, require) => {
  const module = { exports: {} };
  const text = await (await fetch(url)).text();
  new Function("module", "exports", "require", text)(module, module.exports, require);
  return module.exports;
};
const events = await load("./events.js");
const { WebRTCPlayer } = await load("./main.js", (name) => (name === "events" ? events : {}));
window.view = async (url) => {
  window.client = new WebRTCPlayer({ video, type: "whep", iceServers: [] });
  await window.client.load(new URL(url));
};
document.title = "ready";
</script>"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The files of a folder from another origin than Koubo's; gives the origin."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as host:
        thread = threading.Thread(target=host.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{host.server_port}"
        finally:
            host.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class Foreign:
    """A page of another origin that the server lets call, and a session of the server."""

    page: Page
    server: Server
    session: str

    def url(self, door: str) -> str:
        return f"http://127.0.0.1:{self.server.port}/v1/sessions/{self.session}/{door}"

    async def state(self) -> dict[str, Any]:
        return dict(json.loads(await self.server.request("GET", f"/v1/sessions/{self.session}")))

    async def until(self, name: str, value: object) -> None:
        for _ in range(100):
            if (await self.state())[name] == value:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{name} is {(await self.state())[name]!r}, not {value!r}")


@pytest_asyncio.fixture(loop_scope="session")
async def foreign(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Foreign]:
    with served(tmp_path) as origin:
        monkeypatch.setenv("KOUBO_ALLOWED_ORIGINS", json.dumps([origin]))
        async with running_server(1, server_command) as server:
            opened = json.loads(await server.request("POST", "/v1/sessions", "{}", "application/json"))
            context = await browser.new_context(base_url=origin, permissions=["microphone"])
            page = await context.new_page()
            yield Foreign(page, server, opened["id"])
            await context.close()


async def open_page(foreign: Foreign, folder: Path, html: str, files: dict[str, Path]) -> None:
    for name, file in files.items():
        (folder / name).write_bytes(file.read_bytes())
    (folder / "index.html").write_text(html)
    await foreign.page.goto("/index.html")
    await foreign.page.wait_for_function("document.title === 'ready'")


async def it_plays(page: Page) -> None:
    """Pictures at the session's rate, of the presenter's size, with sound beside them."""
    frames = "video.getVideoPlaybackQuality().totalVideoFrames"
    await page.wait_for_function(f"{frames} > 10", timeout=20_000)
    before = await page.evaluate(frames)
    await page.wait_for_timeout(2000)
    assert await page.evaluate(frames) - before >= 30
    assert await page.evaluate("[video.videoWidth, video.videoHeight]") == [720, 720]
    assert await page.evaluate("video.srcObject.getAudioTracks().length") == 1


async def test_medooze_s_whep_client_plays_and_hangs_up(foreign: Foreign, tmp_path: Path) -> None:
    package = npm_package(*MEDOOZE)
    files = {name: package / name for name in ("whep.js", "whip.js")}
    await open_page(foreign, tmp_path, MEDOOZE_PAGE, files)
    patched: list[int] = []

    def note(response: Response) -> None:
        if response.request.method == "PATCH":
            patched.append(response.status)

    foreign.page.on("response", note)
    await foreign.page.evaluate("url => view(url)", foreign.url("whep"))
    await it_plays(foreign.page)
    assert patched, "it trickles its candidates"
    assert set(patched) == {204}
    assert (await foreign.state())["viewers"] == 1
    await foreign.page.evaluate("client.stop()")
    await foreign.until("viewers", 0)


async def test_medooze_s_whip_client_is_heard(foreign: Foreign, tmp_path: Path) -> None:
    package = npm_package(*MEDOOZE)
    files = {name: package / name for name in ("whep.js", "whip.js")}
    await open_page(foreign, tmp_path, MEDOOZE_PAGE, files)
    await foreign.page.evaluate("url => publish(url)", foreign.url("whip"))
    # A receiver report for the stream: the server has got packets of it.
    report = "pc.getStats().then((all) => [...all.values()].some((one) => one.type === 'remote-inbound-rtp'))"
    await foreign.page.wait_for_function(report, timeout=20_000)
    assert (await foreign.state())["mic"] is True
    await foreign.page.evaluate("client.stop()")
    await foreign.until("mic", False)


async def test_eyevinn_s_player_plays(foreign: Foreign, tmp_path: Path) -> None:
    files = {
        "main.js": npm_package(*EYEVINN) / "dist" / "main.js",
        "events.js": npm_package(*EVENTS) / "events.js",
    }
    await open_page(foreign, tmp_path, EYEVINN_PAGE, files)
    await foreign.page.evaluate("url => view(url)", foreign.url("whep"))
    await it_plays(foreign.page)
    assert (await foreign.state())["viewers"] == 1
    await foreign.page.evaluate("client.unload()")
    await foreign.until("viewers", 0)

"""Modules of the page that can be judged without a session."""

import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext

WEB_CLIENT = Path(__file__).resolve().parents[2] / "web_client"
MODULES = sorted(WEB_CLIENT.rglob("*.js"))

LINK = (
    '<stun:stun.example.net>; rel="ice-server", '
    '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="a, \\"b\\""; '
    'credential="p;w"; credential-type="password", '
    '<https://example.net/next>; rel="next", <turns:t.example.net>; rel=ice-server'
)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(WEB_CLIENT)))
def test_module_parses(module: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; the browser tests still load every module")
    # As .mjs on standard input: `--check` takes a bare .js file for a script, not for a module.
    checked = subprocess.run(
        [node, "--input-type=module", "--check"], check=False, input=module.read_bytes(), capture_output=True
    )
    assert checked.returncode == 0, checked.stderr.decode()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(WEB_CLIENT)))
def test_module_is_small_and_self_contained(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) < 300
    assert "https://" not in text


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_ice_servers_are_read_from_link_headers(context: BrowserContext, server: str) -> None:
    page = await context.new_page()
    await page.goto("/player")
    parse = "async (header) => (await import('/static/webrtc.js')).parseIceServers(header)"
    assert await page.evaluate(parse, LINK) == [
        {"urls": ["stun:stun.example.net"]},
        {"urls": ["turn:turn.example.net?transport=udp"], "username": 'a, "b"', "credential": "p;w"},
        {"urls": ["turns:t.example.net"]},
    ]
    assert await page.evaluate(parse, None) == []

"""docs/settings.md, written from the settings themselves: `python -m streaming.settings_page`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streaming.config_file import PREFIX, REFERENCE
from streaming.settings import Settings

_HEAD = f"""<!-- written by `python -m streaming.settings_page` -->

# Settings

Every setting can be given in three ways. What stands further up wins:

1. a flag of `koubo serve`: `--host`, `--port`, `--runtime`, `--tls-cert`, `--tls-key`, and for all others
   `--set NAME=VALUE` (may be repeated; lists and tables as JSON);
2. an environment variable `{PREFIX}<NAME>`, in capitals (lists and tables as JSON);
3. a TOML file, named by `--config` or `KOUBO_CONFIG`.

A setting that is unknown in a file or a flag, or whose value is not allowed, stops the server with one
sentence that says which, where and why. Secrets belong into the file (readable by the server alone) or the
environment: the flags of a process can be read by every user of its machine.

```toml
# koubo.toml
host = "0.0.0.0"
operate_tokens = ["a long random word"]
log_format = "json"
max_sessions = 4

[[ice_servers]]
url = "stun:stun.example.org:3478"
```

| name | default | values | meaning |
| --- | --- | --- | --- |
"""

_TAIL = """
## Environment only

Read by every command, not only by `koubo serve`.

| name | meaning |
| --- | --- |
| `KOUBO_CONFIG` | the TOML file, as `--config` |
| `KOUBO_AVATARS` | folders with more avatars, separated like `PATH` |
| `KOUBO_CACHE` | downloads and intermediate results; `~/.cache/koubo` |
| `KOUBO_FACE_MODEL` | MediaPipe's `face_landmarker.task`, for preparation and evaluation |
| `KOUBO_SEGMENTER` | MediaPipe's `selfie_segmentation.tflite`, for mattes ([presenters](presenters.md)) |
| `KOUBO_CHROMIUM` | the Chromium that renders presenters in the studio |
| `FORWARDED_ALLOW_IPS` | addresses of reverse proxies whose `X-Forwarded-For` is believed; `127.0.0.1` |
"""


def settings_page() -> str:
    """The page, in Markdown."""
    fields: Mapping[str, Any] = Settings.model_json_schema()["properties"]
    return _HEAD + "".join(_row(name, field) for name, field in fields.items()) + _TAIL


def _row(name: str, field: Mapping[str, Any]) -> str:
    cells = (f"`{name}`", _default(field["default"]), _values(field), field.get("description", ""))
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |\n"


def _default(value: object) -> str:
    if value is None or value == "":
        return ""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _values(field: Mapping[str, Any]) -> str:
    """What is allowed: a choice, a range, or the kind of value."""
    if "anyOf" in field:
        return " or ".join(_values(option) for option in field["anyOf"] if option.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind: str = field.get("type", "table")
    if kind == "array":
        return f"list ({_values(field['items'])})"
    if kind in ("integer", "number"):
        return f"{kind}{_range(field)}"
    if field.get("writeOnly"):
        return "secret"
    formats = {"path": "path", "uri": "URL", "ipv4network": "IPv4 network", "ipv6network": "IPv6 network"}
    if (form := field.get("format")) in formats:
        return formats[form]
    return {"boolean": "true or false", "string": "text"}.get(kind, kind)


def _range(field: Mapping[str, Any]) -> str:
    low = f"from {field['minimum']}" if "minimum" in field else ""
    if "exclusiveMinimum" in field:
        low = f"above {field['exclusiveMinimum']}"
    high = f"to {field['maximum']}" if "maximum" in field else ""
    return "".join(f" {part}" for part in (low, high) if part)


if __name__ == "__main__":
    (Path(__file__).resolve().parents[1] / REFERENCE).write_text(settings_page(), encoding="utf-8")

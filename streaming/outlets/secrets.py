"""Messages without the secrets of an outlet's address."""

import re
from urllib.parse import unquote, unquote_plus, urlsplit

_LEAST = 3
"""Shorter parts are no secrets, and would blot out innocent words."""


def hide(text: str, url: str, token: str | None) -> str:
    """`text` with the token, the whole URL and every part of it below the host replaced by an ellipsis."""
    parts = urlsplit(url)
    found = {url, token or "", parts.query, parts.fragment, parts.path, parts.path.strip("/")}
    found |= {parts.username or "", parts.password or ""}
    found |= set(parts.path.split("/"))
    found |= {pair.partition("=")[2] for pair in parts.query.split("&")}
    found |= {unquote(part) for part in found} | {unquote_plus(part) for part in found}
    secrets = sorted((part for part in found if len(part) >= _LEAST), key=len, reverse=True)
    # In one pass, so that nothing is looked for in what was already replaced.
    return re.sub("|".join(map(re.escape, secrets)), "…", text) if secrets else text

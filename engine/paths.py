"""Where Koubo keeps what it can make or fetch again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """KOUBO_CACHE, or ~/.cache/koubo; may not exist yet."""
    return Path(os.environ.get("KOUBO_CACHE") or Path.home() / ".cache" / "koubo")

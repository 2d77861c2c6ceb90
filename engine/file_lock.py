"""Locks that tell whether the process that made a file still lives: they go with it, however it ends."""

import sys
from typing import IO, Any

if sys.platform != "win32":
    import fcntl


def try_lock(file: IO[Any], *, exclusive: bool = True) -> bool:
    """Lock an open file until it, and each map of it, is closed; False while another process has it locked.

    On Windows always True: an open file cannot be removed there, so that trying to is the test.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

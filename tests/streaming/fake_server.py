"""A server with fake mouths, in a process of its own: `python -m tests.streaming.fake_server PORT FOLDER`.

FOLDER is where its avatars are made, when they are not there yet.
"""

import os
import sys
from pathlib import Path

from streaming.cast import EngineCast
from streaming.server import bind, create_app, run
from streaming.settings import Settings
from tests.fakes import FakeMouth, make_avatar


def main(port: int, folder: Path) -> None:
    if not (folder / "fake").exists():
        make_avatar(folder, "fake")
    roots = (str(folder), os.environ.get("KOUBO_AVATARS"))
    os.environ["KOUBO_AVATARS"] = os.pathsep.join(filter(None, roots))
    run(bind("127.0.0.1", port), create_app(Settings(), EngineCast(lambda _: FakeMouth(), "fake")))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

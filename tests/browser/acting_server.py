"""A server whose mouths and makers only act: `python -m tests.browser.acting_server FOLDER --port PORT`.

FOLDER is its folder of avatars, with one called "fake". What becomes of a "video" stands in it: see
`tests.streaming.workshop.fake_maker`. At most one megabyte may be uploaded.
"""

import os
import sys
from pathlib import Path

from streaming.cast import EngineCast
from streaming.server import bind, create_app, run
from streaming.settings import Settings
from streaming.workshop import Workshop
from tests.fakes import FakeMouth, make_avatar
from tests.streaming.workshop.jobs import MAKER


def main(folder: Path, port: int) -> None:
    avatar = make_avatar(folder, "fake")
    os.environ["KOUBO_AVATARS"] = str(folder)
    settings = Settings(default_avatar="fake", upload_max_mb=1, uploads_min_free_mb=0)
    workshop = Workshop(settings, command=(sys.executable, str(MAKER), str(avatar)))
    app = create_app(settings, EngineCast(lambda _: FakeMouth(), "fake"), workshop=workshop)
    run(bind("127.0.0.1", port), app, settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[3]))

"""A worker of the workshop that only acts: `python fake_maker.py AVATAR`; what it does stands in the "video".
What it imports is a copy, too.

"good" makes a copy of the folder AVATAR, "wait" does so once the file "go" lies beside the video, "unfit"
finds faults, "crash" dies, "babble" writes what is no report, and "nothing" ends without a word.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

PROBLEM = {
    "code": "face-small",
    "severity": "problem",
    "sentence": "The face is 40 pixels wide; come closer to the camera.",
    "values": {"width": 40},
    "at_s": 1.5,
}
ADVICE = {**PROBLEM, "code": "no-sound", "severity": "advice", "sentence": "The video has no sound."}


def tell(**told: object) -> None:
    print(json.dumps(told), flush=True)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    if order["do"] == "import":
        shutil.copytree(sys.argv[1], Path(order["output"]) / "imported")
        tell(finished=True)
        return
    video = Path(order["video"])
    play = video.read_text().split()[0]
    (video.parent / "pid").write_text(str(os.getpid()))
    tell(step="look", done=0, total=2)
    Path(order["preview"]).write_bytes(b"\xff\xd8\xff picture")
    tell(step="look", done=2, total=2)
    if play == "crash":
        sys.stderr.write("it hurts\n")
        sys.exit(3)
    if play == "unfit":
        tell(error="The face is too small.", findings=[PROBLEM, ADVICE])
        return
    if play == "nothing":
        return
    if play == "babble":
        print("W0000 a library says hello", flush=True)
        print('{"step": 5}', flush=True)
    if play == "wait":
        output = Path(order["output"]) / order["name"]
        output.mkdir()
        (output / "half").write_text("half an avatar")
        while not (video.parent / "go").exists():
            time.sleep(0.02)
        shutil.rmtree(output)
    tell(step="film", done=1, total=0)
    shutil.copytree(sys.argv[1], Path(order["output"]) / order["name"])
    Path(order["sheet"]).write_bytes(b"\xff\xd8\xff sheet")
    tell(finished=True, findings=[ADVICE])


if __name__ == "__main__":
    main()

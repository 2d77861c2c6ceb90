"""MP4: a recording that can be played at any time, also one that was cut short."""

from itertools import count
from pathlib import Path

from engine.picture.video import KEEP_METADATA
from streaming.outlets.base import Assignment, Outlet
from streaming.outlets.errors import OutletError
from streaming.outlets.muxing import MuxedOutlet
from streaming.outlets.recordings import SpaceWatched, recordings_folder
from streaming.outlets.wire import Job

# Fragments begin with key frames, every two seconds; what is lost when the power fails is the last one.
_FRAGMENTED = {
    "movflags": f"frag_keyframe+empty_moov+default_base_moof+{KEEP_METADATA}",
    "flush_packets": "1",
}


def open_mp4(given: Assignment) -> Outlet:
    """Records into the folder for recordings. Raises Unprocessable when there is none."""
    folder = recordings_folder(given)

    async def job(keyframe: bytes, audio_config: bytes) -> Job:
        path = _take(folder, given.name)
        outlet.place = path.name
        return Job(
            "mp4",
            "file",
            str(path),
            muxer_options=_FRAGMENTED,
            metadata=dict(given.metadata),
            keyframe=keyframe,
            audio_config=audio_config,
        )

    def explain(reason: str) -> OutletError:
        return OutletError(f"The recording cannot be written ({reason}); check the folder for recordings.")

    outlet = MuxedOutlet(given.hub, job, explain, revocable=False)
    return SpaceWatched(outlet, folder, given.least_free_bytes)


def _take(folder: Path, name: str) -> Path:
    """An empty file under a name that nobody has: each attempt writes one of its own."""
    for number in count(1):
        path = folder / (f"{name}.mp4" if number == 1 else f"{name}-{number}.mp4")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers do not end")

"""HLS (RFC 8216): a playlist and its segments in a folder of their own, served below /hls."""

import asyncio
import secrets

from engine.picture.video import KEEP_METADATA
from streaming.labels import aigc_metadata
from streaming.outlets.base import Assignment, Outlet
from streaming.outlets.errors import OutletError
from streaming.outlets.muxing import MuxedOutlet
from streaming.outlets.recordings import SpaceWatched, recordings_folder
from streaming.outlets.wire import Job

FOLDER = "hls"
PLAYLIST = "index.m3u8"
_SEGMENTS = 6

_OPTIONS = {
    "hls_time": "2",
    "hls_list_size": str(_SEGMENTS),
    # Fragmented MP4 has a place for the AIGC metadata, MPEG-TS has none.
    "hls_segment_type": "fmp4",
    "hls_segment_options": f"movflags={KEEP_METADATA}",
    "hls_delete_threshold": str(_SEGMENTS),
    # Written beside and renamed, so that nobody reads half a file.
    "hls_flags": "delete_segments+independent_segments+temp_file+program_date_time",
}


def open_hls(given: Assignment) -> Outlet:
    """Writes below the folder for recordings. Raises Unprocessable when there is none.

    The folder's name cannot be guessed: who knows the address may watch.
    """
    recordings = recordings_folder(given)

    async def job(keyframe: bytes, audio_config: bytes) -> Job:
        name = secrets.token_urlsafe(16)
        folder = recordings / FOLDER / name
        await asyncio.to_thread(folder.mkdir, parents=True)
        outlet.place = f"/{FOLDER}/{name}/{PLAYLIST}"
        options = _OPTIONS | {"hls_segment_filename": str(folder / "%06d.m4s")}
        return Job(
            "hls",
            "file",
            str(folder / PLAYLIST),
            muxer_options=options,
            metadata=aigc_metadata(given.settings, name),
            keyframe=keyframe,
            audio_config=audio_config,
        )

    def explain(reason: str) -> OutletError:
        return OutletError(f"The playlist cannot be written ({reason}); check the folder for recordings.")

    outlet = MuxedOutlet(given.hub, job, explain)
    return SpaceWatched(outlet, recordings, given.settings.recordings_min_free_mb)

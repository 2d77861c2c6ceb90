"""The live core, offline: a speech file in, a video of the presenter saying it out."""

from collections.abc import Callable, Mapping
from pathlib import Path

from engine.anchor.package import Avatar
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.label import LabelStyle, stamp
from engine.picture.video import VideoWriter
from engine.speech.audio import SAMPLES_PER_TICK, from_pcm16, load_speech

_LABEL = LabelStyle()


def render(
    avatar: Avatar,
    speech: Path,
    output: Path,
    *,
    mouth: MouthRuntime,
    label: LabelStyle | None = _LABEL,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write `output`, an MP4 (H.264, 25 frames a second, AAC) of `avatar` saying the sound file `speech`.

    The first sample is heard with the first picture; the video lasts as long as the sound, rounded up to
    whole pictures. `label` is burnt into every picture; None where pictures are measured, or need none.
    `metadata`: keys and texts of the file. `progress` is told (pictures done, pictures in all). Returns the
    number of pictures. Raises BadMediaError for unusable files; nothing half-written stays.
    """
    samples = load_speech(speech)
    pictures = -(-samples.size // SAMPLES_PER_TICK)
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
    live.push(samples)
    live.finish()
    with VideoWriter(output, avatar.size, sound=True, metadata=metadata) as video:
        for number in range(pictures):
            tick = live.tick()
            video.write(tick.picture if label is None else stamp(label, tick.picture))
            video.write_sound(from_pcm16(tick.sound))
            if progress is not None:
                progress(number + 1, pictures)
    return pictures

"""The live core, offline: a speech file in, a video of the presenter saying it out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.anchor.director import find_clip
from engine.anchor.package import Avatar
from engine.errors import AvatarError
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.label import LabelStyle, stamp
from engine.picture.video import VideoWriter
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_TICK, from_pcm16, load_speech

_LABEL = LabelStyle()


@dataclass(frozen=True, slots=True)
class Cue:
    """At `at_s` seconds of the sound the clip named `clip` is asked for, as `LiveAvatar.show` does."""

    clip: str
    at_s: float


def render(
    avatar: Avatar,
    speech: Path,
    output: Path,
    *,
    mouth: MouthRuntime,
    cues: Sequence[Cue] = (),
    label: LabelStyle | None = _LABEL,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write `output`, an MP4 (H.264, 25 frames a second, AAC) of `avatar` saying the sound file `speech`.

    The first sample is heard with the first picture; the video lasts as long as the sound, rounded up to
    whole pictures. `cues`: clips to show meanwhile. `label` is burnt into every picture; None where pictures
    are measured, or need none. `metadata`: keys and texts of the file. `progress` is told (pictures done,
    pictures in all). Returns the number of pictures. Raises BadMediaError for unusable files, AvatarError for
    cues that cannot be followed; nothing half-written stays.
    """
    samples = load_speech(speech)
    pictures = -(-samples.size // SAMPLES_PER_TICK)
    _check(cues, avatar, samples.size / SAMPLE_RATE)
    waiting = sorted(cues, key=lambda cue: cue.at_s, reverse=True)
    mouth = mouth.restricted(avatar.paste_region)
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
    live.push(samples)
    live.finish()
    with VideoWriter(output, avatar.size, sound=True, metadata=metadata) as video:
        for number in range(pictures):
            while waiting and waiting[-1].at_s * FRAME_RATE <= number:
                live.show(waiting.pop().clip)
            tick = live.tick()
            video.write(tick.picture if label is None else stamp(label, tick.picture))
            video.write_sound(from_pcm16(tick.sound))
            if progress is not None:
                progress(number + 1, pictures)
    return pictures


def _check(cues: Sequence[Cue], avatar: Avatar, duration_s: float) -> None:
    """Say what is wrong before any work is done. Raises AvatarError."""
    for cue in cues:
        find_clip(avatar.card.clips, cue.clip)
        if not 0 <= cue.at_s < duration_s:
            raise AvatarError(
                f"The clip {cue.clip} is asked for at {cue.at_s:g} s, the sound lasts {duration_s:.1f} s; "
                "give a time within it."
            )

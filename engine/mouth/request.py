"""What a tick asks of a mouth."""

from dataclasses import dataclass

from engine.mouth.runtime import Features, MouthRuntime
from engine.speech.mel import Mel


@dataclass(frozen=True, slots=True, eq=False)
class MouthRequest:
    """One face to draw: by `mouth`, for the mel `window` float32 (80, 16), on a face's `features`."""

    mouth: MouthRuntime
    window: Mel
    features: Features

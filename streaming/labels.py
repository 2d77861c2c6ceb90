"""What tells people and programs that pictures are generated: the visible label, and metadata in files."""

import json
import logging
from dataclasses import replace

from engine.errors import KouboError
from engine.live import Tick
from engine.picture.label import LabelStyle, stamp
from streaming.settings import Settings

logger = logging.getLogger(__name__)


def label_style(settings: Settings) -> LabelStyle | None:
    """How the label looks; None when it is off for a reason, which is logged. KouboError without a reason."""
    if settings.label != "off":
        return LabelStyle(settings.label, settings.label_corner, settings.label_size, settings.label_opacity)
    reason = settings.label_off_reason.strip()
    if not reason:
        raise KouboError(
            "The label of generated pictures is off without a reason; say why it may be left out "
            "(KOUBO_LABEL_OFF_REASON or --label-off-reason), or leave it on."
        )
    logger.warning("pictures go without the AI label: %s", reason)
    return None


def labelled(tick: Tick, style: LabelStyle | None) -> Tick:
    """The tick with the label in its picture, which is a copy; the tick itself when there is no label."""
    return tick if style is None else replace(tick, picture=stamp(style, tick.picture))


def aigc_metadata(settings: Settings, produce_id: str) -> dict[str, str]:
    """The metadata of a generated file by GB 45438-2025: the key AIGC with a JSON object.

    For `container.metadata` of PyAV. MP4 keeps it only with `engine.picture.video.KEEP_METADATA` among its
    movflags, also in fragments and in the first segment of fMP4; FLV and Matroska keep it as it is; MPEG-TS
    has no place for it. `produce_id` names this file among all that the producer made.
    """
    propagator = settings.content_propagator
    fields = {
        "Label": "1",  # is generated; 2 and 3 are for distributors who only suspect it
        "ContentProducer": settings.content_producer,
        "ProduceID": produce_id,
        "ReservedCode1": "",
        "ContentPropagator": propagator,
        "PropagateID": produce_id if propagator else "",
        "ReservedCode2": "",
    }
    return {"AIGC": json.dumps(fields, ensure_ascii=False, separators=(",", ":"))}

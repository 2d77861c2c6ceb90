"""Clips painted by a trained picture side: the studio's own pairs made to say much more than was rendered.

A rendered picture costs a tenth of a second and more, a painted one some milliseconds. Painted clips teach
the discriminator what goes with which sound on many more faces and words; what a true mouth looks like it
learns from the rendered ones.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from engine.anchor.crop import Crop, Picture, extract
from engine.errors import BadMediaError, KouboError
from engine.mouth.features import face_input, to_pictures
from engine.speech.audio import FRAME_RATE, load_speech
from training import checkpoint
from training.clips import CARD, MARGIN, ClipCard, decode, encode, span, write_clip
from training.models.generator import Parts
from training.models.presets import preset
from training.picture_data import Pair, read_pairs
from training.studio.dataset import Utterance
from training.studio.takes import LEAD

Progress = Callable[[int, int], None]


def paint_clips(
    checkpoint_file: Path,
    data: Path,
    corpus: Sequence[Utterance],
    output: Path,
    *,
    clips: int,
    frames: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Paints `clips` clips for each folder of pairs below `data` into `output`/NAME (resumable).

    Raises KouboError for an unusable checkpoint or one without a mouth code, BadMediaError for no pairs.
    """
    plan = preset(checkpoint.read_state(checkpoint_file)["preset"])
    if not plan.code:
        raise KouboError(f"{checkpoint_file} has no mouth code ({plan.name}); give one of lite192, say.")
    parts = Parts.create(plan)
    checkpoint.load_trained(checkpoint_file, {"face": parts.face, "decoder": parts.decoder})
    parts.face.eval()
    parts.decoder.eval()
    corpus = [utterance for utterance in corpus if len(utterance.mouth) > frames]
    if not corpus:
        raise BadMediaError(
            "None of the speech could be aligned; give English recordings of whole sentences."
        )
    folders = sorted(path.parent for path in data.glob("*/pairs.json"))
    if not folders:
        raise BadMediaError(f"There are no rendered pairs below {data}; run `koubo studio dataset` first.")
    for number, folder in enumerate(folders):
        random = np.random.default_rng([seed, sum(folder.name.encode())])
        pairs = read_pairs(folder)
        for index in range(clips):
            pair = pairs[int(random.integers(len(pairs)))]
            utterance = corpus[int(random.integers(len(corpus)))]
            start = int(random.integers(len(utterance.mouth) - frames))
            target = output / folder.name / f"{index:04d}"
            if not (target / CARD).is_file():
                _paint(parts, plan.size, pair, utterance, (start, frames), target)
            if progress:
                progress(number * clips + index + 1, len(folders) * clips)


def _paint(
    parts: Parts, size: int, pair: Pair, utterance: Utterance, moment: tuple[int, int], target: Path
) -> None:
    start, frames = moment
    code = utterance.mouth[start : start + frames]
    frame = decode(pair.idle)
    face = torch.from_numpy(face_input(extract(frame, pair.crop, size)[None]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        skips = [skip.expand(frames, *skip.shape[1:]) for skip in parts.face(face)]
        painted = to_pictures(parts.decoder(torch.from_numpy(code), skips).float().numpy())
    side = round(size * MARGIN / 2) * 2
    wide = extract(frame, _wider(pair.crop, side / size), side)
    card = ClipCard(
        person=target.parent.name,
        source=utterance.path.name,
        start_s=start / FRAME_RATE,
        frames=frames,
        size=side,
        margin=side / size,
        lead=LEAD,
        lips=[_inside(pair.lips, side / size)] * frames,
        idle=True,
        code=np.round(code.astype(np.float64), 4).tolist(),
    )
    pictures = [encode(_placed(wide, picture)) for picture in painted]
    samples = span(load_speech(utterance.path), start - LEAD, frames + 2 * LEAD)
    write_clip(target, card, pictures, samples, encode(wide))


def _wider(crop: Crop, margin: float) -> Crop:
    return Crop(crop.cx, crop.cy, crop.size * margin, crop.angle)


def _placed(wide: Picture, centre: Picture) -> Picture:
    out = wide.copy()
    edge = (len(wide) - len(centre)) // 2
    out[edge : edge + len(centre), edge : edge + len(centre)] = centre
    return out


def _inside(lips: tuple[float, float], margin: float) -> list[float]:
    return [round(0.5 + (value - 0.5) / margin, 4) for value in lips]

"""What a viewer sees and hears at the same moment, recorded in the page that receives it."""

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Page

from engine.anchor.card import AvatarCard
from engine.anchor.package import Avatar
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, Samples
from engine.speech.espeak import speak

Floats = NDArray[np.float64]

WORDS = ("Papa.", "Mama.", "Bob.", "Ha ha ha.", "Pub, pub.", "Maybe so.")

STEP_S = 0.01
"""Seconds between the points of time at which picture and sound are compared."""

# Each presented picture brings along the sound of the last 170 ms in steps of 10 ms. They overlap, so that a
# page that is held up for a moment loses no sound and its clock's jitter averages out.
_RECORD = """async ([x, y, width, height, seconds]) => {
  const video = document.getElementById('video');
  const context = new AudioContext({sampleRate: 48000});
  await context.resume();
  const analyser = new AnalyserNode(context, {fftSize: 8192});
  context.createMediaStreamSource(video.srcObject).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const bin = context.sampleRate / 100;
  const canvas = new OffscreenCanvas(width / 2, height / 2);
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  const shown = [], read = [], levels = [], pictures = [];
  await new Promise((done) => {
    const end = performance.now() + seconds * 1000;
    const take = (now, {expectedDisplayTime}) => {
      pen.drawImage(video, x, y, width, height, 0, 0, width / 2, height / 2);
      analyser.getFloatTimeDomainData(samples);
      read.push(performance.now() / 1000);
      shown.push(expectedDisplayTime / 1000);
      const level = [];
      for (let to = samples.length; to >= bin; to -= bin) {
        level.push(Math.sqrt(samples.subarray(to - bin, to).reduce((sum, v) => sum + v * v, 0) / bin));
      }
      levels.push(level);
      const {data} = pen.getImageData(0, 0, width / 2, height / 2);
      for (let i = 0; i < data.length; i += 4) {
        pictures.push(.299 * data[i] + .587 * data[i + 1] + .114 * data[i + 2]);
      }
      if (performance.now() < end) video.requestVideoFrameCallback(take);
      else done();
    };
    video.requestVideoFrameCallback(take);
  });
  const bytes = Uint8Array.from(pictures, Math.round);
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  await context.close();
  return {shown, read, levels, pictures: btoa(text)};
}"""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the picture in whole pixels, its sides even."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Recording:
    """Presented pictures of a box at half size, luma (n, h, w), and the sound received with them.

    `shown` (n,) is when each picture is on the screen, `sound_at` (m,) when each 10 ms of sound of root mean
    square `sound` (m,) came, all in seconds of the page's clock.
    """

    pictures: Floats
    shown: Floats
    sound_at: Floats
    sound: Floats


def words_with_pauses() -> Samples:
    """Wide vowels between closed lips, half a second of silence after each word."""
    silence = np.zeros(SAMPLE_RATE // 2, np.float32)
    return np.concatenate([part for word in WORDS for part in (speak(word, "en-us").samples, silence)])


def mouth_box(card: AvatarCard) -> Box:
    """The box that holds the lips in every frame of the loop, with room around them and below for the jaw."""
    left, top, right, bottom = card.mouth_box
    side = card.crop_size
    corners = np.array([(x * side, y * side, 1.0) for x in (left, right) for y in (top, bottom)])
    maps = (cv2.invertAffineTransform(crop.matrix(side)) for crop in card.crops)
    places = np.concatenate([corners @ to_frame.T for to_frame in maps])
    (x, y), (width, height) = places.min(axis=0), np.ptp(places, axis=0)
    x, y, width, height = x - 0.1 * width, y - 0.2 * height, 1.2 * width, 2 * height
    return Box(round(x), round(y), 2 * round(width / 2), 2 * round(height / 2))


async def record(page: Page, box: Box, seconds: float) -> Recording:
    """Watch `box` of the page's video and listen to its stream."""
    got = await page.evaluate(_RECORD, [box.x, box.y, box.width, box.height, seconds])
    luma = np.frombuffer(base64.b64decode(got["pictures"]), np.uint8).astype(np.float64)
    levels = np.array(got["levels"])
    ages = (np.arange(levels.shape[1]) + 0.5) * STEP_S
    return Recording(
        pictures=luma.reshape(-1, box.height // 2, box.width // 2),
        shown=np.array(got["shown"]),
        sound_at=(np.array(got["read"])[:, None] - ages).ravel(),
        sound=levels.ravel(),
    )


def loop_pictures(avatar: Avatar, box: Box) -> Floats:
    """The box in every frame of the idle loop, as `record` would see it: luma (frames, h, w)."""
    rows, columns = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    boxes = (avatar.rgb(index)[rows, columns] for index in range(avatar.frames))
    size = (box.width // 2, box.height // 2)
    halves = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in boxes]
    return np.asarray(np.stack(halves) @ np.array([0.299, 0.587, 0.114]), np.float64)


def opening(pictures: Floats, idle: Floats) -> Floats:
    """(n,) how open the mouth is: mean depth of what is darker than nearly all of the idle mouth, 0 to 255.

    Unlike a difference from the idle picture it neither sees the head move nor the lips turn soft.
    """
    return np.asarray(np.clip(np.percentile(idle, 5) - pictures, 0, None).mean(axis=(1, 2)))


def distance(pictures: Floats, loop: Floats) -> Floats:
    """(n,) root mean square difference of each picture from the frame of the loop it is nearest to."""
    return np.array([np.sqrt(np.square(loop - picture).mean(axis=(1, 2)).min()) for picture in pictures])


def together(recording: Recording, opened: Floats) -> tuple[Floats, Floats]:
    """Opening and loudness (k,) at the same moments, STEP_S apart: what is shown and what sounds then.

    A picture counts for the middle of the 40 ms that it stays: that is the moment the studio draws.
    """
    shown = recording.shown + 0.5 / FRAME_RATE
    start, end = shown[0], shown[-1]
    moments = np.arange(start, end, STEP_S)
    seen = np.interp(moments, shown, opened)
    steps = np.floor((recording.sound_at - start) / STEP_S).astype(int)
    heard = np.full(moments.size, np.nan)
    for step in range(moments.size):
        levels = recording.sound[steps == step]
        if levels.size:
            heard[step] = np.median(levels)
    known = np.flatnonzero(np.isfinite(heard))
    heard = np.interp(np.arange(moments.size), known, heard[known])
    return seen, np.convolve(heard, np.ones(5) / 5, mode="same")


def correlations(seen: Floats, heard: Floats, reach_s: float = 0.4) -> dict[float, float]:
    """Pearson's r by lag in seconds; a positive lag means that the picture comes after its sound."""
    reach = round(reach_s / STEP_S)
    middle = heard[reach:-reach]
    shifted = ((lag, seen[reach + lag : seen.size - reach + lag]) for lag in range(-reach, reach + 1))
    return {lag * STEP_S: float(np.corrcoef(part, middle)[0, 1]) for lag, part in shifted}


def strongest(by_lag: dict[float, float]) -> tuple[float, float]:
    """The lag at which picture and sound agree best, and how well."""
    return max(by_lag.items(), key=lambda pair: pair[1])

"""What a viewer sees and hears at the same moment, recorded in the page that receives it."""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Page

from engine.anchor.card import AvatarCard
from engine.anchor.package import Avatar

Floats = NDArray[np.float64]

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
  const shown = [], read = [], levels = [];
  const pictures = [];
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
      for (let i = 0; i < data.length; i += 4) pictures.push(.299 * data[i] + .587 * data[i + 1] + .114 * data[i + 2]);
      if (performance.now() < end) video.requestVideoFrameCallback(take);
      else done();
    };
    video.requestVideoFrameCallback(take);
  });
  const bytes = Uint8Array.from(pictures, Math.round);
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  const latency = [context.baseLatency, context.outputLatency];
  await context.close();
  return {shown, read, levels, pictures: btoa(text), latency};
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

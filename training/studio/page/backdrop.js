// A pleasing background: a soft gradient wall with out-of-focus lights, drawn once per character.
import * as THREE from "three";

export function backdrop({ top, bottom, glow, seed }, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const ink = canvas.getContext("2d");
  const wall = ink.createLinearGradient(0, 0, 0, height);
  wall.addColorStop(0, top);
  wall.addColorStop(1, bottom);
  ink.fillStyle = wall;
  ink.fillRect(0, 0, width, height);
  const random = generator(seed);
  for (let i = 0; i < 14; i++) {
    const x = random() * width, y = random() * height * 0.8, radius = (0.04 + 0.12 * random()) * width;
    const blob = ink.createRadialGradient(x, y, 0, x, y, radius);
    blob.addColorStop(0, glow);
    blob.addColorStop(1, "rgba(0, 0, 0, 0)");
    ink.globalAlpha = 0.1 + 0.25 * random();
    ink.fillStyle = blob;
    ink.fillRect(0, 0, width, height);
  }
  const texture = new THREE.CanvasTexture(canvas);
  texture.colorSpace = THREE.SRGBColorSpace;
  return texture;
}

// mulberry32: a small seeded generator, so that a character's wall is the same in every run.
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

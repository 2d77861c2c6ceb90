// The presenter without its background: a video with the picture above and its matte below, drawn on a canvas.

const VERTEX = `
attribute vec2 corner;
varying vec2 at;
void main() {
  at = vec2(corner.x + 1.0, 1.0 - corner.y) / 2.0;
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

// The lowest and highest levels of the matte are the codec's noise. The canvas takes premultiplied colours.
const FRAGMENT = `
precision mediump float;
uniform sampler2D video;
varying vec2 at;
void main() {
  vec3 color = texture2D(video, vec2(at.x, at.y / 2.0)).rgb;
  float matte = texture2D(video, vec2(at.x, (at.y + 1.0) / 2.0)).g;
  float alpha = clamp((matte - 0.04) / 0.92, 0.0, 1.0);
  gl_FragColor = vec4(color * alpha, alpha);
}`;

function shader(gl, kind, source) {
  const made = gl.createShader(kind);
  gl.shaderSource(made, source);
  gl.compileShader(made);
  return made;
}

/** Sets `gl` up to draw one texture over the whole canvas; pixel for pixel, so that the halves never mix. */
function setUp(gl) {
  const program = gl.createProgram();
  gl.attachShader(program, shader(gl, gl.VERTEX_SHADER, VERTEX));
  gl.attachShader(program, shader(gl, gl.FRAGMENT_SHADER, FRAGMENT));
  gl.linkProgram(program);
  gl.useProgram(program);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
  const corner = gl.getAttribLocation(program, "corner");
  gl.enableVertexAttribArray(corner);
  gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  for (const [name, value] of [
    ["TEXTURE_MIN_FILTER", "NEAREST"],
    ["TEXTURE_MAG_FILTER", "NEAREST"],
    ["TEXTURE_WRAP_S", "CLAMP_TO_EDGE"],
    ["TEXTURE_WRAP_T", "CLAMP_TO_EDGE"],
  ]) {
    gl.texParameteri(gl.TEXTURE_2D, gl[name], gl[value]);
  }
}

/**
 * Draws every picture of `video` on `canvas`, each with its own matte, at the size of the picture.
 *
 * Returns false where the browser has no WebGL.
 */
export function drawCutOut(video, canvas) {
  const gl = canvas.getContext("webgl", { alpha: true, premultipliedAlpha: true, antialias: false });
  if (!gl) return false;
  setUp(gl);
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => setUp(gl));

  function draw() {
    const [width, height] = [video.videoWidth, video.videoHeight / 2];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, video);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    video.requestVideoFrameCallback(draw);
  }
  video.requestVideoFrameCallback(draw);
  return true;
}

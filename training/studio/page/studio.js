// One character in soft studio light; renders the frames that the Python side describes.
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { MeshoptDecoder } from "three/addons/libs/meshopt_decoder.module.js";
import { Morpher } from "./morpher.js";
import { backdrop } from "./backdrop.js";

const ARM_DOWN = THREE.MathUtils.degToRad(65);
const VISEMES = ["AE_AA", "AO_a", "Ax_E", "TD_I", "UH_OO", "UW_U", "H_EST", "FV", "S", "SH_CH", "KG"];

let renderer, scene, camera, bones, morphers, rest, lights, matte;

function setUp(width, height) {
  renderer = new THREE.WebGLRenderer({ antialias: true, alpha: matte, preserveDrawingBuffer: true });
  renderer.setPixelRatio(1);
  renderer.setSize(width, height);
  renderer.toneMapping = THREE.NeutralToneMapping;
  document.body.replaceChildren(renderer.domElement);
}

function light(setup) {
  const group = new THREE.Group();
  group.add(new THREE.HemisphereLight(0xffffff, 0x8a7f78, setup.ambient));
  for (const [color, strength, x, y, z] of setup.lamps) {
    const lamp = new THREE.DirectionalLight(color, strength);
    lamp.position.set(x, y, z);
    group.add(lamp);
  }
  return group;
}

async function load(options) {
  matte = options.matte;
  setUp(options.width, options.height);
  scene = new THREE.Scene();
  if (!matte) scene.background = backdrop(options.backdrop, options.width, options.height);
  const loader = new GLTFLoader().setMeshoptDecoder(MeshoptDecoder);
  const { scene: root } = await loader.loadAsync(options.url);
  scene.add(root);
  bones = {};
  morphers = [];
  root.traverse((node) => {
    if (node.isBone) bones[node.name] ??= node;
    if (!node.isMesh) return;
    node.frustumCulled = false;
    const material = node.material;
    material.roughness = /hair|wig/i.test(material.name + node.name) ? 0.8 : 0.62;
    material.metalness = 0;
    if (node.morphTargetDictionary) morphers.push(new Morpher(node));
  });
  const names = new Set(morphers.flatMap((morpher) => [...morpher.targets.keys()]));
  const missing = [...VISEMES, "MPB_Up", "MPB_Down"].filter((name) => !names.has(name));
  if (missing.length || !bones.Head) return { missing, head: Boolean(bones.Head) };
  if (bones.LeftArm) bones.LeftArm.rotation.x += ARM_DOWN;
  if (bones.RightArm) bones.RightArm.rotation.x += ARM_DOWN;
  rest = Object.fromEntries(Object.entries(bones).map(([name, bone]) => [name, bone.rotation.clone()]));
  scene.add((lights = light(options.light)));
  root.updateMatrixWorld(true);
  const at = bones.Head.getWorldPosition(new THREE.Vector3());
  camera = new THREE.PerspectiveCamera(options.fov, options.width / options.height, 0.05, 20);
  camera.position.set(at.x + options.view[0], at.y + options.view[1], at.z + options.view[2]);
  camera.lookAt(at.x + options.aim[0], at.y + options.aim[1], at.z);
  return { missing: [], head: true };
}

function pose(spec) {
  for (const [name, angles] of Object.entries(spec.bones ?? {})) {
    const bone = bones[name];
    if (bone) bone.rotation.set(rest[name].x + angles[0], rest[name].y + angles[1], rest[name].z + angles[2]);
  }
}

function mouth(code) {
  const weights = { ...code };
  const closed = weights.MPB ?? 0;
  delete weights.MPB;
  return { ...weights, MPB_Up: closed, MPB_Down: closed, MPB: closed };
}

// How much of each pixel the character covers, as a grey PNG.
function coverage() {
  const gl = renderer.getContext();
  const { width, height } = renderer.domElement;
  const pixels = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const ink = canvas.getContext("2d");
  const grey = ink.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      // WebGL counts rows from below.
      const alpha = pixels[4 * ((height - 1 - y) * width + x) + 3];
      grey.data.set([alpha, alpha, alpha, 255], 4 * (y * width + x));
    }
  }
  ink.putImageData(grey, 0, 0);
  return canvas.toDataURL("image/png");
}

// Renders one picture; returns it as base64 JPEG, its matte as base64 PNG.
function frame(spec) {
  pose(spec);
  const weights = { ...mouth(spec.visemes ?? {}), ...(spec.face ?? {}) };
  for (const morpher of morphers) morpher.apply(weights);
  renderer.render(scene, camera);
  const url = matte ? coverage() : renderer.domElement.toDataURL("image/jpeg", spec.quality ?? 0.96);
  return url.split(",")[1];
}

window.studio = { load, frames: (specs) => specs.map(frame), bones: () => Object.keys(bones) };
document.title = "ready";

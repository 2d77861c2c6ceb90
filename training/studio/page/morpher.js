// Morph targets applied on the CPU, only those in use: a software rasteriser pays for every target
// of a mesh on every vertex otherwise.
import * as THREE from "three";

const EPSILON = 1e-7;

// Names differ between characters ("h_expressions.AE_AA_h", "h_teeth.t_MPB_h", "AE_AA_h").
export function plainName(name) {
  return name.replace(/^.*\./, "").replace(/^t_/, "").replace(/_h$/, "");
}

export class Morpher {
  constructor(mesh) {
    const geometry = mesh.geometry;
    this.base = ["position", "normal"].map((key) => toFloats(geometry.attributes[key], geometry, key));
    this.targets = new Map();
    const names = mesh.userData.targetNames ?? Object.keys(mesh.morphTargetDictionary ?? {});
    const deltas = ["position", "normal"].map((key) => geometry.morphAttributes[key] ?? []);
    names.forEach((name, i) => {
      this.targets.set(plainName(name), deltas.map((list) => (list[i] ? sparse(list[i]) : null)));
    });
    geometry.morphAttributes = {};
    geometry.morphTargetsRelative = false;
    mesh.morphTargetInfluences = undefined;
    mesh.morphTargetDictionary = undefined;
    this.attributes = [geometry.attributes.position, geometry.attributes.normal];
  }

  apply(weights) {
    this.attributes.forEach((attribute, which) => {
      const out = attribute.array;
      out.set(this.base[which]);
      for (const [name, weight] of Object.entries(weights)) {
        const delta = this.targets.get(name)?.[which];
        if (!delta || Math.abs(weight) < 1e-4) continue;
        const { indices, values } = delta;
        for (let k = 0; k < indices.length; k++) {
          const at = 3 * indices[k];
          out[at] += weight * values[3 * k];
          out[at + 1] += weight * values[3 * k + 1];
          out[at + 2] += weight * values[3 * k + 2];
        }
      }
      attribute.needsUpdate = true;
    });
  }
}

function toFloats(attribute, geometry, key) {
  const floats = new Float32Array(attribute.count * 3);
  for (let i = 0; i < attribute.count; i++) {
    floats[3 * i] = attribute.getX(i);
    floats[3 * i + 1] = attribute.getY(i);
    floats[3 * i + 2] = attribute.getZ(i);
  }
  geometry.setAttribute(key, new THREE.BufferAttribute(floats.slice(), 3));
  return floats;
}

function sparse(attribute) {
  const indices = [];
  const values = [];
  for (let i = 0; i < attribute.count; i++) {
    const x = attribute.getX(i), y = attribute.getY(i), z = attribute.getZ(i);
    if (Math.abs(x) + Math.abs(y) + Math.abs(z) < EPSILON) continue;
    indices.push(i);
    values.push(x, y, z);
  }
  return { indices: Uint32Array.from(indices), values: Float32Array.from(values) };
}

// The organism in WebGL2: every tube and every cell one instance, three draw calls a frame.

import { Scene } from "./scene.js";
import { CELL_FRAGMENT, CELL_VERTEX, TUBE_FRAGMENT, TUBE_VERTEX } from "./shaders.js";

const TUBE_FLOATS = 14;
const CELL_FLOATS = 8;
const STRIP = new Float32Array([0, -1, 0, 1, 1, -1, 1, 1]);
const SQUARE = new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]);

/** Return a painter on `surface`, or null where WebGL2 cannot be had. `lost` is called when it goes away. */
export function glowingPainter(surface, lost) {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "low-power" });
  if (gl === null) return null;
  try {
    return new GlowingPainter(surface, canvas, gl, lost);
  } catch {
    return null; // a driver that cannot compile this; the drawn picture does
  }
}

class GlowingPainter {
  kind = "webgl2";

  constructor(surface, canvas, gl, lost) {
    this.gl = gl;
    this.canvas = canvas;
    this.tubes = layer(gl, TUBE_VERTEX, TUBE_FRAGMENT, STRIP, [4, 4, 4, 2]);
    this.cells = layer(gl, CELL_VERTEX, CELL_FRAGMENT, SQUARE, [4, 4]);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.LINEAR);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); lost(); });
    surface.replaceChildren(canvas);
  }

  colours(bytes) {
    const { gl } = this;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  }

  resize(width, height) {
    this.dense = Math.min(2, globalThis.devicePixelRatio || 1);
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * this.dense));
    this.canvas.height = Math.max(1, Math.round(height * this.dense));
  }

  paint(scene, shine) {
    const { gl } = this;
    this.shine = shine;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const foods = Scene.sorted(scene.foods, (food) => food.scale > 0 && food.end.scale > 0);
    const links = scene.overlay && scene.origin ? foods : [];
    const joined = [...links.map((food) => link(scene, food)), ...foods.map(joint)];
    const tubes = Scene.sorted(scene.tubes, (one) => one.seen).map(tube);
    this.#draw(this.tubes, [...joined, ...tubes], TUBE_FLOATS);
    const cells = Scene.sorted(scene.cells, (one) => one.scale > 0).map(cell);
    this.#draw(this.cells, [...foods.map(end), ...cells, ...foods.map(grain)], CELL_FLOATS);
  }

  #draw(part, instances, floats) {
    if (!instances.length) return;
    const { gl } = this;
    gl.useProgram(part.program);
    gl.uniform2f(part.size, this.width, this.height);
    gl.uniform1f(part.dense, this.dense);
    gl.uniform1f(part.shine, this.shine);
    gl.bindVertexArray(part.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, part.instances);
    const data = new Float32Array(instances.length * floats);
    instances.forEach((one, i) => data.set(one, i * floats));
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, instances.length);
  }
}

function tube(t) {
  const way = t.speed < 0 ? -1 : 1;
  return [t.ax, t.ay, t.bx, t.by, t.wide, t.value, t.travelled % 46, way, t.phaseA, t.phaseB, t.swing, t.near, t.shown, 0];
}

function cell(c) {
  return [c.x, c.y, c.radius, c.fill, c.pulse, c.near, 0, c.shown];
}

function grain(f) {
  return [f.x, f.y, f.radius, f.share, 1, f.near, 1, f.shown];
}

function end(f) {
  return [f.end.x, f.end.y, f.end.radius, 0.5, f.end.pulse, f.end.near, 2, 0.85 * f.shown];
}

/** The link between the food here and the neighbour's own end. */
function joint(f) {
  return [f.x, f.y, f.end.x, f.end.y, 1.2, 0.25, 0, 1, 0, 0, 0, f.near, 0.7 * f.shown, 1];
}

/** The network overlay: the straight way from this node. */
function link(scene, f) {
  return [scene.origin[0], scene.origin[1], f.x, f.y, 0.8, 0.1, 0, 1, 0, 0, 0, 0.9, 0.75, 1];
}

/** One program with its mesh at location 0 and instance attributes of `sizes` floats from location 1 on. */
function layer(gl, vertex, fragment, points, sizes) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "no program");
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, points, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
  const instances = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, instances);
  const stride = 4 * sizes.reduce((total, size) => total + size, 0);
  let offset = 0;
  sizes.forEach((size, i) => {
    gl.enableVertexAttribArray(i + 1);
    gl.vertexAttribPointer(i + 1, size, gl.FLOAT, false, stride, offset);
    gl.vertexAttribDivisor(i + 1, 1);
    offset += 4 * size;
  });
  const uniform = (name) => gl.getUniformLocation(program, name);
  return { program, array, instances, size: uniform("size"), dense: uniform("dense"), shine: uniform("shine") };
}

// The map in WebGL2: every tube and every cell one instance, two draw calls a frame.

import { CELL_FRAGMENT, CELL_VERTEX, TUBE_FRAGMENT, TUBE_VERTEX } from "./shaders.js";

const PIECES = 28;
const TUBE_FLOATS = 15;
const CELL_FLOATS = 8;

/** Return a painter on `surface`, or null where WebGL2 cannot be had. `lost` is called when it goes away. */
export function tubePainter(surface, lost) {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "low-power" });
  if (gl === null) return null;
  try {
    return new TubePainter(surface, canvas, gl, lost);
  } catch {
    return null; // a driver that cannot compile this; the drawn map does
  }
}

class TubePainter {
  kind = "webgl2";

  constructor(surface, canvas, gl, lost) {
    this.gl = gl;
    this.canvas = canvas;
    this.tubes = layer(gl, TUBE_VERTEX, TUBE_FRAGMENT, strip(), [4, 4, 4, 3]);
    this.cells = layer(gl, CELL_VERTEX, CELL_FRAGMENT, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), [4, 4]);
    this.ramp = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.ramp);
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

  paint(scene) {
    const { gl } = this;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    this.#draw(this.tubes, pack(scene.edges, TUBE_FLOATS, tube), 2 * (PIECES + 1), TUBE_FLOATS);
    this.#draw(this.cells, pack(scene.nodes, CELL_FLOATS, cell), 4, CELL_FLOATS);
  }

  #draw(part, data, vertices, floats) {
    if (!data.length) return;
    const { gl } = this;
    gl.useProgram(part.program);
    gl.uniform2f(part.size, this.width, this.height);
    gl.uniform1f(part.dense, this.dense);
    gl.bindVertexArray(part.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, part.instances);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, vertices, data.length / floats);
  }
}

function tube(e) {
  const light = e.travelled % 84;
  const emphasis = e.chosen ? 1 : 0;
  return [e.ax, e.ay, e.bx, e.by, e.bend, e.radius, e.value, light, e.phaseA, e.phaseB, emphasis, Number(e.broken), e.alone, Number(e.pulsing), e.speed < 0 ? -1 : 1];
}

function cell(n) {
  return [n.x, n.y, n.radius, n.wait, n.pulse, Number(n.node.own), Number(n.chosen), Number(n.node.known && !n.node.standing?.out)];
}

function pack(things, floats, one) {
  const data = new Float32Array(things.size * floats);
  let at = 0;
  for (const thing of things.values()) { data.set(one(thing), at); at += floats; }
  return data;
}

function strip() {
  const points = [];
  for (let i = 0; i <= PIECES; i += 1) points.push(i / PIECES, -1, i / PIECES, 1);
  return new Float32Array(points);
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
  return {
    program, array, instances,
    size: gl.getUniformLocation(program, "size"), dense: gl.getUniformLocation(program, "dense"),
  };
}

// Pictures of many like things in WebGL2: a mesh, drawn once for each instance.

/**
 * Return a painter on `surface`, or null where WebGL2 cannot be had. `lost` is called when it goes away.
 *
 * `make` gets the `Stage`, makes its layers, and returns what paints.
 */
export function instancedPainter(surface, lost, make) {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "low-power" });
  if (gl === null) return null;
  const stage = new Stage(canvas, gl);
  let paint;
  try {
    paint = make(stage);
  } catch {
    return null; // a driver that cannot compile this; the drawn picture does
  }
  canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); lost(); });
  surface.replaceChildren(canvas);
  return {
    kind: "webgl2",
    colours: (bytes) => stage.colours(bytes),
    resize: (width, height) => stage.resize(width, height),
    paint: (...given) => { stage.clear(); paint(...given); },
  };
}

class Stage {
  constructor(canvas, gl) {
    this.canvas = canvas;
    this.gl = gl;
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.LINEAR);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
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

  clear() {
    const { gl } = this;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  /** One program with its mesh of `points` at location 0 and instance attributes of `sizes` floats from location 1 on. */
  layer(vertex, fragment, points, sizes) {
    const { gl } = this;
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
    const floats = sizes.reduce((total, size) => total + size, 0);
    let offset = 0;
    sizes.forEach((size, i) => {
      gl.enableVertexAttribArray(i + 1);
      gl.vertexAttribPointer(i + 1, size, gl.FLOAT, false, 4 * floats, offset);
      gl.vertexAttribDivisor(i + 1, 1);
      offset += 4 * size;
    });
    const at = (name) => gl.getUniformLocation(program, name);
    return { program, array, instances, floats, vertices: points.length / 2, at, size: at("size"), dense: at("dense") };
  }

  /** Draw one instance for each list of attributes; `numbers` are further uniforms. */
  draw(layer, instances, numbers = {}) {
    if (!instances.length) return;
    const { gl } = this;
    gl.useProgram(layer.program);
    gl.uniform2f(layer.size, this.width, this.height);
    gl.uniform1f(layer.dense, this.dense);
    for (const [name, value] of Object.entries(numbers)) gl.uniform1f(layer.at(name), value);
    const data = new Float32Array(instances.length * layer.floats);
    instances.forEach((one, i) => data.set(one, i * layer.floats));
    gl.bindVertexArray(layer.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, layer.instances);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, layer.vertices, instances.length);
  }
}

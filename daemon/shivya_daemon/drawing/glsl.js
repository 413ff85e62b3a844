// GLSL that every picture uses. Places are CSS pixels; `dense` is device pixels per CSS pixel.

/** Of a vertex: pixels of the picture on the screen. */
export const SCREEN = `
uniform vec2 size;
vec4 onScreen(vec2 p) { return vec4(2.0 * p.x / size.x - 1.0, 1.0 - 2.0 * p.y / size.y, 0.0, 1.0); }
`;

/** Of a disc with a smooth edge: at `where` radii a ring so many pixels wide. Wants `radius` and `dense`. */
export const RING = `
float ring(float d, float where, float pixels) {
  float w = pixels / radius;
  return 1.0 - smoothstep(0.5 * w, 0.5 * w + 1.0 / (radius * dense), abs(d - where));
}
`;

/** The square that a disc is drawn on, as a triangle strip. */
export const SQUARE = new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]);

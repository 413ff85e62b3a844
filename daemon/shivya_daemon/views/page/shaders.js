// GLSL of the map. All lengths are CSS pixels; colours leave premultiplied.

const SCREEN = `
uniform vec2 size;
vec4 onScreen(vec2 p) { return vec4(2.0 * p.x / size.x - 1.0, 1.0 - 2.0 * p.y / size.y, 0.0, 1.0); }
`;

export const TUBE_VERTEX = `#version 300 es
layout(location = 0) in vec2 strip;   // along 0 to 1, across -1 to 1
layout(location = 1) in vec4 ends;    // one end, the other end
layout(location = 2) in vec4 form;    // bend, radius, flow 0 to 1, distance travelled by the light
layout(location = 3) in vec4 state;   // phase at both ends, emphasis, whether broken
layout(location = 4) in vec3 more;    // opacity, how much it pulses, which way the flow goes
${SCREEN}
out vec2 place;                       // pixels along, radii across
flat out vec4 look;                   // flow, light, emphasis, broken
flat out vec3 shape;                  // way, radius, opacity
void main() {
  vec2 a = ends.xy, b = ends.zw;
  float s = strip.x;
  vec2 chord = b - a;
  vec2 c = 0.5 * (a + b) + vec2(-chord.y, chord.x) * form.x;
  float len = length(chord) * (1.0 + form.x * form.x);
  vec2 p = mix(mix(a, c, s), mix(c, b, s), s);
  vec2 t = normalize(mix(c - a, b - c, s) + vec2(1e-5, 0.0));
  float swell = 1.0 + 0.16 * more.y * sin(mix(state.x, state.y, s));
  float flare = 1.0 + 1.1 * exp(-s * len / 16.0) + 1.1 * exp(-(1.0 - s) * len / 16.0);
  float radius = max(form.y, 0.6) * swell * flare;
  float reach = 5.0 * radius + 10.0;
  place = vec2(s * len, strip.y * reach / radius);
  look = vec4(form.z, form.w, state.zw);
  shape = vec3(more.z, form.y, more.x);
  gl_Position = onScreen(p + vec2(-t.y, t.x) * strip.y * reach);
}`;

export const TUBE_FRAGMENT = `#version 300 es
precision highp float;
in vec2 place;
flat in vec4 look;
flat in vec3 shape;
uniform sampler2D ramp;
uniform float dense;                  // device pixels per CSS pixel
out vec4 paint;
void main() {
  float d = abs(place.y);
  float edge = 1.0 / max(shape.y * dense, 0.5);
  float body = 1.0 - smoothstep(1.0 - edge, 1.0 + edge, d);
  float round_ = sqrt(max(0.0, 1.0 - d * d));
  float flow = look.x;
  vec3 hue = texture(ramp, vec2(0.06 + 0.9 * flow, 0.5)).rgb;
  vec3 light = texture(ramp, vec2(0.35 + 0.65 * flow, 0.5)).rgb;
  // Comets of light run with the flow; head and tail tell its way even when nothing moves.
  float wave = fract(shape.x * (place.x - look.y) / 46.0);
  float packet = pow(wave, 3.5) * smoothstep(1.0, 0.9, wave) * smoothstep(0.01, 0.2, flow);
  float rim = pow(1.0 - round_, 2.0);
  float broken = look.w > 0.5 ? step(0.5, fract(place.x / 14.0)) : 1.0;
  vec3 skin = hue * (0.30 + 0.45 * round_ + 0.40 * rim) + light * packet * round_ * (0.25 + 0.75 * flow);
  skin += vec3(1.0) * pow(round_, 14.0) * (0.05 + 0.16 * packet);
  float halo = exp(-1.15 * max(d - 0.8, 0.0)) * smoothstep(5.0, 3.0, d);
  vec3 glow = hue * halo * (0.10 + 0.34 * flow + 0.22 * packet * flow);
  float chosen = look.z;
  skin *= 1.0 + 0.35 * chosen;
  glow *= 1.0 + 0.9 * chosen;
  paint = vec4(skin * body * broken + glow * (1.0 - 0.7 * body), body * broken * 0.92) * shape.z;
}`;

export const CELL_VERTEX = `#version 300 es
layout(location = 0) in vec2 corner;
layout(location = 1) in vec4 body;    // middle, radius, waiting 0 to 1
layout(location = 2) in vec4 state;   // pulse, own, chosen, known
${SCREEN}
out vec2 at;                          // radii from the middle
flat out vec4 look;                   // waiting, own, chosen, known
flat out float radius;
void main() {
  radius = max(body.z * state.x, 0.5);
  at = corner * (5.0 + 12.0 / radius);
  look = vec4(body.w, state.yzw);
  gl_Position = onScreen(body.xy + at * radius);
}`;

export const CELL_FRAGMENT = `#version 300 es
precision highp float;
in vec2 at;
flat in vec4 look;
flat in float radius;
uniform sampler2D ramp;
uniform float dense;
out vec4 paint;
float ring(float d, float where, float pixels) {
  float w = pixels / radius;
  return 1.0 - smoothstep(0.5 * w, 0.5 * w + 1.0 / (radius * dense), abs(d - where));
}
void main() {
  float d = length(at);
  float edge = 0.9 / max(radius * dense, 0.5);
  float disc = 1.0 - smoothstep(1.0 - edge, 1.0 + edge, d);
  float round_ = sqrt(max(0.0, 1.0 - d * d));
  float heat = look.x;
  float known = look.w;
  vec3 hue = texture(ramp, vec2(0.22 + 0.78 * heat, 0.5)).rgb * mix(0.45, 1.0, known);
  vec3 bright = texture(ramp, vec2(0.55 + 0.45 * heat, 0.5)).rgb * mix(0.45, 1.0, known);
  // A cell: dark plasma, a luminous membrane, a nucleus, and a highlight from above.
  vec3 plasma = hue * (0.16 + 0.20 * heat) + vec3(0.010, 0.016, 0.016);
  float membrane = pow(1.0 - round_, 1.6);
  float nucleus = exp(-d * d * (9.0 - 4.0 * heat));
  float shine = exp(-dot(at - vec2(-0.34, -0.42), at - vec2(-0.34, -0.42)) * 9.0);
  vec3 inside = plasma + hue * membrane * 0.95 + bright * nucleus * (0.55 + 0.6 * heat) + vec3(0.10) * shine;
  float halo = exp(-1.05 * max(d - 0.9, 0.0)) * smoothstep(5.0, 2.6, d);
  vec3 glow = hue * halo * (0.12 + 0.62 * heat);
  vec3 rings = mix(bright, vec3(1.0), 0.25) * ring(d, 1.34, 1.4) * look.y;
  rings += vec3(1.0) * ring(d, 1.62, 1.6) * look.z;
  paint = vec4(inside * disc + glow * (1.0 - disc) + rings, disc);
}`;

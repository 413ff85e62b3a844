// GLSL of the map. All lengths are CSS pixels; colours leave premultiplied.

import { RING, SCREEN } from "./glsl.js";

export const TUBE_VERTEX = `#version 300 es
layout(location = 0) in vec2 strip;   // along 0 to 1, across -1 to 1
layout(location = 1) in vec4 ends;    // one end, the other end
layout(location = 2) in vec4 form;    // bend, radius, flow 0 to 1, distance travelled by the light
layout(location = 3) in vec4 state;   // phase at both ends, emphasis, whether broken
layout(location = 4) in vec3 more;    // opacity, how much it pulses, which way the flow goes
${SCREEN}
out vec3 place;                       // along 0 to 1, pixels along, pixels across
flat out vec4 look;                   // flow, light, emphasis, broken
flat out vec4 shape;                  // radius, way, opacity, how much it pulses
flat out vec2 phases;
flat out float reach;
void main() {
  vec2 a = ends.xy, b = ends.zw;
  float s = strip.x;
  vec2 chord = b - a;
  vec2 c = 0.5 * (a + b) + vec2(-chord.y, chord.x) * form.x;
  float len = length(chord) * (1.0 + form.x * form.x);
  vec2 p = mix(mix(a, c, s), mix(c, b, s), s);
  vec2 t = normalize(mix(c - a, b - c, s) + vec2(1e-5, 0.0));
  reach = 6.0 * form.y + 18.0;
  place = vec3(s, s * len, strip.y * reach);
  look = vec4(form.z, form.w, state.zw);
  shape = vec4(max(form.y, 0.6), more.z, more.x, more.y);
  phases = state.xy;
  gl_Position = onScreen(p + vec2(-t.y, t.x) * strip.y * reach);
}`;

export const TUBE_FRAGMENT = `#version 300 es
precision highp float;
in vec3 place;
flat in vec4 look;
flat in vec4 shape;
flat in vec2 phases;
flat in float reach;
uniform sampler2D ramp;
uniform float dense;                  // device pixels per CSS pixel
out vec4 paint;
void main() {
  float s = place.x, flow = look.x, chosen = look.z;
  float whole = place.y / max(s, 1e-4);
  float flare = exp(-place.y / 14.0) + exp(-(whole - place.y) / 14.0);
  float radius = shape.x * (1.0 + 0.16 * shape.w * sin(mix(phases.x, phases.y, s)) + 0.9 * flare);
  float away = abs(place.z);
  float d = away / radius;
  float body = 1.0 - smoothstep(-0.75 / dense, 0.75 / dense, away - radius);
  float round_ = sqrt(max(0.0, 1.0 - d * d));
  vec3 hue = texture(ramp, vec2(0.14 + 0.70 * flow, 0.5)).rgb;
  vec3 light = texture(ramp, vec2(0.42 + 0.58 * flow, 0.5)).rgb;
  // Comets of light run with the flow; head and tail tell its way even when nothing moves.
  float wave = fract(shape.y * (place.y - look.y) / 84.0);
  float comet = (pow(wave, 5.0) * smoothstep(1.0, 0.93, wave)) * smoothstep(0.01, 0.15, flow);
  float vein = comet * exp(-3.2 * d * d) * (0.35 + 0.65 * flow);
  float broken = look.w > 0.5 ? step(0.5, fract(place.y / 14.0)) : 1.0;
  vec3 skin = hue * (0.26 + 0.56 * round_ * round_ + 0.22 * smoothstep(0.55, 1.0, d));
  skin += hue * (0.10 + 0.25 * flow) * exp(-6.0 * d * d);
  skin += light * vein * 1.15 + vec3(0.5) * vein * vein;
  // The light around a tube ends softly inside the cells, not at the straight end of its strip.
  float ends = smoothstep(0.0, 34.0, place.y) * smoothstep(0.0, 34.0, whole - place.y);
  float fade = smoothstep(reach, 0.45 * reach, away) * ends;
  float halo = exp(-0.55 * max(away - 0.7 * radius, 0.0) / (2.0 + 0.55 * shape.x)) * fade;
  vec3 glow = hue * halo * (0.05 + 0.26 * flow + 0.30 * vein);
  skin *= 1.0 + 0.35 * chosen;
  glow *= 1.0 + 0.9 * chosen;
  paint = vec4(skin * body * broken + glow * (1.0 - 0.8 * body), body * broken * 0.94) * shape.z;
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
${RING}
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

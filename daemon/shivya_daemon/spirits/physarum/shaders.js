// GLSL of the organism. Places are CSS pixels after projection; colours leave premultiplied.

import { RING, SCREEN } from "./glsl.js";

export const TUBE_VERTEX = `#version 300 es
layout(location = 0) in vec2 strip;   // along 0 to 1, across -1 to 1
layout(location = 1) in vec4 ends;    // one end, the other end
layout(location = 2) in vec4 form;    // radius, flow 0 to 1, distance travelled by the light, which way it goes
layout(location = 3) in vec4 state;   // phase at both ends, how much it swings, nearness
layout(location = 4) in vec2 more;    // opacity, whether dashed
${SCREEN}
out vec2 place;                       // pixels along and across
flat out float len;
flat out vec4 look;                   // flow, light, way, nearness
flat out vec4 shape;                  // radius, swing, opacity, dashed
flat out vec2 phases;
flat out float reach;
void main() {
  vec2 chord = ends.zw - ends.xy;
  len = length(chord);
  vec2 t = chord / max(len, 1e-4);
  float radius = max(form.x, 0.45);
  reach = 4.0 * radius + 9.0;
  float along = mix(-reach, len + reach, strip.x);
  place = vec2(along, strip.y * reach);
  look = vec4(form.yzw, state.w);
  shape = vec4(radius, state.z, more.x, more.y);
  phases = state.xy;
  gl_Position = onScreen(ends.xy + t * along + vec2(-t.y, t.x) * strip.y * reach);
}`;

export const TUBE_FRAGMENT = `#version 300 es
precision highp float;
in vec2 place;
flat in float len;
flat in vec4 look;
flat in vec4 shape;
flat in vec2 phases;
flat in float reach;
uniform sampler2D ramp;
uniform float dense;                  // device pixels per CSS pixel
uniform float shine;                  // tube glow, 0 to 1
out vec4 paint;
void main() {
  float flow = look.x, near = look.w;
  float s = clamp(place.x / max(len, 1e-3), 0.0, 1.0);
  float radius = shape.x * (1.0 + shape.y * sin(mix(phases.x, phases.y, s)));
  float beyond = max(max(-place.x, place.x - len), 0.0);
  float away = length(vec2(beyond, place.y));   // round ends, so that tubes join
  float d = away / radius;
  float body = 1.0 - smoothstep(-0.75 / dense, 0.75 / dense, away - radius);
  float round_ = sqrt(max(0.0, 1.0 - d * d));
  vec3 hue = texture(ramp, vec2(0.16 + 0.66 * flow, 0.5)).rgb;
  vec3 light = texture(ramp, vec2(0.45 + 0.55 * flow, 0.5)).rgb;
  // Comets of light run with the flow; head and tail tell its way even when nothing moves.
  float wave = fract(look.z * (place.x - look.y) / 46.0);
  float comet = (pow(wave, 4.0) * smoothstep(1.0, 0.92, wave)) * smoothstep(0.08, 0.3, flow);
  float vein = comet * exp(-3.0 * d * d) * (0.3 + 0.7 * flow);
  float dashed = shape.w > 0.5 ? step(0.5, fract(place.x / 9.0)) : 1.0;
  vec3 skin = hue * (0.30 + 0.58 * round_ * round_ + 0.20 * smoothstep(0.55, 1.0, d));
  skin += hue * (0.10 + 0.30 * flow) * exp(-5.0 * d * d);
  skin += light * vein * 1.1 + vec3(0.4) * vein * vein;
  // Where two tubes meet, the light of one ends as that of the other begins: together they are one.
  float turn = min(reach, 0.5 * len + 1.0);
  float ends = smoothstep(-turn, turn, place.x) * smoothstep(-turn, turn, len - place.x);
  float side = abs(place.y);
  float fade = smoothstep(reach, 0.35 * reach, side) * ends;
  float halo = exp(-0.6 * max(side - 0.7 * radius, 0.0) / (1.6 + 0.5 * shape.x)) * fade;
  vec3 glow = hue * halo * shine * (0.05 + 0.42 * flow + 0.30 * vein);
  paint = vec4(skin * body * dashed + glow * (1.0 - 0.8 * body) * dashed, body * dashed * 0.94) * shape.z;
  paint.rgb *= near;
}`;

export const CELL_VERTEX = `#version 300 es
layout(location = 0) in vec2 corner;
layout(location = 1) in vec4 body;    // middle, radius, nutrient 0 to 1
layout(location = 2) in vec4 state;   // pulse, nearness, kind (0 cell, 1 food, 2 a neighbour's end), opacity
${SCREEN}
out vec2 at;                          // radii from the middle
flat out vec4 look;                   // nutrient, nearness, kind, opacity
flat out float radius;
void main() {
  radius = max(body.z * state.x, 0.6);
  at = corner * (3.2 + 5.0 / radius);
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
uniform float shine;
out vec4 paint;
${RING}
void main() {
  float d = length(at);
  float heat = look.x, near = look.y, kind = look.z;
  vec3 hue = texture(ramp, vec2(0.26 + 0.74 * heat, 0.5)).rgb;
  vec3 bright = texture(ramp, vec2(0.6 + 0.4 * heat, 0.5)).rgb;
  if (kind > 0.5 && kind < 1.5) {     // food: a ring around a grain, so that the cell in it stays visible
    float grain = exp(-d * d * 14.0);
    float halo = exp(-1.6 * abs(d - 1.0)) * smoothstep(3.2, 1.4, d);
    vec3 rings = mix(bright, vec3(1.0), 0.35) * ring(d, 1.0, 1.8) + hue * 0.7 * ring(d, 1.42, 1.0);
    paint = vec4((rings + bright * grain * 0.8 + hue * halo * shine * 0.35) * near, 0.0) * look.w;
    return;
  }
  float edge = 0.9 / max(radius * dense, 0.5);
  float disc = 1.0 - smoothstep(1.0 - edge, 1.0 + edge, d);
  float round_ = sqrt(max(0.0, 1.0 - d * d));
  // A cell: dark plasma, a luminous membrane, a nucleus, and a highlight from above.
  vec3 plasma = hue * (0.24 + 0.30 * heat) + vec3(0.010, 0.016, 0.016);
  float membrane = pow(1.0 - round_, 1.6);
  float nucleus = exp(-d * d * (9.0 - 5.0 * heat));
  float spark = exp(-dot(at - vec2(-0.34, -0.42), at - vec2(-0.34, -0.42)) * 9.0);
  vec3 inside = plasma + hue * membrane * 0.9 + bright * nucleus * (0.5 + 0.6 * heat) + vec3(0.10) * spark;
  float halo = exp(-1.5 * max(d - 0.9, 0.0)) * smoothstep(3.2, 1.6, d);
  vec3 glow = hue * halo * shine * (0.06 + 0.75 * heat);
  if (kind > 1.5) inside = mix(inside, vec3(dot(inside, vec3(0.4))), 0.55);
  paint = vec4((inside * disc + glow * (1.0 - disc)) * near, disc) * look.w;
}`;

// What stands on the screen at one moment: the mesh eased towards its last message, in CSS pixels.

import { hash } from "./layout.js";

const EASE = 0.3; // seconds in which two thirds of a change are shown
const TURN = 2 * Math.PI; // natural frequency of the phases, in rad/s
const PADDING = { x: 92, top: 90, low: 124 };
const STRETCH = 2.1;

export class Scene {
  constructor(layout) {
    this.layout = layout;
    this.mesh = null;
    this.nodes = new Map();
    this.edges = new Map();
    this.flow = "recommended";
    this.mostFlow = 1;
    this.chosen = null;
    this.camera = { zoom: 1, x: 0, y: 0 };
    this.width = 1;
    this.height = 1;
    this.fitted = null;
  }

  /** Take the graph of a message, received at `now` (seconds). */
  update(mesh, now) {
    this.mesh = mesh;
    this.layout.update(mesh);
    keep(this.nodes, mesh.nodes, () => ({ shown: 0, wait: 0, size: 0.5 }));
    keep(this.edges, mesh.edges, (edge) => ({
      shown: 0, radius: 0, value: 0, speed: 0, bend: (hash(edge.key) - 0.5) * 0.34, travelled: 0,
    }));
    for (const node of mesh.nodes.values()) if (node.phase !== null) this.nodes.get(node.id).told = [node.phase, now];
  }

  /** Move everything on by `dt` seconds; without `still` it is eased, with it everything is at its end at once. */
  advance(dt, now, still) {
    if (this.mesh === null) return;
    if (this.layout.moving) this.layout.step(still ? 0.05 : 0.012);
    const ease = still ? 1 : 1 - Math.exp(-dt / EASE);
    const { nodes, edges } = this.mesh;
    const waits = [...nodes.values()].map((node) => node.waiting ?? 0);
    const longest = Math.max(0.25, ...waits);
    const fastest = Math.max(1e-9, ...[...nodes.values()].map((node) => node.rate ?? 0));
    const flows = [...edges.values()].map((edge) => Math.abs(edge[this.flow]));
    this.mostFlow += (Math.max(1, ...flows) - this.mostFlow) * ease;
    const thickest = Math.max(1, ...[...edges.values()].map((edge) => edge.conductance));
    this.#fit(ease);
    for (const [id, drawn] of this.nodes) {
      const node = nodes.get(id);
      const place = this.layout.places.get(id);
      drawn.id = id;
      drawn.node = node;
      [drawn.x, drawn.y] = this.toScreen(place);
      drawn.shown += (1 - drawn.shown) * ease;
      drawn.wait += ((node.waiting ?? 0) / longest - drawn.wait) * ease;
      drawn.size += ((node.rate === null ? 0.35 : 0.55 + 0.45 * Math.sqrt(node.rate / fastest)) - drawn.size) * ease;
      drawn.phase = still || !drawn.told ? 0 : drawn.told[0] + TURN * (now - drawn.told[1]);
      drawn.pulse = still || !drawn.told ? 1 : 1 + 0.2 * Math.sin(drawn.phase) * 0.5;
      drawn.radius = this.unit * 19 * drawn.size * drawn.shown;
      drawn.chosen = this.chosen === id;
    }
    for (const [key, drawn] of this.edges) this.#advanceEdge(key, drawn, edges.get(key), thickest, ease, dt, still);
    this.#findRoom();
  }

  /** Choose for each name the side, below or above its cell, where fewer tubes leave. */
  #findRoom() {
    for (const node of this.nodes.values()) node.crowd = 0;
    for (const { ax, ay, bx, by, edge } of this.edges.values()) {
      const steep = (by - ay) / (Math.hypot(bx - ax, by - ay) || 1);
      this.nodes.get(edge.a).crowd += steep * Math.abs(steep);
      this.nodes.get(edge.b).crowd -= steep * Math.abs(steep);
    }
    for (const node of this.nodes.values()) {
      if (Math.abs(node.crowd) > 0.25) node.above = node.crowd > 0; // else as before: names must not flicker
    }
  }

  #advanceEdge(key, drawn, edge, thickest, ease, dt, still) {
    const a = this.nodes.get(edge.a);
    const b = this.nodes.get(edge.b);
    const flow = edge[this.flow];
    const strength = Math.min(1, Math.log1p(Math.abs(flow)) / Math.log1p(this.mostFlow));
    drawn.key = key;
    drawn.edge = edge;
    drawn.broken = edge.link !== null && edge.link.breaker !== "closed";
    drawn.shown += (1 - drawn.shown) * ease;
    drawn.radius += (this.unit * (1.3 + 4.4 * Math.sqrt(edge.conductance / thickest)) - drawn.radius) * ease;
    drawn.value += (strength - drawn.value) * ease;
    drawn.speed += (Math.sign(flow) * (strength > 0.01 ? 20 + 64 * strength : 0) - drawn.speed) * ease;
    drawn.travelled = still ? 0 : drawn.travelled + drawn.speed * dt;
    drawn.chosen = this.chosen === key || this.chosen === edge.a || this.chosen === edge.b;
    Object.assign(drawn, { ax: a.x, ay: a.y, bx: b.x, by: b.y });
    drawn.phaseA = a.phase;
    // The shorter way round, so that the pulse runs along the tube and never jumps.
    drawn.phaseB = a.phase + Math.atan2(Math.sin(b.phase - a.phase), Math.cos(b.phase - a.phase));
    drawn.pulsing = !still && Boolean(a.told && b.told);
    drawn.alone = Math.min(a.shown, b.shown) * drawn.shown;
  }

  /** Choose scale and middle so that every node with its label is on the screen. */
  #fit(ease) {
    const box = this.layout.box();
    const wide = Math.max(60, this.width / 2 - Math.min(PADDING.x, this.width * 0.17));
    const high = Math.max(60, (this.height - PADDING.top - PADDING.low) / 2);
    const least = Math.min(wide / box.w, high / box.h);
    const goal = { x: box.x, y: box.y, sx: Math.min(wide / box.w, least * STRETCH), sy: Math.min(high / box.h, least * STRETCH) };
    if (this.fitted === null) this.fitted = goal;
    for (const key of Object.keys(goal)) this.fitted[key] += (goal[key] - this.fitted[key]) * ease;
    const room = Math.sqrt((this.width * this.height) / Math.max(6, this.nodes.size)) / 190;
    this.unit = Math.min(1.5, Math.max(0.5, room)) * Math.sqrt(this.camera.zoom);
  }

  toScreen(place) {
    const { zoom, x, y } = this.camera;
    const middle = (this.height - PADDING.low + PADDING.top) / 2;
    return [
      this.width / 2 + x + zoom * this.fitted.sx * (place.x - this.fitted.x),
      middle + y + zoom * this.fitted.sy * (place.y - this.fitted.y),
    ];
  }

  /** The id of the node, or else the key of the tube, at a point of the screen; null where there is neither. */
  at(x, y, slack = 8) {
    for (const node of this.nodes.values()) {
      if (Math.hypot(node.x - x, node.y - y) <= node.radius + slack) return node.id;
    }
    let found = null;
    let nearest = slack;
    for (const edge of this.edges.values()) {
      for (let i = 1; i < 24; i += 1) {
        const [px, py] = along(edge, i / 24);
        const away = Math.hypot(px - x, py - y) - edge.radius;
        if (away < nearest) [nearest, found] = [away, edge.key];
      }
    }
    return found;
  }
}

/** The point at `s`, 0 to 1, of a tube: a quadratic curve, bent a little to one side. */
export function along(edge, s) {
  const [cx, cy] = control(edge);
  const r = 1 - s;
  return [r * r * edge.ax + 2 * r * s * cx + s * s * edge.bx, r * r * edge.ay + 2 * r * s * cy + s * s * edge.by];
}

/** The control point of that curve. */
export function control(edge) {
  return [
    (edge.ax + edge.bx) / 2 - (edge.by - edge.ay) * edge.bend,
    (edge.ay + edge.by) / 2 + (edge.bx - edge.ax) * edge.bend,
  ];
}

function keep(drawn, wanted, make) {
  for (const key of drawn.keys()) if (!wanted.has(key)) drawn.delete(key);
  for (const [key, value] of wanted) if (!drawn.has(key)) drawn.set(key, make(value));
}

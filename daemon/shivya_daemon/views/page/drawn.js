// The same map as SVG, for browsers without WebGL2. Direction is an arrow here, as nothing needs to move.

import { along, control } from "./scene.js";
import { colour } from "./schemes.js";
import { make, px, set } from "./svg.js";

/** Return a painter on `surface`. */
export function drawnPainter(surface) {
  return new DrawnPainter(surface);
}

class DrawnPainter {
  kind = "svg";

  constructor(surface) {
    this.root = make("svg", { class: "drawn" });
    this.tubes = make("g", { "stroke-linecap": "round", fill: "none" });
    this.cells = make("g", {});
    this.root.append(this.tubes, this.cells);
    this.drawn = new Map();
    surface.replaceChildren(this.root);
  }

  colours(bytes) {
    this.bytes = bytes;
  }

  resize(width, height) {
    set(this.root, { viewBox: `0 0 ${width} ${height}`, width, height });
  }

  paint(scene) {
    const seen = new Set();
    for (const edge of scene.edges.values()) { this.#tube(edge); seen.add(edge.key); }
    for (const node of scene.nodes.values()) { this.#cell(node); seen.add(node.id); }
    for (const [key, parts] of this.drawn) {
      if (seen.has(key)) continue;
      parts.group.remove();
      this.drawn.delete(key);
    }
  }

  #parts(key, layer, names) {
    let parts = this.drawn.get(key);
    if (parts === undefined) {
      parts = { group: make("g", {}) };
      for (const [name, tag] of Object.entries(names)) parts.group.append((parts[name] = make(tag, {})));
      layer.append(parts.group);
      this.drawn.set(key, parts);
    }
    return parts;
  }

  #tube(edge) {
    const parts = this.#parts(edge.key, this.tubes, { halo: "path", body: "path", arrow: "path" });
    const [cx, cy] = control(edge);
    const d = `M${px(edge.ax)} ${px(edge.ay)}Q${px(cx)} ${px(cy)} ${px(edge.bx)} ${px(edge.by)}`;
    const stroke = colour(this.bytes, 0.14 + 0.7 * edge.value);
    const wide = 2 * edge.radius;
    const dash = edge.broken ? "7 9" : "none";
    set(parts.halo, { d, stroke, "stroke-width": px(wide * 2.4), opacity: (0.1 + 0.12 * edge.value + 0.12 * edge.chosen).toFixed(2) });
    set(parts.body, { d, stroke, "stroke-width": px(wide), "stroke-dasharray": dash, opacity: edge.chosen ? 1 : 0.85 });
    set(parts.arrow, { d: arrow(edge), stroke: colour(this.bytes, 1), "stroke-width": 2, opacity: edge.value > 0.02 ? 0.95 : 0 });
  }

  #cell(node) {
    const parts = this.#parts(node.id, this.cells, { halo: "circle", body: "circle", core: "circle", ring: "circle" });
    const known = node.node.known && !node.node.standing?.out ? 1 : 0.45;
    const hue = colour(this.bytes, 0.22 + 0.78 * node.wait);
    const at = { cx: px(node.x), cy: px(node.y) };
    const r = node.radius;
    set(parts.halo, { ...at, r: px(1.9 * r), fill: hue, opacity: ((0.07 + 0.2 * node.wait) * known).toFixed(2) });
    set(parts.body, { ...at, r: px(r), fill: "#0c1614", stroke: hue, "stroke-width": 2.5, opacity: known });
    set(parts.core, { ...at, r: px(r * (0.3 + 0.25 * node.wait)), fill: colour(this.bytes, 0.55 + 0.45 * node.wait), opacity: known });
    const ring = node.chosen ? 1.62 : 1.34;
    set(parts.ring, {
      ...at, r: px(ring * r), fill: "none", stroke: node.chosen ? "#fff" : hue, "stroke-width": 1.5,
      opacity: node.chosen || node.node.own ? 1 : 0,
    });
  }
}

/** A chevron in the middle of a tube, pointing the way the work goes. */
function arrow(edge) {
  const [x, y] = along(edge, 0.5);
  const size = 4 + edge.radius;
  const way = edge.speed < 0 ? -1 : 1;
  const length = Math.hypot(edge.bx - edge.ax, edge.by - edge.ay) || 1;
  const [tx, ty] = [(way * (edge.bx - edge.ax)) / length, (way * (edge.by - edge.ay)) / length];
  const point = (forth, aside) => `${px(x + size * (forth * tx - aside * ty))} ${px(y + size * (forth * ty + aside * tx))}`;
  return `M${point(-0.6, -0.9)}L${point(0.6, 0)}L${point(-0.6, 0.9)}`;
}

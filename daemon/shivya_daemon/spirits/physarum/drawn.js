// The same picture as SVG, for browsers without WebGL2.

import { Scene } from "./scene.js";
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
    this.layers = {};
    for (const name of ["links", "glow", "tubes", "ends", "cells", "foods"]) {
      this.layers[name] = make("g", { class: name, "stroke-linecap": "round", fill: "none" });
      this.root.append(this.layers[name]);
    }
    surface.replaceChildren(this.root);
  }

  colours(bytes) {
    this.bytes = bytes;
  }

  resize(width, height) {
    set(this.root, { viewBox: `0 0 ${width} ${height}`, width, height });
  }

  paint(scene, shine) {
    const foods = Scene.sorted(scene.foods, (food) => food.scale > 0 && food.end.scale > 0);
    const tubes = Scene.sorted(scene.tubes, (tube) => tube.seen);
    const cells = Scene.sorted(scene.cells, (cell) => cell.scale > 0);
    const straight = scene.overlay && scene.origin ? foods : [];
    const dim = colour(this.bytes, 0.35);
    const line = (ax, ay, bx, by) => ({ x1: px(ax), y1: px(ay), x2: px(bx), y2: px(by) });
    fill(this.layers.links, "line", [
      ...straight.map((f) => ({ ...line(scene.origin[0], scene.origin[1], f.x, f.y), stroke: dim, "stroke-width": 1, "stroke-dasharray": "3 6" })),
      ...foods.map((f) => ({ ...line(f.x, f.y, f.end.x, f.end.y), stroke: dim, "stroke-width": 1.5, "stroke-dasharray": "2 5" })),
    ]);
    const halos = shine > 0 ? tubes.filter((tube) => tube.value > 0.25) : [];
    fill(this.layers.glow, "line", halos.map((t) => ({
      ...line(t.ax, t.ay, t.bx, t.by), stroke: colour(this.bytes, 0.16 + 0.66 * t.value),
      "stroke-width": px(5 * t.wide + 6), opacity: (0.22 * shine * t.value).toFixed(2),
    })));
    fill(this.layers.tubes, "line", tubes.map((t) => ({
      ...line(t.ax, t.ay, t.bx, t.by), stroke: colour(this.bytes, 0.2 + 0.66 * t.value),
      "stroke-width": px(Math.max(0.9, 2 * t.wide)), opacity: Math.min(1, 0.9 * t.near).toFixed(2),
    })));
    fill(this.layers.ends, "circle", foods.map((f) => ({
      cx: px(f.end.x), cy: px(f.end.y), r: px(f.end.radius * f.end.pulse), fill: colour(this.bytes, 0.4), opacity: 0.6,
    })));
    fill(this.layers.cells, "circle", cells.map((c) => ({
      cx: px(c.x), cy: px(c.y), r: px(Math.max(1, c.radius * c.pulse)), fill: colour(this.bytes, 0.3 + 0.7 * c.fill),
      opacity: Math.min(1, c.near).toFixed(2),
    })));
    fill(this.layers.foods, "circle", foods.map((f) => ({
      cx: px(f.x), cy: px(f.y), r: px(f.radius), stroke: colour(this.bytes, 0.75 + 0.25 * f.share), "stroke-width": 2,
    })));
  }
}

/** Let a layer have one element for each of these attributes, and no more. */
function fill(layer, tag, wanted) {
  while (layer.childElementCount > wanted.length) layer.lastChild.remove();
  wanted.forEach((attributes, i) => {
    if (i >= layer.childElementCount) layer.append(make(tag, attributes));
    else set(layer.children[i], attributes);
  });
}

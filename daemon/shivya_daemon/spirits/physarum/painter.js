// The organism in WebGL2: every tube and every cell one instance, two draw calls a frame.

import { SQUARE } from "./glsl.js";
import { instancedPainter } from "./instances.js";
import { Scene } from "./scene.js";
import { CELL_FRAGMENT, CELL_VERTEX, TUBE_FRAGMENT, TUBE_VERTEX } from "./shaders.js";

const STRIP = new Float32Array([0, -1, 0, 1, 1, -1, 1, 1]);

/** Return a painter on `surface`, or null where WebGL2 cannot be had. `lost` is called when it goes away. */
export function glowingPainter(surface, lost) {
  return instancedPainter(surface, lost, (stage) => {
    const tubes = stage.layer(TUBE_VERTEX, TUBE_FRAGMENT, STRIP, [4, 4, 4, 2]);
    const cells = stage.layer(CELL_VERTEX, CELL_FRAGMENT, SQUARE, [4, 4]);
    return (scene, shine) => {
      const foods = Scene.sorted(scene.foods, (food) => food.scale > 0 && food.end.scale > 0);
      const links = scene.overlay && scene.origin ? foods : [];
      const joined = [...links.map((food) => link(scene, food)), ...foods.map(joint)];
      const seen = Scene.sorted(scene.tubes, (one) => one.seen).map(tube);
      stage.draw(tubes, [...joined, ...seen], { shine });
      const bodies = Scene.sorted(scene.cells, (one) => one.scale > 0).map(cell);
      stage.draw(cells, [...foods.map(end), ...bodies, ...foods.map(grain)], { shine });
    };
  });
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

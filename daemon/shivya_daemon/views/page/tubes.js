// The map in WebGL2: every tube and every cell one instance, two draw calls a frame.

import { SQUARE } from "./glsl.js";
import { instancedPainter } from "./instances.js";
import { CELL_FRAGMENT, CELL_VERTEX, TUBE_FRAGMENT, TUBE_VERTEX } from "./shaders.js";

const PIECES = 28;

/** Return a painter on `surface`, or null where WebGL2 cannot be had. `lost` is called when it goes away. */
export function tubePainter(surface, lost) {
  return instancedPainter(surface, lost, (stage) => {
    const tubes = stage.layer(TUBE_VERTEX, TUBE_FRAGMENT, strip(), [4, 4, 4, 3]);
    const cells = stage.layer(CELL_VERTEX, CELL_FRAGMENT, SQUARE, [4, 4]);
    return (scene) => {
      stage.draw(tubes, Array.from(scene.edges.values(), tube));
      stage.draw(cells, Array.from(scene.nodes.values(), cell));
    };
  });
}

function tube(e) {
  const light = e.travelled % 84;
  const emphasis = e.chosen ? 1 : 0;
  return [e.ax, e.ay, e.bx, e.by, e.bend, e.radius, e.value, light, e.phaseA, e.phaseB, emphasis, Number(e.broken), e.alone, Number(e.pulsing), e.speed < 0 ? -1 : 1];
}

function cell(n) {
  return [n.x, n.y, n.radius, n.wait, n.pulse, Number(n.node.own), Number(n.chosen), Number(n.node.known && !n.node.standing?.out)];
}

function strip() {
  const points = [];
  for (let i = 0; i <= PIECES; i += 1) points.push(i / PIECES, -1, i / PIECES, 1);
  return new Float32Array(points);
}

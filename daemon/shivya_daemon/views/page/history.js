// The last two minutes of this node, as points of the time line.

import { finite, guardWord, plain } from "./words.js";

export const WINDOW = 120; // seconds
const MOST = 1500;

export class History {
  constructor() {
    this.points = [];
  }

  /** Take a status message; `mesh` is its graph. A clock that went back begins anew. */
  add(status, mesh) {
    const t = finite(status.t);
    if (t === null) return;
    const last = this.points.at(-1);
    if (last && t < last.t - 1) this.points = [];
    this.points.push({
      t,
      freeEnergy: finite(status.collective_free_energy),
      waiting: mesh.self.waiting,
      action: action(status),
    });
    const oldest = t - WINDOW;
    let old = 0;
    while (old < this.points.length && (this.points[old].t < oldest || this.points.length - old > MOST)) old += 1;
    if (old) this.points.splice(0, old);
  }

  /** The value below which 99 % of the waits of the window lie; null before the first. */
  p99() {
    const waits = this.points.map((point) => point.waiting).filter((wait) => wait !== null).sort((a, b) => a - b);
    return waits.length ? waits[Math.min(waits.length - 1, Math.ceil(0.99 * waits.length) - 1)] : null;
  }
}

/** What the node does at the moment: what the guard is alarmed by, else the first cell that acts. */
function action(status) {
  const guard = guardWord(status);
  if (guard === "alert" || guard === "quarantine") return guard;
  const cells = Array.isArray(status.cells) ? status.cells : [];
  return plain(cells.find((cell) => cell?.action && cell.action !== "hold")?.action ?? "hold", 24);
}

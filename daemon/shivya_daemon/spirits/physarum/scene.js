// What stands on the screen at one moment: the organism eased towards its last message, projected, far things first.

const EASE = 0.35; // seconds in which two thirds of a change are shown
const BEYOND = 1.16; // where the neighbour's end of a link is drawn, in distances of its food
const FLOWS = 0.02; // share of the strongest flow from which light travels in a tube
const LEGEND = 44; // pixels at the bottom that the legend covers

export class Scene {
  constructor(camera) {
    this.camera = camera;
    this.organism = null;
    this.cells = new Map();
    this.tubes = new Map();
    this.foods = new Map();
    this.oscillations = true;
    this.overlay = false;
    this.mostFlow = 1e-9;
    this.mostFood = 1e-9;
    this.omega = 1; // rad per second of the organism's own time, as its messages show
    this.width = this.height = 1;
  }

  /** Take an organism that was told at `now` (seconds). */
  update(organism, now) {
    const before = this.organism;
    this.organism = organism;
    if (before !== null) this.#learnOmega(before, organism);
    this.told = now;
    keep(this.cells, organism.cells, () => ({ shown: 0, fill: 0 }));
    keep(this.tubes, organism.tubes, () => ({ shown: 0, radius: 0, value: 0, speed: 0, travelled: 0 }));
    keep(this.foods, organism.foods, () => ({ shown: 0 }));
  }

  /** The turn of the phases between two messages, per second of the organism's time: the middle of all cells. */
  #learnOmega(before, after) {
    const passed = after.now - before.now;
    if (!(passed > 0.01 && passed < 2)) return;
    const old = new Map(before.cells.map((cell) => [cell.key, cell.phase]));
    const turns = [];
    for (const { key, phase } of after.cells) {
      if (!old.has(key)) continue;
      const turn = phase - old.get(key);
      turns.push(Math.atan2(Math.sin(turn), Math.cos(turn)) / passed);
    }
    if (!turns.length) return;
    turns.sort((a, b) => a - b);
    const middle = turns[turns.length >> 1];
    if (Math.abs(middle) > 0.05) this.omega += 0.3 * (Math.min(12, Math.max(-12, middle)) - this.omega);
  }

  /** Move on by `dt` seconds to `now`; with `still` nothing swings, and every change is at its end at once. */
  advance(dt, now, still) {
    if (this.organism === null) return;
    const ease = still ? 1 : 1 - Math.exp(-dt / EASE);
    const speed = Number(this.organism.settings.speed) || 1;
    // No further than the next message may be late: an organism whose node is silent stands still.
    const turned = still ? 0 : this.omega * speed * Math.min(now - this.told, 1.5);
    const swing = this.oscillations && !still ? 0.2 : 0;
    const lens = this.camera.lens(this.width, Math.max(1, this.height - LEGEND));
    const { organism } = this;
    const most = Math.max(1e-3, ...organism.cells.map((cell) => cell.nutrient));
    const thickest = Math.max(1e-3, ...organism.tubes.map((tube) => tube.thickness));
    const strongest = Math.max(1e-9, ...organism.tubes.map((tube) => Math.abs(tube.flow)));
    this.mostFlow += (strongest - this.mostFlow) * ease;
    this.mostFood = Math.max(1e-9, ...organism.foods.map((food) => food.value));
    for (const cell of this.cells.values()) {
      cell.shown += (1 - cell.shown) * ease;
      cell.fill += (Math.sqrt(Math.max(0, cell.it.nutrient) / most) - cell.fill) * ease;
      cell.phase = cell.it.phase + turned;
      cell.pulse = 1 + swing * Math.sin(cell.phase);
      this.#place(cell, lens(cell.it.x, cell.it.y, cell.it.z));
      cell.radius = cell.scale * (0.007 + 0.019 * cell.fill) * cell.shown;
    }
    for (const tube of this.tubes.values()) this.#advanceTube(tube, thickest, ease, dt, still, swing);
    for (const food of this.foods.values()) this.#advanceFood(food, lens, ease, turned, swing);
    this.origin = lens(0, 0, 0);
  }

  #place(thing, seen) {
    [thing.x, thing.y, thing.scale, thing.depth] = seen ?? [0, 0, 0, Infinity];
    thing.near = Math.min(1.15, Math.max(0.35, 1 - 0.42 * (thing.depth - this.camera.distance)));
  }

  #advanceTube(tube, thickest, ease, dt, still, swing) {
    const [a, b] = [this.cells.get(tube.it.a.key), this.cells.get(tube.it.b.key)];
    tube.depth = Math.max(a.depth, b.depth);
    tube.near = (a.near + b.near) / 2;
    const scale = (a.scale + b.scale) / 2;
    tube.shown += (1 - tube.shown) * ease;
    tube.radius += (0.003 + 0.021 * Math.sqrt(Math.max(0, tube.it.thickness) / thickest) - tube.radius) * ease;
    const strength = Math.sqrt(Math.min(1, Math.abs(tube.it.flow) / this.mostFlow));
    tube.value += (strength - tube.value) * ease;
    tube.speed += (Math.sign(tube.it.flow) * (strength > Math.sqrt(FLOWS) ? 14 + 50 * strength : 0) - tube.speed) * ease;
    tube.travelled = still ? 0 : tube.travelled + tube.speed * dt;
    tube.wide = scale * tube.radius * tube.shown;
    tube.swing = swing;
    tube.phaseA = a.phase;
    // The shorter way round, so that the pulse runs along the tube and never jumps.
    tube.phaseB = a.phase + Math.atan2(Math.sin(b.phase - a.phase), Math.cos(b.phase - a.phase));
    Object.assign(tube, { ax: a.x, ay: a.y, bx: b.x, by: b.y, seen: a.scale > 0 && b.scale > 0 });
  }

  #advanceFood(food, lens, ease, turned, swing) {
    const { it } = food;
    food.shown += (1 - food.shown) * ease;
    food.share = Math.sqrt(Math.max(0, it.value) / this.mostFood);
    this.#place(food, lens(it.x, it.y, it.z));
    food.radius = food.scale * (0.026 + 0.026 * food.share) * food.shown;
    food.end = {};
    this.#place(food.end, lens(BEYOND * it.x, BEYOND * it.y, BEYOND * it.z));
    food.end.radius = food.end.scale * 0.02 * food.shown;
    food.end.pulse = it.phase === null ? 1 : 1 + swing * Math.sin(it.phase + turned);
  }

  /** All tubes or cells that can be seen, far ones first. */
  static sorted(things, seen) {
    return [...things.values()].filter(seen).sort((a, b) => b.depth - a.depth);
  }
}

function keep(drawn, wanted, make) {
  const keys = new Set(wanted.map((thing) => thing.key));
  for (const key of drawn.keys()) if (!keys.has(key)) drawn.delete(key);
  for (const thing of wanted) {
    if (!drawn.has(thing.key)) drawn.set(thing.key, make());
    drawn.get(thing.key).it = thing;
  }
}

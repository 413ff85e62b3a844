// Where nodes stand: springs along links, repulsion between all, the own node near the middle. The first
// position of a node comes from its id, so that the same mesh looks the same wherever it is opened.

const REPULSION = 0.9;
const SPRING = 0.35;
const GRAVITY = 0.06;
const SETTLED = 0.004;
const FIRST_STEPS = 400;

/** Number in [0, 1) from a text (FNV-1a). */
export function hash(text) {
  let value = 2166136261;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 16777619);
  return ((value ^ (value >>> 15)) >>> 0) / 4294967296;
}

export class Layout {
  constructor() {
    this.places = new Map();
    this.heat = 0;
    this.shape = "";
    this.edges = [];
  }

  /** Take the graph of the last message; a new shape lets all nodes move again. */
  update(mesh) {
    const shape = `${[...mesh.nodes.keys()].join()}|${[...mesh.edges.keys()].join()}`;
    if (shape === this.shape) return;
    const first = this.places.size === 0;
    this.shape = shape;
    this.edges = [...mesh.edges.values()].map((edge) => [edge.a, edge.b]);
    for (const id of this.places.keys()) if (!mesh.nodes.has(id)) this.places.delete(id);
    for (const id of [...mesh.nodes.keys()].sort()) if (!this.places.has(id)) this.places.set(id, this.#start(id));
    this.own = mesh.self.id;
    this.heat = 1;
    if (first) while (this.heat > SETTLED) this.step(this.heat / FIRST_STEPS ** 0.7);
  }

  #start(id) {
    const angle = 2 * Math.PI * hash(id);
    const near = this.edges.find(([a, b]) => (a === id && this.places.has(b)) || (b === id && this.places.has(a)));
    const from = near ? this.places.get(near[0] === id ? near[1] : near[0]) : { x: 0, y: 0 };
    const far = 0.6 + 0.8 * hash(`${id}/`);
    return { x: from.x + far * Math.cos(angle), y: from.y + far * Math.sin(angle), dx: 0, dy: 0 };
  }

  get moving() {
    return this.heat > SETTLED;
  }

  /** Let forces act once; `cooling` is how much heat goes. */
  step(cooling = 0.01) {
    const all = [...this.places.entries()];
    for (const [, place] of all) { place.dx = 0; place.dy = 0; }
    for (let i = 0; i < all.length; i += 1) {
      for (let j = i + 1; j < all.length; j += 1) repel(all[i][1], all[j][1]);
    }
    for (const [a, b] of this.edges) attract(this.places.get(a), this.places.get(b));
    for (const [id, place] of all) {
      const pull = id === this.own ? 4 * GRAVITY : GRAVITY;
      place.dx -= pull * place.x;
      place.dy -= pull * place.y;
      const size = Math.hypot(place.dx, place.dy) || 1;
      const most = Math.min(size, 0.25) * this.heat;
      place.x += (place.dx / size) * most;
      place.y += (place.dy / size) * most;
    }
    this.heat = Math.max(0, this.heat - cooling);
  }

  /** The box around all nodes: {x, y} of its middle, half its width and height. */
  box() {
    const places = [...this.places.values()];
    if (!places.length) return { x: 0, y: 0, w: 1, h: 1 };
    const xs = places.map((p) => p.x);
    const ys = places.map((p) => p.y);
    const [left, right, top, low] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    return { x: (left + right) / 2, y: (top + low) / 2, w: Math.max((right - left) / 2, 0.3), h: Math.max((low - top) / 2, 0.3) };
  }
}

function repel(p, q) {
  let dx = p.x - q.x;
  let dy = p.y - q.y;
  if (dx === 0 && dy === 0) { dx = 1e-3; dy = 1e-3; }
  const force = REPULSION / Math.max(dx * dx + dy * dy, 0.02);
  const size = Math.hypot(dx, dy);
  p.dx += (dx / size) * force;
  p.dy += (dy / size) * force;
  q.dx -= (dx / size) * force;
  q.dy -= (dy / size) * force;
}

function attract(p, q) {
  const dx = q.x - p.x;
  const dy = q.y - p.y;
  p.dx += SPRING * dx;
  p.dy += SPRING * dy;
  q.dx -= SPRING * dx;
  q.dy -= SPRING * dy;
}

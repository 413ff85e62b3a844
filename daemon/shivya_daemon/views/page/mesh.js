// A status message as a graph: what is drawn, listed and told. Nothing of a message is trusted to be there.

import { finite, plain } from "./words.js";

const MOST_NODES = 256;
const MOST_EDGES = 1024;

/** Return {self, nodes: Map id -> node, edges: Map key -> edge} of a status message. */
export function readMesh(status) {
  const nodes = new Map();
  const self = ownNode(status);
  nodes.set(self.id, self);
  for (const row of rows(status.peers).slice(0, MOST_NODES)) {
    if (typeof row.id === "string" && row.id !== self.id) nodes.set(row.id, peerNode(row));
  }
  for (const row of rows(status.guard?.peers)) {
    const node = nodes.get(row.id);
    if (node) node.standing = judged(row);
  }
  const edges = new Map();
  for (const row of rows(status.settle)) addSettled(row, nodes, edges);
  for (const row of rows(status.links)) addLink(row, self, nodes, edges);
  for (const edge of edges.values()) {
    nodes.get(edge.a).degree += 1;
    nodes.get(edge.b).degree += 1;
  }
  return { self, nodes, edges };
}

function rows(value) {
  return Array.isArray(value) ? value.filter((row) => row && typeof row === "object") : [];
}

function blank(id, name) {
  return {
    id, name: plain(name, 32) || id.slice(0, 8), own: false, known: false, queue: null, rate: null, waiting: null,
    freeEnergy: null, phase: null, rtt: null, age: null, address: "", services: [], degree: 0, row: null,
    standing: null,
  };
}

function ownNode(status) {
  const cells = rows(status.cells);
  const waits = cells.map((cell) => finite(cell.waiting_seconds)).filter((wait) => wait !== null);
  return {
    ...blank(plain(status.node_id, 40), status.name),
    own: true, known: true, row: status, address: plain(status.address, 48),
    queue: sum(cells.map((cell) => cell.queue)),
    rate: sum(cells.map((cell) => cell.service_rate)),
    waiting: waits.length ? Math.max(...waits) : null,
    freeEnergy: finite(status.collective_free_energy),
    phase: finite(status.phase?.theta),
    services: cells.map((cell) => plain(cell.service, 32)),
  };
}

function peerNode(row) {
  const rate = finite(row.service_rate) ?? 0;
  const queue = finite(row.queue);
  return {
    ...blank(row.id, row.name),
    known: rate > 0, row, address: plain(row.address, 48),
    queue: rate > 0 ? queue : null,
    rate: rate > 0 ? rate : null,
    waiting: rate > 0 && queue !== null ? queue / rate : null,
    freeEnergy: finite(row.free_energy), phase: finite(row.phase), rtt: finite(row.rtt_seconds),
    age: finite(row.age_seconds),
    services: Array.isArray(row.services) ? row.services.slice(0, 8).map((name) => plain(name, 32)) : [],
  };
}

function judged(row) {
  return {
    state: plain(row.state, 16), left: finite(row.seconds_left) ?? 0, threat: finite(row.threat), strikes: finite(row.strikes),
    out: row.state === "quarantined",
  };
}

function edgeBetween(a, b, edges) {
  const [low, high] = a < b ? [a, b] : [b, a];
  const key = `${low} ${high}`;
  if (!edges.has(key)) {
    if (edges.size >= MOST_EDGES) return null;
    edges.set(key, {
      key, a: low, b: high, conductance: 0, measured: 0, recommended: 0, gradient: 0, curl: 0, harmonic: 0,
      link: null, settled: false,
    });
  }
  return edges.get(key);
}

/** One edge of the known mesh; the flows of all services add up, positive from `a` to `b`. */
function addSettled(row, nodes, edges) {
  const { from_id: from, to_id: to } = row;
  if (typeof from !== "string" || typeof to !== "string" || !from || !to || from === to) return;
  for (const [id, name] of [[from, row.from], [to, row.to]]) {
    if (!nodes.has(id)) {
      if (nodes.size > MOST_NODES) return;
      nodes.set(id, blank(id, name));
    }
  }
  const edge = edgeBetween(from, to, edges);
  if (edge === null) return;
  const sign = edge.a === from ? 1 : -1;
  edge.measured += sign * (finite(row.reported) ?? 0);
  for (const part of ["recommended", "gradient", "curl", "harmonic"]) edge[part] += sign * (finite(row[part]) ?? 0);
  edge.conductance = Math.max(edge.conductance, finite(row.conductance) ?? 0);
  edge.settled = true;
}

function addLink(row, self, nodes, edges) {
  if (typeof row.id !== "string" || row.id === self.id || !nodes.has(row.id)) return;
  const edge = edgeBetween(self.id, row.id, edges);
  if (edge === null) return;
  edge.link = row;
  if (!edge.settled) {
    edge.conductance = finite(row.conductance) ?? 0;
    edge.measured = (edge.a === self.id ? 1 : -1) * (finite(row.reported) ?? 0);
  }
}

function sum(values) {
  return values.reduce((total, value) => total + (finite(value) ?? 0), 0);
}

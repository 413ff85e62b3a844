// The map as two plain tables, for screen readers and for whoever likes tables.

import { duration, number } from "./words.js";

const NODES = ["node", "held", "serves /s", "waiting", "free energy", "round trip", "links"];
const LINKS = ["from", "to", "recommended /s", "measured /s", "conductance"];

/** Fill `root` with what `mesh` holds. */
export function showTable(root, mesh) {
  const nodes = [...mesh.nodes.values()].map((node) => [
    node.own ? `${node.name} (this node)` : node.name, number(node.queue), number(node.rate), duration(node.waiting),
    number(node.freeEnergy), node.own ? "–" : duration(node.rtt), String(node.degree),
  ]);
  const links = [...mesh.edges.values()].map((edge) => {
    const [from, to] = edge.recommended < 0 ? [edge.b, edge.a] : [edge.a, edge.b];
    const sign = edge.recommended < 0 ? -1 : 1;
    return [
      mesh.nodes.get(from).name, mesh.nodes.get(to).name, number(Math.abs(edge.recommended)),
      number(sign * edge.measured), number(edge.conductance),
    ];
  });
  fill(root, 0, "Nodes", NODES, nodes);
  fill(root, 1, "Links, in the direction that is recommended", LINKS, links);
}

/** Write the table at `place`; cells that are there already are kept, so that a reader does not lose its place. */
function fill(root, place, title, heads, rows) {
  const table = root.children[place] ?? root.appendChild(make(title, heads));
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, i) => {
    const line = body.rows[i] ?? body.insertRow();
    row.forEach((text, j) => {
      let cell = line.cells[j];
      if (cell === undefined) {
        cell = document.createElement(j ? "td" : "th");
        if (!j) cell.scope = "row";
        line.append(cell);
      }
      if (cell.textContent !== text) cell.textContent = text;
    });
  });
}

function make(title, heads) {
  const table = document.createElement("table");
  table.createCaption().textContent = title;
  const line = table.createTHead().insertRow();
  for (const head of heads) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = head;
    line.append(cell);
  }
  table.createTBody();
  return table;
}

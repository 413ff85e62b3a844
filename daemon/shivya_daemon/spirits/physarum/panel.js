// The organism in numbers: the panel beside the picture, and tables for whoever sees no picture.

import { duration, number, plain, write } from "./words.js";

const THICKEST = 24; // tubes in the table; the others are like them, and thinner

/** Write the numbers of an organism into the lists of the page. */
export function showPanel(find, organism) {
  const { panel, settings } = organism;
  list(find("panel"), [
    ["cells", number(panel.cells, 6)],
    ["tubes", number(panel.tubes, 6)],
    ["efficiency (1 is optimal)", number(panel.efficiency, 3)],
    ["cost (1 is the shortest tree)", number(panel.cost, 3)],
    ["nutrient", number(panel.nutrient, 4)],
    ["in transit", number(panel.inTransit, 4)],
  ]);
  list(find("mesh"), [
    ["connected nodes", number(panel.nodes, 6)],
    ["cells", number(panel.meshCells, 6)],
    ["tubes", number(panel.meshTubes, 6)],
    ["nutrient", number(panel.meshNutrient, 4)],
  ]);
  list(find("life"), [
    ["summoned here", organism.age === null ? "–" : `${duration(organism.age)} ago`],
    ...["speed", "exploration", "decay"].map((key) => [key, number(settings[key])]),
  ]);
  write(find("name"), organism.name[0].toUpperCase() + organism.name.slice(1));
  write(find("kind"), `spirit ${organism.name} ${organism.version}`.trim());
}

/** One sentence for a screen reader. */
export function sentence(organism) {
  const { panel } = organism;
  return `${number(panel.cells, 6)} cells, ${number(panel.tubes, 6)} tubes, efficiency ${number(panel.efficiency, 2)}`;
}

/** Write the same as tables: numbers, food, and the thickest tubes. */
export function showTables(root, organism) {
  const { panel } = organism;
  table(root, 0, "The organism", ["what", "here", "all nodes"], [
    ["cells", number(panel.cells, 6), number(panel.meshCells, 6)],
    ["tubes", number(panel.tubes, 6), number(panel.meshTubes, 6)],
    ["nutrient", number(panel.nutrient, 4), number(panel.meshNutrient, 4)],
    ["nutrient in transit", number(panel.inTransit, 4), ""],
    ["efficiency", number(panel.efficiency), ""],
    ["cost", number(panel.cost), ""],
    ["nodes", "1", number(panel.nodes, 6)],
  ]);
  table(root, 1, "Food: the links of this node", ["neighbour", "id", "value", "found", "nutrient here", "nutrient there"],
    organism.foods.map((food) => [
      food.name, plain(food.id, 8), number(food.value), food.cell === null ? "no" : "yes",
      number(food.cell?.nutrient), number(food.nutrient),
    ]));
  const thick = [...organism.tubes].sort((a, b) => b.thickness - a.thickness).slice(0, THICKEST);
  table(root, 2, `The thickest tubes (${thick.length} of ${organism.tubes.length})`,
    ["from", "to", "thickness", "flow", "age"],
    thick.map((tube) => [place(tube.a), place(tube.b), number(tube.thickness), number(tube.flow), duration(tube.age)]));
}

/** A place as text, as it stands in the fields of the camera. */
export function place({ x, y, z }) {
  return [x, y, z].map((value) => value.toFixed(2).replace(/^-(0\.00)$/, "$1")).join(" ");
}

function list(root, rows) {
  rows.forEach(([key, value], i) => {
    while (root.children.length < 2 * i + 2) root.append(document.createElement(root.children.length % 2 ? "dd" : "dt"));
    write(root.children[2 * i], key);
    write(root.children[2 * i + 1], value);
  });
  while (root.children.length > 2 * rows.length) root.lastChild.remove();
}

function table(root, index, title, heads, rows) {
  const found = root.children[index] ?? root.appendChild(empty(heads));
  write(found.caption, title);
  const body = found.tBodies[0];
  while (body.rows.length > rows.length) body.lastChild.remove();
  rows.forEach((values, i) => {
    const row = body.rows[i] ?? body.insertRow();
    values.forEach((value, k) => {
      const cell = row.cells[k] ?? row.appendChild(document.createElement(k ? "td" : "th"));
      if (!k) cell.scope = "row";
      write(cell, value);
    });
  });
}

function empty(heads) {
  const made = document.createElement("table");
  made.createCaption();
  const row = made.createTHead().insertRow();
  for (const text of heads) {
    const head = row.appendChild(document.createElement("th"));
    head.scope = "col";
    write(head, text);
  }
  made.createTBody();
  return made;
}

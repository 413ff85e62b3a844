// The organism of a message. What lacks or is odd is left out: nothing in a message can end the picture.

import { finite, plain } from "./words.js";

const MOST = { cells: 4096, tubes: 8192, foods: 256 };

/** Return cells, tubes, foods and numbers of one message; null if it is none. */
export function readOrganism(spirit) {
  if (spirit === null || typeof spirit !== "object") return null;
  const cells = rows(spirit, "cells").map((row) => {
    const [x, y, z, nutrient, phase, thickness] = row.map((value) => finite(value, 0));
    return { key: `${x},${y},${z}`, x, y, z, nutrient: nutrient ?? 0, phase: phase ?? 0, thickness: thickness ?? 0 };
  });
  const tubes = [];
  for (const [from, to, thickness, flow, age] of rows(spirit, "tubes")) {
    const [a, b] = [cells[from], cells[to]];
    if (a === undefined || b === undefined || a === b) continue;
    const tube = { key: `${a.key}|${b.key}`, a, b, thickness: finite(thickness, 0), flow: finite(flow, 0), age: finite(age, 0) };
    tubes.push(tube);
  }
  const foods = rows(spirit, "foods").map((row, i) => {
    const [x, y, z, value] = row.map((number) => finite(number, 0));
    const [, , , , cell, id, name, nutrient, phase] = row;
    return {
      key: `food ${plain(id, 64) || i}`, x, y, z, value: value ?? 0, cell: cells[cell] ?? null,
      id: plain(id, 64), name: plain(name, 48) || plain(id, 8) || "a neighbour",
      nutrient: finite(nutrient), phase: finite(phase),
    };
  });
  const panel = object(spirit.panel);
  return {
    name: plain(spirit.name, 32) || "physarum", version: plain(spirit.version, 24), age: finite(spirit.age),
    now: finite(spirit.now, 0), settings: object(spirit.settings), cells, tubes, foods,
    panel: {
      cells: finite(panel.cells, cells.length), tubes: finite(panel.tubes, tubes.length),
      nutrient: finite(panel.nutrient), inTransit: finite(panel.in_transit), efficiency: finite(panel.efficiency),
      cost: finite(panel.cost), nodes: finite(panel.nodes), meshCells: finite(panel.mesh_cells),
      meshTubes: finite(panel.mesh_tubes), meshNutrient: finite(panel.mesh_nutrient),
    },
  };
}

function rows(spirit, key) {
  const found = spirit[key];
  return Array.isArray(found) ? found.slice(0, MOST[key]).filter((row) => Array.isArray(row) && row.length >= 3) : [];
}

function object(value) {
  return value !== null && typeof value === "object" ? value : {};
}

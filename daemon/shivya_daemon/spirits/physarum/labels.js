// Names on the picture: the food, which is the neighbour behind it, and this node in the middle.

import { number, write } from "./words.js";

export class Labels {
  constructor(root) {
    this.root = root;
    this.made = new Map();
  }

  /** Put every name below its ring, or above it where it lies on the far side. */
  place(scene) {
    const wanted = new Map([...scene.foods].filter(([, food]) => food.scale > 0));
    for (const [key, label] of this.made) {
      if (wanted.has(key) || (key === "own" && scene.origin)) continue;
      label.remove();
      this.made.delete(key);
    }
    for (const [key, food] of wanted) {
      const said = scene.overlay ? `${number(food.it.value)} · here ${number(food.it.cell?.nutrient)} · there ${number(food.it.nutrient)}` : "";
      const far = scene.origin && food.y < scene.origin[1];
      const away = Math.max(food.radius, food.end.radius + Math.abs(food.end.y - food.y)) + 7;
      this.#put(key, food.it.name, said, food.x, far ? food.y - away : food.y + away, far ? "-100%" : "0");
    }
    if (scene.origin) this.#put("own", "this node", "", scene.origin[0], scene.origin[1] + 14, "0");
  }

  #put(key, name, said, x, y, lift) {
    let label = this.made.get(key);
    if (label === undefined) {
      label = document.createElement("span");
      label.append(document.createElement("b"), document.createElement("small"));
      label.classList.toggle("own", key === "own");
      this.made.set(key, label);
      this.root.append(label);
    }
    write(label.children[0], name);
    write(label.children[1], said);
    label.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px) translate(-50%, ${lift})`;
  }
}

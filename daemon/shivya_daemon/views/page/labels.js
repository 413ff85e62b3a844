// Names on the map. Each is a button, so that a keyboard or a screen reader reaches every node.

import { duration, number } from "./words.js";

export class Labels {
  constructor(root, choose) {
    this.root = root;
    this.buttons = new Map();
    root.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) choose(button.dataset.id);
    });
  }

  /** Make buttons for the nodes of a mesh, in the order of their names, and write what they say. */
  update(mesh) {
    const wanted = [...mesh.nodes.values()].sort((a, b) => Number(b.own) - Number(a.own) || a.name.localeCompare(b.name));
    for (const [id, button] of this.buttons) {
      if (mesh.nodes.has(id)) continue;
      button.remove();
      this.buttons.delete(id);
    }
    wanted.forEach((node, i) => {
      const button = this.buttons.get(node.id) ?? this.#make(node.id);
      const [name, value] = button.children;
      write(name, node.name);
      write(value, node.standing?.out ? "quarantined" : node.waiting === null ? "" : `${number(node.queue)} held · ${duration(node.waiting)}`);
      const said = describe(node);
      if (button.getAttribute("aria-label") !== said) button.setAttribute("aria-label", said);
      button.classList.toggle("own", node.own);
      if (this.root.children[i] !== button) this.root.insertBefore(button, this.root.children[i] ?? null);
    });
    this.root.classList.toggle("crowded", wanted.length > 24);
  }

  /** Put each name below its cell, or above. */
  place(scene) {
    for (const [id, button] of this.buttons) {
      const drawn = scene.nodes.get(id);
      if (drawn === undefined) continue;
      const away = drawn.radius * (drawn.chosen ? 1.62 : drawn.node.own ? 1.4 : 1.1) + 6;
      const y = (drawn.above ? drawn.y - away : drawn.y + away).toFixed(1);
      button.style.transform = `translate(${drawn.x.toFixed(1)}px, ${y}px) translate(-50%, ${drawn.above ? "-100%" : "0"})`;
      button.setAttribute("aria-pressed", String(drawn.chosen));
    }
  }

  /** Move the focus from the focused node to the nearest one in a direction; return its id. */
  go(scene, [dx, dy]) {
    const from = scene.nodes.get(document.activeElement?.dataset?.id) ?? scene.nodes.get(scene.mesh?.self.id);
    if (from === undefined) return null;
    let best = null;
    let least = Infinity;
    for (const to of scene.nodes.values()) {
      const forth = (to.x - from.x) * dx + (to.y - from.y) * dy;
      const aside = Math.abs((to.x - from.x) * dy - (to.y - from.y) * dx);
      if (to === from || forth <= 4) continue;
      const cost = forth + 2 * aside;
      if (cost < least) [least, best] = [cost, to.id];
    }
    if (best !== null) this.buttons.get(best)?.focus();
    return best;
  }

  #make(id) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.id = id;
    button.append(document.createElement("span"), document.createElement("small"));
    this.buttons.set(id, button);
    this.root.append(button);
    return button;
  }
}

function describe(node) {
  const parts = [node.own ? `${node.name}, this node` : node.name];
  if (node.standing?.out) parts.push("quarantined by the guard");
  if (node.waiting === null) parts.push("load not known");
  else parts.push(`${number(node.queue)} jobs held`, `waiting ${duration(node.waiting)}`);
  parts.push(`${node.degree} links`);
  return parts.join(", ");
}

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

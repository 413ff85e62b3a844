// Free energy, waiting and actions over the last two minutes, on one canvas.

import { WINDOW } from "./history.js";
import { colour } from "./schemes.js";
import { duration, number } from "./words.js";

const INK = "#93a8a3";
const FAINT = "rgba(147, 168, 163, 0.16)";
const FONT = "11px Inter, ui-sans-serif, system-ui, 'Segoe UI', sans-serif";
const MARKS = { shed: [0.92, "▲"], absorb: [0.62, "▼"], probe: [0.4, "◆"], alert: [1, "!"], quarantine: [1, "■"] };
const ACTIONS = 15;

export class Timeline {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.hover = null;
    canvas.addEventListener("pointermove", (event) => { this.hover = event.offsetX; this.stale = true; });
    canvas.addEventListener("pointerleave", () => { this.hover = null; this.stale = true; });
    this.stale = true;
  }

  resize() {
    const dense = Math.min(2, globalThis.devicePixelRatio || 1);
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * dense);
    this.canvas.height = Math.round(this.height * dense);
    this.pen.setTransform(dense, 0, 0, dense, 0, 0);
    this.stale = true;
  }

  colours(bytes) {
    this.bytes = bytes;
    this.stale = true;
  }

  paint(history) {
    if (!this.stale || !this.bytes) return;
    this.stale = false;
    const { pen, width, height } = this; // not known before the first resize
    pen.clearRect(0, 0, width, height);
    const points = history.points;
    if (!points.length || !(width >= 40 && height >= 60)) return;
    const now = points.at(-1).t;
    const narrow = width < 560;
    const left = 12;
    const right = width - (narrow ? 12 : 84);
    const x = (t) => right - ((now - t) / WINDOW) * (right - left);
    const p99 = history.p99();
    const lane = (height - ACTIONS - 30) / 2;
    this.#seconds(left, right, height);
    const picked = this.#picked(points, x);
    const shown = picked ?? points.at(-1);
    const energy = { top: 4, high: lane, key: "freeEnergy", tint: 0.6, name: "free energy", floor: false };
    const waiting = { top: lane + 12, high: lane, key: "waiting", tint: 0.86, name: "waiting here", floor: true, mark: p99 };
    for (const part of [energy, waiting]) this.#lane(part, points, x, left, right);
    this.#label(energy, number(shown.freeEnergy), left, right, narrow);
    this.#label(waiting, duration(shown.waiting), left, right, narrow, p99 === null ? "" : `p99 ${duration(p99)}`);
    this.#actions(points, x, 2 * lane + 19, left, right, shown.action, narrow);
    if (picked) this.#cross(x(picked.t), height - 14, now - picked.t);
    this.canvas.setAttribute(
      "aria-label",
      `Last two minutes: free energy now ${number(points.at(-1).freeEnergy)}, waiting now ` +
        `${duration(points.at(-1).waiting)}, 99th percentile ${duration(p99)}, action ${points.at(-1).action}`,
    );
  }

  #picked(points, x) {
    if (this.hover === null) return null;
    return points.reduce((best, point) => (Math.abs(x(point.t) - this.hover) < Math.abs(x(best.t) - this.hover) ? point : best));
  }

  #seconds(left, right, height) {
    const { pen } = this;
    pen.font = FONT;
    pen.textBaseline = "alphabetic";
    for (let ago = 0; ago <= WINDOW; ago += 30) {
      const at = right - (ago / WINDOW) * (right - left);
      pen.fillStyle = FAINT;
      pen.fillRect(Math.round(at), 0, 1, height - 14);
      pen.fillStyle = INK;
      pen.textAlign = ago === WINDOW ? "left" : ago === 0 ? "right" : "center";
      pen.fillText(ago === 0 ? "now" : `−${ago} s`, at, height - 2);
    }
  }

  #lane(part, points, x, left, right) {
    const { pen } = this;
    const known = points.filter((point) => point[part.key] !== null);
    if (!known.length) return;
    const values = known.map((point) => point[part.key]);
    let least = Math.min(...values, part.floor ? 0 : Infinity);
    let most = Math.max(...values, part.mark ?? -Infinity);
    const room = Math.max((most - least) * 0.25, Math.abs(most) * 0.02, 1e-3);
    most += room;
    if (!part.floor) least -= 0.5 * room;
    const y = (value) => part.top + part.high * (1 - (value - least) / (most - least));
    const path = new Path2D();
    known.forEach((point, i) => path[i ? "lineTo" : "moveTo"](x(point.t), y(point[part.key])));
    const fill = new Path2D(path);
    fill.lineTo(x(known.at(-1).t), part.top + part.high);
    fill.lineTo(x(known[0].t), part.top + part.high);
    const tint = colour(this.bytes, part.tint);
    const shade = pen.createLinearGradient(0, part.top, 0, part.top + part.high);
    shade.addColorStop(0, tint.replace(")", " / 0.28)"));
    shade.addColorStop(1, tint.replace(")", " / 0.02)"));
    pen.fillStyle = shade;
    pen.fill(fill);
    pen.strokeStyle = tint;
    pen.lineWidth = 1.6;
    pen.lineJoin = "round";
    pen.stroke(path);
    if (part.mark !== null && part.mark !== undefined) {
      pen.setLineDash([3, 4]);
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x(known[0].t), y(part.mark));
      pen.lineTo(right, y(part.mark));
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  #label(part, value, left, right, narrow, more = "") {
    const { pen } = this;
    pen.textAlign = "left";
    pen.fillStyle = INK;
    pen.fillText(part.name, left + 4, part.top + 11);
    const offset = pen.measureText(`${part.name}  `).width;
    const at = narrow ? left + 4 + offset : right + 10;
    pen.fillStyle = colour(this.bytes, part.tint);
    pen.fillText(narrow && more ? `${value} · ${more}` : value, at, part.top + 11);
    if (more && !narrow) {
      pen.fillStyle = INK;
      pen.fillText(more, at, part.top + 26);
    }
  }

  /** One band: what the node did, by colour and by a sign where it changes. */
  #actions(points, x, top, left, right, shown, narrow) {
    const { pen } = this;
    pen.fillStyle = FAINT;
    pen.fillRect(left, top + 5, right - left, 1);
    let lastSign = -Infinity;
    points.forEach((point, i) => {
      if (point.action === "hold") return;
      const from = x(point.t);
      const to = i + 1 < points.length ? x(points[i + 1].t) : from + 2;
      const [tint, sign] = MARKS[point.action] ?? [0.5, "●"];
      pen.fillStyle = colour(this.bytes, tint);
      pen.fillRect(from, top + 3, Math.max(1, Math.min(to - from, 8)), 5);
      if (points[i - 1]?.action !== point.action && from - lastSign > 14) {
        pen.textAlign = "center";
        pen.fillText(sign, from, top + 10);
        lastSign = from;
      }
    });
    pen.textAlign = "left";
    pen.fillStyle = INK;
    if (narrow) pen.fillText(shown, left + 4, top + 2);
    else pen.fillText(shown, right + 10, top + 10);
  }

  #cross(at, height, ago) {
    const { pen } = this;
    pen.fillStyle = "rgba(255, 255, 255, 0.45)";
    pen.fillRect(Math.round(at), 0, 1, height);
    pen.textAlign = at > this.width / 2 ? "right" : "left";
    pen.fillText(`${ago.toFixed(1)} s ago`, at + (at > this.width / 2 ? -6 : 6), height - 4);
  }
}

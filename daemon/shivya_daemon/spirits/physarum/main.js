// The frame: organisms in, pictures out. They come as messages of the page around it; nothing goes back.

import { Camera } from "./camera.js";
import { drawnPainter } from "./drawn.js";
import { Labels } from "./labels.js";
import { readOrganism } from "./organism.js";
import { glowingPainter } from "./painter.js";
import { place, sentence, showPanel, showTables } from "./panel.js";
import { Scene } from "./scene.js";
import { NAMES, colour, gradient, ramp } from "./schemes.js";
import { number, write } from "./words.js";

const FRAME = 1 / 40; // seconds between pictures at least: calm, and cheap on an edge machine
const STALE = 5; // seconds after which a picture is called old
const NEWS = 10; // seconds between two sentences for a screen reader at least
const BACKGROUNDS = ["gradient", "dark", "black", "grid"];

const find = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const clock = () => performance.now() / 1000;
const { dataset } = document.documentElement;

const surface = find("surface");
const stage = find("stage");
const camera = new Camera();
const scene = new Scene(camera);
const labels = new Labels(find("labels"));
let painter = glowingPainter(surface, fallBack) ?? drawnPainter(surface);
let painted = 0;
let dirty = true;
let news = { text: "", at: -Infinity };

// Messages

function take(event) {
  if (event.source !== parent) return;
  const organism = readOrganism(event.data?.spirit);
  if (organism === null) return;
  scene.update(organism, clock());
  showPanel(find, organism);
  showTables(find("table"), organism);
  write(find("most"), `${number(scene.mostFlow)} nutrient/s`);
  const text = sentence(organism);
  if (text !== news.text && clock() - news.at >= NEWS) {
    news = { text, at: clock() };
    write(find("news"), text);
  }
  dataset.told = String(1 + Number(dataset.told ?? 0));
  dirty = true;
}

function showState() {
  const { organism } = scene;
  const old = organism !== null && clock() - scene.told > STALE;
  const said = organism === null ? "Waiting for the organism."
    : old ? "Nothing new comes from the daemon; this is the last that was heard."
    : organism.cells.length ? "" : "No cells live on this node yet. They come by its links.";
  find("notice").hidden = said === "";
  write(find("notice"), said);
}

// Pictures

function frame() {
  requestAnimationFrame(frame);
  const now = clock();
  const dt = now - painted;
  if (dt < FRAME || (still.matches && !dirty) || scene.organism === null) return;
  painted = now;
  dirty = false;
  scene.advance(Math.min(dt, 1), now, still.matches);
  painter.paint(scene, Number(find("glow").value));
  labels.place(scene);
  showCamera();
  dataset.painted = String(1 + Number(dataset.painted ?? 0));
}

function resize() {
  scene.width = surface.clientWidth;
  scene.height = surface.clientHeight;
  painter.resize(scene.width, scene.height);
  dirty = true;
}

/** The graphics processor went away: draw instead. */
function fallBack() {
  painter = drawnPainter(surface);
  dataset.renderer = painter.kind;
  recolour(dataset.scheme);
  resize();
}

function recolour(name) {
  const known = NAMES.includes(name) ? name : "bio";
  const bytes = ramp(known);
  dataset.scheme = known;
  document.documentElement.style.setProperty("--tint", colour(bytes, 0.8));
  find("ramp").style.background = gradient(known);
  find("scheme").value = known;
  painter.colours(bytes);
  dirty = true;
}

function back(name) {
  dataset.background = name;
  find("background").value = name;
}

function showCamera() {
  for (const id of ["position", "target"]) {
    const [x, y, z] = camera[id];
    if (document.activeElement !== find(id)) find(id).value = place({ x, y, z });
  }
}

// What a person does

/** Let a field of three numbers move the camera; what is no such place changes nothing. */
function aim(id) {
  const parts = find(id).value.trim().split(/[\s,]+/).map(Number);
  if (parts.length === 3 && parts.every((part) => Number.isFinite(part) && Math.abs(part) <= 100)) {
    camera[id] = parts;
  }
  find(id).blur();
  dirty = true;
}

function press(id) {
  const button = find(id);
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  dirty = true;
  return on;
}

const next = (all, one) => all[(all.indexOf(one) + 1) % all.length];
const DO = {
  o: () => { scene.oscillations = press("oscillations"); },
  n: () => { scene.overlay = press("overlay"); },
  t: () => { document.body.classList.toggle("tabled", press("show-table")); },
  c: () => recolour(next(NAMES, dataset.scheme)),
  b: () => back(next(BACKGROUNDS, dataset.background)),
  0: () => camera.reset(),
  "+": () => camera.zoom(1.15),
  "=": () => camera.zoom(1.15),
  "-": () => camera.zoom(1 / 1.15),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function controls() {
  for (const [id, key] of [["oscillations", "o"], ["overlay", "n"], ["show-table", "t"], ["home", "0"]]) {
    find(id).addEventListener("click", () => { DO[key](); dirty = true; });
  }
  find("scheme").addEventListener("change", (event) => recolour(event.target.value));
  find("background").addEventListener("change", (event) => back(event.target.value));
  find("glow").addEventListener("input", () => { dirty = true; });
  for (const id of ["position", "target"]) find(id).addEventListener("change", () => aim(id));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("select, input")) return;
    if (ARROWS[event.key]) {
      const [right, up] = ARROWS[event.key];
      if (event.shiftKey) camera.pan(0.05 * right, 0.05 * up);
      else camera.orbit(0.09 * right, 0.09 * up);
    } else if (Object.hasOwn(DO, event.key)) DO[event.key]();
    else return;
    event.preventDefault();
    dirty = true;
  });
  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    drag = { id: event.pointerId, x: event.clientX, y: event.clientY, pan: event.shiftKey || event.button === 2 };
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("held");
  });
  stage.addEventListener("pointermove", (event) => {
    if (drag === null || drag.id !== event.pointerId) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    [drag.x, drag.y] = [event.clientX, event.clientY];
    if (drag.pan) camera.pan(-dx / scene.height, dy / scene.height);
    else camera.orbit(-0.007 * dx, 0.007 * dy);
    dirty = true;
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    stage.addEventListener(kind, () => { drag = null; stage.classList.remove("held"); });
  }
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("wheel", (event) => {
    if (document.body.classList.contains("tabled")) return; // there the wheel moves the page
    event.preventDefault();
    camera.zoom(Math.exp(-event.deltaY * 0.0012));
    dirty = true;
  }, { passive: false });
}

addEventListener("message", take);
dataset.renderer = painter.kind;
recolour("bio");
new ResizeObserver(resize).observe(surface);
controls();
requestAnimationFrame(frame);
setInterval(showState, 500);

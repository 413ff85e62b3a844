// The page: messages in, pictures out. It looks, and has no way to change anything.

import { showDetails } from "./details.js";
import { drawnPainter } from "./drawn.js";
import { History } from "./history.js";
import { Labels, write } from "./labels.js";
import { Layout } from "./layout.js";
import { readMesh } from "./mesh.js";
import { NAMES, colour, gradient, ramp } from "./schemes.js";
import { Scene } from "./scene.js";
import { SpiritView } from "./spirit.js";
import { Stream } from "./stream.js";
import { showTable } from "./table.js";
import { Timeline } from "./timeline.js";
import { tubePainter } from "./tubes.js";
import { duration, guardWord, health, number, plain } from "./words.js";

const FRAME = 1 / 40; // seconds between pictures at least: calm, and cheap on an edge machine
const STALE = 2; // seconds after which a picture is called old
const NEWS = 5; // seconds between two sentences for a screen reader at least

const find = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const clock = () => performance.now() / 1000;

const surface = find("surface");
const scene = new Scene(new Layout());
const history = new History();
const timeline = new Timeline(find("timeline"));
const labels = new Labels(find("labels"), choose);
const spirit = new SpiritView(find, () => { dirty = true; });
let painter = tubePainter(surface, fallBack) ?? drawnPainter(surface);
let paused = false;
let last = { status: null, mesh: null };
let painted = 0;
let dirty = true;
let told = { text: "", at: -Infinity };

// Messages

function take(status) {
  const mesh = readMesh(status);
  last = { status, mesh };
  scene.update(mesh, clock());
  history.add(status, mesh);
  timeline.stale = true;
  labels.update(mesh);
  showVitals(status, mesh);
  if (scene.chosen && !showDetails(find("details-body"), mesh, scene.chosen)) choose(null);
  showTable(find("table"), mesh);
  spirit.take(status.spirit ?? null);
  write(find("name"), mesh.self.name);
  document.title = `${mesh.self.name} · Shivya`;
  write(find("fine"), `${plain(status.version, 24)} · ${mesh.self.address} · up ${duration(status.uptime_seconds)}`);
  tell(status, mesh);
  dirty = true;
}

function showVitals(status, mesh) {
  const held = [...mesh.nodes.values()].reduce((total, node) => total + (node.queue ?? 0), 0);
  const order = status.phase ? number(status.phase.order, 2) : null;
  const rows = [
    ["free energy", number(status.collective_free_energy)],
    ["waiting", duration(mesh.self.waiting)],
    ["p99 wait", duration(history.p99())],
    ["held", number(held)],
    ["nodes", String(mesh.nodes.size)],
    ...(order === null ? [] : [["in phase", order]]),
    ...(status.guard ? [["guard", guardWord(status)]] : []),
  ];
  const list = find("vitals");
  rows.forEach(([key, value], i) => {
    const box = list.children[i] ?? list.appendChild(document.createElement("div"));
    if (!box.children.length) box.append(document.createElement("dt"), document.createElement("dd"));
    write(box.children[0], key);
    write(box.children[1], value);
  });
  while (list.children.length > rows.length) list.lastChild.remove();
}

/** Say in a sentence what has changed, rarely enough to be listened to. */
function tell(status, mesh) {
  const text = `${health(status)}: ${mesh.nodes.size} nodes, ${mesh.edges.size} links`;
  if (text === told.text || clock() - told.at < NEWS) return;
  told = { text, at: clock() };
  write(find("news"), text);
}

function showState() {
  const age = stream.staleness;
  let state = stream.state;
  let text = "connecting";
  if (paused) [state, text] = ["paused", "paused"];
  else if (state === "lost") text = age === null ? "no answer" : `lost, last heard ${duration(age)} ago`;
  else if (age !== null && age > STALE) [state, text] = ["stale", `stale ${duration(age)}`];
  else if (age !== null) {
    const word = health(last.status);
    [state, text] = [word === "ok" ? "live" : word, word === "ok" ? "live" : word];
  }
  find("state").dataset.state = state;
  write(find("state").lastElementChild, text);
  const remedy = last.status?.status?.find((item) => typeof item === "string");
  const lost = stream.state === "lost" && stream.tries > 1;
  const notice = lost
    ? "The daemon does not answer. If it was restarted, its link has changed: shivya visualize prints the new one."
    : remedy ? plain(remedy, 240)
    : last.mesh?.nodes.size === 1 ? "No peer yet. Start another node with: shivya daemon --peer " + last.mesh.self.address : "";
  find("notice").hidden = notice === "";
  write(find("notice"), notice);
}

// Pictures

function frame() {
  requestAnimationFrame(frame);
  const now = clock();
  const dt = now - painted;
  const calm = still.matches || paused;
  if (dt < FRAME || (calm && !dirty && !scene.layout.moving) || scene.mesh === null) return;
  painted = now;
  dirty = false;
  scene.advance(Math.min(dt, 1), now, still.matches);
  painter.paint(scene);
  labels.place(scene);
  timeline.paint(history);
  write(find("flow-most"), `${number(scene.mostFlow)} jobs/s`);
  document.documentElement.dataset.painted = String(1 + Number(document.documentElement.dataset.painted ?? 0));
}

function resize() {
  scene.width = surface.clientWidth;
  scene.height = surface.clientHeight;
  scene.fitted = null;
  painter.resize(scene.width, scene.height);
  dirty = true;
}

/** The graphics processor went away: draw instead. */
function fallBack() {
  painter = drawnPainter(surface);
  showRenderer();
  recolour(document.documentElement.dataset.scheme);
  resize();
}

function showRenderer() {
  document.documentElement.dataset.renderer = painter.kind;
}

function recolour(name) {
  const known = NAMES.includes(name) ? name : "bio";
  const bytes = ramp(known);
  document.documentElement.dataset.scheme = known;
  document.documentElement.style.setProperty("--tint", colour(bytes, 0.8));
  find("ramp").style.background = gradient(known);
  find("scheme").value = known;
  painter.colours(bytes);
  timeline.colours(bytes);
  store("scheme", known);
  dirty = true;
}

// What a person does

function choose(key) {
  scene.chosen = key === scene.chosen ? null : key;
  const shown = scene.chosen !== null && last.mesh !== null && showDetails(find("details-body"), last.mesh, scene.chosen);
  if (!shown) scene.chosen = null;
  find("details").hidden = !shown;
  document.body.classList.toggle("detailed", shown);
  dirty = true;
}

function zoom(factor, x = scene.width / 2, y = scene.height / 2) {
  const { camera } = scene;
  const next = Math.min(6, Math.max(1, camera.zoom * factor));
  const [fromX, fromY] = [x - scene.width / 2 - camera.x, y - scene.height / 2 - camera.y];
  camera.x -= fromX * (next / camera.zoom - 1);
  camera.y -= fromY * (next / camera.zoom - 1);
  camera.zoom = next;
  if (next === 1) camera.x = camera.y = 0;
  dirty = true;
}

function press(id) {
  const button = find(id);
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  dirty = true;
  return on;
}

const DO = {
  " ": () => { paused = press("pause"); showState(); },
  f: () => { scene.flow = press("flow") ? "measured" : "recommended"; },
  t: () => { document.body.classList.toggle("tabled", press("show-table")); },
  s: () => spirit.toggle(),
  c: () => recolour(NAMES[(NAMES.indexOf(document.documentElement.dataset.scheme) + 1) % NAMES.length]),
  "?": () => find("keys").showModal(),
  "+": () => zoom(1.3),
  "=": () => zoom(1.3),
  "-": () => zoom(1 / 1.3),
  0: () => zoom(0),
  Escape: () => choose(null),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function controls() {
  find("scheme").addEventListener("change", (event) => recolour(event.target.value));
  for (const [id, key] of [["pause", " "], ["flow", "f"], ["show-table", "t"], ["help", "?"], ["close", "Escape"]]) {
    find(id).addEventListener("click", DO[key]);
  }
  for (const id of ["show-spirit", "close-spirit"]) find(id).addEventListener("click", DO.s);
  addEventListener("keydown", (event) => {
    const inControl = event.target.closest?.("select, dialog[open]") || (event.key === " " && event.target.closest?.("button"));
    if (event.ctrlKey || event.metaKey || event.altKey || inControl) return;
    if (ARROWS[event.key] && event.target.closest?.("#stage, body")) {
      if (!event.target.closest("#table") && labels.go(scene, ARROWS[event.key]) !== null) event.preventDefault();
    } else if (Object.hasOwn(DO, event.key)) {
      event.preventDefault();
      DO[event.key]();
    }
  });
  const stage = find("stage");
  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("button")) drag = { x: event.clientX, y: event.clientY, far: 0 };
  });
  stage.addEventListener("pointermove", (event) => {
    if (drag === null) {
      stage.classList.toggle("over", scene.at(...inside(event)) !== null);
      return;
    }
    drag.far += Math.abs(event.clientX - drag.x) + Math.abs(event.clientY - drag.y);
    if (scene.camera.zoom > 1) {
      scene.camera.x += event.clientX - drag.x;
      scene.camera.y += event.clientY - drag.y;
      dirty = true;
    }
    [drag.x, drag.y] = [event.clientX, event.clientY];
  });
  stage.addEventListener("pointerup", (event) => {
    if (drag !== null && drag.far < 6) {
      const key = scene.at(...inside(event));
      choose(key === null ? scene.chosen : key);
    }
    drag = null;
  });
  stage.addEventListener("wheel", (event) => {
    if (document.body.classList.contains("tabled")) return; // there the wheel moves the page
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * 0.0015), ...inside(event));
  }, { passive: false });
}

function inside(event) {
  const box = surface.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function stored(key) {
  try { return localStorage.getItem(`shivya.${key}`); } catch { return null; }
}

function store(key, value) {
  try { localStorage.setItem(`shivya.${key}`, value); } catch { /* private windows forget, that is all */ }
}

const stream = new Stream((status) => { if (!paused) take(status); }, clock);
showRenderer();
recolour(stored("scheme") ?? "bio");
new ResizeObserver(resize).observe(surface);
new ResizeObserver(() => timeline.resize()).observe(find("timeline"));
controls();
requestAnimationFrame(frame);
setInterval(showState, 250);

// What is known of one node or one link, as lists.

import { duration, finite, guardWord, health, number, plain, speed } from "./words.js";

/** Fill `root` with what is known of `chosen`; return false if it is gone. */
export function showDetails(root, mesh, chosen) {
  const node = mesh.nodes.get(chosen);
  const edge = mesh.edges.get(chosen);
  if (node) render(root, node.name, node.own ? "this node" : node.id.slice(0, 12), nodeParts(node, mesh));
  else if (edge) {
    const [a, b] = [mesh.nodes.get(edge.a), mesh.nodes.get(edge.b)];
    render(root, `${a.name} – ${b.name}`, "link", linkParts(edge, a, b));
  }
  return Boolean(node || edge);
}

function nodeParts(node, mesh) {
  const parts = [["Work", [
    ["held", node.queue === null ? "–" : `${number(node.queue)} jobs`],
    ["serves", node.rate === null ? "–" : `${number(node.rate)} jobs/s`],
    ["waiting", `${duration(node.waiting)}${node.own || node.waiting === null ? "" : " (held ÷ rate)"}`],
    ["free energy", number(node.freeEnergy)],
    ["services", node.services.join(", ") || "–"],
  ]]];
  if (node.own) for (const cell of list(node.row.cells)) parts.push(cellPart(cell));
  parts.push(["Links", neighbours(node, mesh)]);
  parts.push(["Node", [
    ["id", node.id],
    ["address", node.address || "–"],
    ...(node.own ? ownFacts(node.row) : [["round trip", duration(node.rtt)], ["last heard", duration(node.age)]]),
    ...(node.standing ? [["guard", standing(node.standing)]] : []),
    ["offers", capabilities(node.row?.capabilities)],
    ["seeks", capabilities(node.row?.seeks)],
  ]]);
  return parts;
}

/** How the guard of this node stands to a peer. */
function standing({ state, left, threat, strikes }) {
  const until = left > 0 ? `, ${duration(left)} left` : "";
  return `${state}${until}, threat ${number(threat)}, ${number(strikes)} strikes`;
}

function ownFacts(status) {
  const facts = [
    ["health", health(status)],
    ["law", `${plain(status.law, 16)}, tick ${number(status.tick, 9)}`],
    ["tick takes", duration(status.tick_seconds_p50)],
    ["up", duration(status.uptime_seconds)],
    ["circulation", `curl ${number(status.curl_norm)}, harmonic ${number(status.harmonic_norm)}`],
  ];
  if (status.guard) facts.push(["guard", `${guardWord(status)}, threat ${number(status.guard.threat)}`]);
  if (status.ledger) facts.push(["ledger", `${number(status.ledger.length, 9)} entries`]);
  for (const text of list(status.status, "string").slice(0, 4)) facts.push(["do", plain(text, 300)]);
  return facts;
}

function cellPart(cell) {
  const laws = list(cell.predictor?.laws, "string").map((law) => plain(law, 90));
  return [`Cell: ${plain(cell.service, 32)}`, [
    ["action", plain(cell.action, 16)],
    ["arrivals", `${number(cell.arrival_rate)} jobs/s`],
    ["waits", `${duration(cell.waiting_seconds)} here, ${duration(cell.potential_seconds)} passed on`],
    ["activator", `${number(cell.activator)}, inhibitor ${number(cell.inhibitor)}`],
    ["believes", list(cell.belief, "number").slice(0, 8).map((value) => number(value)).join("  ") || "–"],
    ...laws.slice(0, 4).map((law, i) => [i ? "" : "foretells", law]),
  ]];
}

function neighbours(node, mesh) {
  const found = [...mesh.edges.values()].filter((edge) => edge.a === node.id || edge.b === node.id);
  const rows = found.slice(0, 16).map((edge) => {
    const away = edge.a === node.id ? edge.recommended : -edge.recommended;
    const other = mesh.nodes.get(edge.a === node.id ? edge.b : edge.a);
    const flow = Math.abs(away) < 0.005 ? "no flow" : `${away > 0 ? "→" : "←"} ${number(Math.abs(away))} jobs/s`;
    return [other.name, `${flow}, conductance ${number(edge.conductance)}`];
  });
  if (found.length > 16) rows.push(["", `and ${found.length - 16} more`]);
  return rows.length ? rows : [["", "none that this node knows of"]];
}

function linkParts(edge, a, b) {
  const flow = (value) => `${number(Math.abs(value))} jobs/s${Math.abs(value) < 0.005 ? "" : value > 0 ? ` to ${b.name}` : ` to ${a.name}`}`;
  const parts = [["Flow", [
    ["recommended", flow(edge.recommended)],
    ["measured", flow(edge.measured)],
    ["gradient", flow(edge.gradient)],
    ["curl", flow(edge.curl)],
    ["harmonic", flow(edge.harmonic)],
    ["conductance", number(edge.conductance)],
  ]]];
  const link = edge.link;
  if (link) {
    parts.push(["Link", [
      ["state", `${plain(link.state, 16)}, breaker ${plain(link.breaker, 16)}`],
      ["round trip", duration(link.rtt_seconds)],
      ["bandwidth", speed(link.bandwidth)],
      ["thickness", number(link.thickness)],
      ["agreed", `${duration(link.linked_seconds)} ago`],
    ]]);
  }
  return parts;
}

function capabilities(value) {
  if (!value || typeof value !== "object") return "–";
  const said = Object.entries(value).slice(0, 6).map(([key, what]) => {
    if (Array.isArray(what)) return `${plain(key, 16)} ${what.slice(0, 8).map((name) => plain(name, 24)).join(", ")}`;
    if (what && typeof what === "object") {
      const inner = Object.entries(what).slice(0, 4).map(([name, amount]) =>
        name.endsWith("_mb") ? `${number(amount, 9)} MiB of ${plain(name.slice(0, -3), 16)}` : `${number(amount, 9)} ${plain(name, 16)}`);
      return `${plain(key, 16)}: ${inner.join(", ")}`;
    }
    return `${plain(key, 16)} ${finite(what) === null ? plain(what, 24) : number(what, 9)}`;
  });
  return said.join("; ") || "–";
}

function list(value, type = "object") {
  return Array.isArray(value) ? value.filter((item) => item !== null && typeof item === type) : [];
}

/** Write heading and parts; elements that are there already are kept, so that a selection of text stays. */
function render(root, title, kind, parts) {
  const shape = JSON.stringify([title, kind, parts.map(([head, rows]) => [head, rows.map(([key]) => key)])]);
  if (root.dataset.shape !== shape) {
    root.dataset.shape = shape;
    root.replaceChildren(element("h2", title), element("p", kind, "kind"));
    for (const [head, rows] of parts) {
      const listed = document.createElement("dl");
      for (const [key] of rows) listed.append(element("dt", key), document.createElement("dd"));
      root.append(element("h3", head), listed);
    }
  }
  const values = root.querySelectorAll("dd");
  parts.flatMap(([, rows]) => rows).forEach(([, value], i) => {
    if (values[i].textContent !== value) values[i].textContent = value;
  });
}

function element(tag, text, kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

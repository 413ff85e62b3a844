// Numbers and times as people say them; the same words as on the terminal.

/** A finite number, or null for whatever else a message may hold. */
export function finite(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** At most `digits` significant digits and no needless fraction; a dash for what is not known. */
export function number(value, digits = 3) {
  const known = finite(value);
  if (known === null) return "–";
  if (Math.abs(known) < 1e-9) return "0";
  const size = Math.abs(known);
  if (size >= 1e6 || size < 1e-3) return known.toExponential(1).replace("e+", "e").replace("-", "−");
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  const text = known.toFixed(Math.min(places, 3));
  return (text.includes(".") ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
}

/** Seconds as 0.4 ms, 1.5 s, 3m20s, 2h05m, 3d04h. */
export function duration(seconds) {
  const known = finite(seconds);
  if (known === null) return "–";
  if (Math.abs(known) < 0.0995) return `${(known * 1e3).toFixed(Math.abs(known) < 0.00995 ? 1 : 0)} ms`;
  if (known < 59.5) return `${known.toFixed(1)} s`;
  const all = Math.round(known / 60);
  if (known < 3570) return `${Math.floor(Math.round(known) / 60)}m${pad(Math.round(known) % 60)}s`;
  const hours = Math.floor(all / 60);
  return hours < 24 ? `${hours}h${pad(all % 60)}m` : `${Math.floor(hours / 24)}d${pad(hours % 24)}h`;
}

/** Bytes per second with a binary prefix. */
export function speed(bytes) {
  let value = finite(bytes);
  if (value === null) return "–";
  let unit = 0;
  while (value >= 1000 && unit < 3) { value /= 1024; unit += 1; }
  return `${number(value)} ${["B", "KiB", "MiB", "GiB"][unit]}/s`;
}

/** Text of a message, safe to show: no control characters, and no more than `limit` of it. */
export function plain(text, limit = 80) {
  const shown = String(text ?? "").replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
  return shown.length <= limit ? shown : `${shown.slice(0, limit - 1)}…`;
}

/** The state of a node in one word. */
export function health(status) {
  if (status.law === "failed" || status.law === "starting") return status.law;
  return Array.isArray(status.status) && status.status.length ? "degraded" : "ok";
}

/** What the guard decided, in a word; empty where there is none. */
export function guardWord(status) {
  const said = plain(status.guard?.action ?? "", 24).toLowerCase().replace("apply_", "").replaceAll("_", " ");
  return ["noop", "none"].includes(said) ? "quiet" : said;
}

function pad(value) {
  return String(value).padStart(2, "0");
}

// Numbers as people say them, and text that is safe to show.

/** A finite number, or `other` for whatever else a message may hold. */
export function finite(value, other = null) {
  return typeof value === "number" && Number.isFinite(value) ? value : other;
}

/** At most `digits` significant digits and no needless fraction; a dash for what is not known. */
export function number(value, digits = 3) {
  const known = finite(value);
  if (known === null) return "–";
  const size = Math.abs(known);
  if (size < 1e-9) return "0";
  if (size >= 1e6 || size < 1e-3) return known.toExponential(1).replace("e+", "e").replace("-", "−");
  const text = known.toFixed(Math.min(Math.max(0, digits - 1 - Math.floor(Math.log10(size))), 3));
  return (text.includes(".") ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
}

/** Seconds as 12 s, 3m20s, 2h05m, 3d04h. */
export function duration(seconds) {
  const known = finite(seconds);
  if (known === null) return "–";
  const all = Math.max(0, Math.round(known));
  const pad = (part) => String(part).padStart(2, "0");
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)}m${pad(all % 60)}s`;
  const minutes = Math.floor(all / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)}h${pad(minutes % 60)}m`;
  return `${Math.floor(minutes / 1440)}d${pad(Math.floor(minutes / 60) % 24)}h`;
}

/** No control characters, and no more than `limit` of it. */
export function plain(text, limit = 80) {
  const shown = String(text ?? "").replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
  return shown.length <= limit ? shown : `${shown.slice(0, limit - 1)}…`;
}

/** Write a text into an element, if it is another one. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

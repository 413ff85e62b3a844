// Colours by number. In plasma and viridis (Smith, van der Walt 2015) lightness rises all the way, so they read
// the same with any kind of colour vision and in grey; neon does not promise that.

const STOPS = {
  bio: ["#173c3a", "#1f5a4c", "#3c7f52", "#7ba446", "#c0bd3f", "#eed25a", "#fff0b3"],
  plasma: ["#46039f", "#7201a8", "#9c179e", "#bd3786", "#d8576b", "#ed7953", "#fb9f3a", "#fdca26", "#f0f921"],
  viridis: ["#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"],
  neon: ["#15357a", "#0f6bd8", "#00b7ff", "#2df5e0", "#9d7bff", "#ff3fd0", "#ffc2f3"],
};

export const NAMES = Object.keys(STOPS);

/** Return the ramp of a scheme as 256 RGBA bytes each. */
export function ramp(name) {
  const stops = (STOPS[name] ?? STOPS.bio).map(rgb);
  const bytes = new Uint8Array(256 * 4);
  for (let i = 0; i < 256; i += 1) {
    const at = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(at), stops.length - 2);
    for (let c = 0; c < 3; c += 1) bytes[4 * i + c] = Math.round(stops[k][c] + (at - k) * (stops[k + 1][c] - stops[k][c]));
    bytes[4 * i + 3] = 255;
  }
  return bytes;
}

/** Return the CSS colour at `value`, 0 to 1, of a ramp. */
export function colour(bytes, value) {
  const i = 4 * Math.round(255 * Math.min(1, Math.max(0, value)));
  return `rgb(${bytes[i]} ${bytes[i + 1]} ${bytes[i + 2]})`;
}

/** Return a CSS gradient of a scheme, from left to right. */
export function gradient(name) {
  return `linear-gradient(90deg, ${(STOPS[name] ?? STOPS.bio).join(", ")})`;
}

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

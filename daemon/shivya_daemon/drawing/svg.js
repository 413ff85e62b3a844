// Elements of SVG, changed only where they differ.

const SVG = "http://www.w3.org/2000/svg";

/** A length to a tenth of a pixel. */
export function px(value) {
  return (Math.round(value * 10) / 10).toString();
}

export function make(tag, attributes) {
  return set(document.createElementNS(SVG, tag), attributes);
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
  return element;
}

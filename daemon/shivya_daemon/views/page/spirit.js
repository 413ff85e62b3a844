// The spirit: its own picture in a frame that can reach nothing, told by messages, and never listened to.

import { write } from "./labels.js";
import { plain } from "./words.js";

export class SpiritView {
  /** `changed` is called after the frame was opened or closed. */
  constructor(find, changed) {
    this.button = find("show-spirit");
    this.section = find("spirit");
    this.title = find("spirit-name");
    this.missing = find("spirit-missing");
    this.changed = changed;
    this.spirit = null;
    this.frame = null;
    this.open = false;
  }

  /** Take what the daemon said of the spirit, or null where none lives. */
  take(spirit) {
    this.spirit = spirit !== null && typeof spirit === "object" ? spirit : null;
    this.button.hidden = this.spirit === null;
    if (this.spirit === null) {
      if (this.open) this.toggle();
      return;
    }
    write(this.title, plain(this.spirit.name, 32));
    if (this.open) this.#show();
  }

  toggle() {
    if (this.spirit === null && !this.open) return;
    this.open = !this.open;
    this.button.setAttribute("aria-pressed", String(this.open));
    this.section.hidden = !this.open;
    document.body.classList.toggle("spirited", this.open);
    if (this.open) this.#show();
    else this.#drop();
    this.changed();
  }

  #show() {
    const place = this.spirit.frame;
    const here = typeof place === "string" && place.startsWith("/spirit/");
    this.missing.hidden = here;
    if (!here) this.#drop();
    else if (this.frame?.dataset.place !== place) this.#load(place);
    this.#tell();
  }

  #load(place) {
    this.#drop();
    const frame = document.createElement("iframe");
    frame.sandbox.add("allow-scripts");
    frame.referrerPolicy = "no-referrer";
    frame.title = `The spirit ${plain(this.spirit.name, 32)}`;
    frame.dataset.place = place;
    frame.addEventListener("load", () => this.#tell());
    frame.src = place;
    this.section.append(frame);
    this.frame = frame;
  }

  /** The frame has no origin that could be named; it is the window that this page made. */
  #tell() {
    if (this.frame === null || this.spirit === null) return;
    const { frame: _, ...spirit } = this.spirit;
    this.frame.contentWindow?.postMessage({ spirit }, "*");
  }

  #drop() {
    this.frame?.remove();
    this.frame = null;
  }
}

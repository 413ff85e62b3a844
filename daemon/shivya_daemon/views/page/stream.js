// Messages of the daemon. A broken stream is tried again, ever less often, and its age is always known.

import { finite } from "./words.js";

const LONGEST = 10; // seconds between two tries

export class Stream {
  /** `take` gets each message; `now` reads a clock in seconds that never goes back. */
  constructor(take, now) {
    this.take = take;
    this.now = now;
    this.state = "waiting";
    this.heard = null;
    this.age = 0;
    this.tries = 0;
    this.#open();
  }

  /** Seconds since the tick that the last message shows; null before the first message. */
  get staleness() {
    return this.heard === null ? null : this.age + this.now() - this.heard;
  }

  #open() {
    const address = new URL("live", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.search = location.search;
    const socket = new WebSocket(address);
    socket.addEventListener("message", (event) => {
      let message;
      try {
        message = JSON.parse(event.data);
      } catch {
        return;
      }
      if (message === null || typeof message !== "object") return;
      this.state = "live";
      this.tries = 0;
      this.heard = this.now();
      this.age = finite(message.age_seconds) ?? 0;
      this.take(message);
    });
    socket.addEventListener("close", () => {
      this.state = "lost";
      this.tries += 1;
      setTimeout(() => this.#open(), 1000 * Math.min(LONGEST, 0.5 * 2 ** this.tries));
    });
  }
}

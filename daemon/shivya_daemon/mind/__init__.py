"""The mind: observe, step, judge. The only part of the daemon that imports JAX, and only when it starts."""

"""The protocol as a state machine: bytes and times in, bytes and events out. No clock, no socket."""

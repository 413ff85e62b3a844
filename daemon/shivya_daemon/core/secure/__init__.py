"""The secure wire: Noise handshakes, sealed transport frames, and the tables that keep both bounded."""

"""The two drivers of a `core.node.Node`: UDP sockets, and an in-memory network with virtual time."""

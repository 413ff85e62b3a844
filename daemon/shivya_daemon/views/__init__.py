"""Views of a node: each sees a `Snapshot` and nothing else of the daemon."""

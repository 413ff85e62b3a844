"""Leases of resources: what a node lends to others and to itself, and what it holds of theirs."""

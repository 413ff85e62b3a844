"""Membership by gossip: who is in the fleet, since when, alive or not, and what each of them published."""

"""The guard (VENOM's arbiter): what it sees, how it judges, and what it may do about it.

`sight` has the values that a beat is judged by, `quarantine` who is kept out and for how long, `arbiter` the
beat itself, `sentry` the eyes and hands that it has in a daemon. It may veto, keep a peer out, and grant time
to optimisation; nothing here adds load to anybody.
"""

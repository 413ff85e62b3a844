"""Kademlia: who is near an id, and values kept near their keys (Maymounkov and Mazieres, 2002).

Start reading at `dht.Dht`, the face of this package. `answers` is what a node says when asked, `runner` with
`lookup` and `replication` is what it asks, `exchanges` how a question is put until it is answered, `upkeep`
what it does unasked.
"""

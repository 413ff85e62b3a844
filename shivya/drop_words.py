"""What each word under which a datagram is dropped means, and what to do where something can be done.

docs/protocol.md is the full list of the wire; a test holds this table to the words in the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One reason: what happened, and the remedy where it points at a fault."""

    meaning: str
    remedy: str = ""
    level: str = "note"
    """Of the finding that it makes: `note`, `warning` or `error`."""


_NO_FRAME = Word("no datagram of the mesh, or a damaged one")
_NO_FIELD = Word("a field that cannot be")
_LATE = Word("from an earlier life of its sender, or overtaken by a newer one")
_LIMIT = Word("one peer or address sends more than is taken")
_FORGED = Word(
    "not signed, or not sealed, by whom it names", "somebody alters or forges traffic, or a host is faulty"
)
_FULL = Word("a table or queue of this node was full", "the node is overloaded, or under attack", "warning")
_OLD_SESSION = Word("under keys that this node has not, or no more: one of the two restarted")
_COPIED = Word(
    "this node's own identity, from elsewhere",
    "the state directory was copied, or a peer's address leads back here: give each node its own",
    "error",
)

_GROUPS: Mapping[Word, str] = {
    _NO_FRAME: "short_header bad_magic unknown_type unknown_subtype truncated trailing_bytes oversized "
    "bad_index bad_counter",
    _NO_FIELD: "not_finite out_of_range bad_count bad_value_length bad_value bad_flag bad_family bad_text "
    "bad_kind bad_ttl bad_version bad_reason bad_padding repeated_entry unreachable_address",
    _LATE: "stale_incarnation stale_sequence stale_state replayed replayed_initiation",
    _LIMIT: "rate_limited budget_spent",
    _FORGED: "bad_signature bad_seal bad_identity wrong_announcement wrong_identity forged_sender "
    "forged_path",
    _FULL: "members_full peers_full probes_full lookups_full events_full send_queue_full handshakes_full "
    "signals_full signal_events_full state_too_large store_full leases_full histories_full",
    _OLD_SESSION: "unknown_session expired_session unconfirmed",
    _COPIED: "own_sender own_identity",
    Word(
        "sealed with another mesh key, or none",
        "a node with another key tries to join: give it the key of this mesh, or stop it",
        "warning",
    ): "bad_mac",
    Word(
        "a node that the allow-list does not name",
        "add its id to allow or allow_file if it belongs to the mesh",
        "warning",
    ): "not_allowed source_not_allowed",
    Word("a node of another major version", "upgrade one of the two nodes", "error"): "unsupported_version",
    Word(
        "the operating system refused to send",
        "see the routes and the firewall of this host, and whether the peer's port is closed",
        "warning",
    ): "send_failed",
    Word(
        "the kernel's queue of this node's port was full before the node could read it",
        "if net.core.rmem_max is below 1048576, raise it (sysctl -w net.core.rmem_max=1048576); else this "
        "host is too busy, or the node is under attack",
        "warning",
    ): "kernel_queue_full",
    Word("the far host refused an earlier datagram: no daemon there"): "receive_failed",
    Word("does not decrypt: another node than the one expected, or a forgery"): "bad_handshake",
    Word("an initiation under load was asked to prove its address"): "cookie_required",
    Word("not asked for, not proved, or claimed by two"): "unverified_sender unsolicited bad_cookie "
    "address_conflict unknown_agreement unannounced",
    Word("an address that this node was told to block"): "blocked blocked_send",
    Word("after this node has left"): "left",
    Word("builds on versions not known here; asked for again"): "version_gap",
    Word("values are not kept on the open wire, or need a token"): "store_unsupported bad_token",
    Word("a signal that has passed already, or gone as far as it may"): "duplicate_signal own_signal "
    "looped_path expired_ttl refractory",
    Word("a signal that found no way on"): "no_route signal_unsent",
    Word(
        "a contribution to a quorum by somebody outside its roster", "see who registered which roster"
    ): "not_in_roster wrong_threshold unregistered_type",
}

WORDS: Mapping[str, Word] = {name: word for word, names in _GROUPS.items() for name in names.split()}

UNKNOWN = Word("a reason of another version; see its docs/protocol.md")

"""Errors of the codecs; the reason is a fixed short word, so counting drops by reason stays bounded."""

from __future__ import annotations


class DecodeError(ValueError):
    """The remote side sent bytes that are not a frame; `reason` is one of a fixed set of words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EncodeError(ValueError):
    """This side tried to send a value that has no encoding; the text names the field."""

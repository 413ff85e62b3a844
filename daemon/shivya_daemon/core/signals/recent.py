"""The signals passed on lately, so that a copy that came a shorter way still mends what a longer one began.

The first copy is not always the one of fewest hops: it may have taken fast links, or a relay may have made
its path longer than it was. Without this, such a copy would use up the TTL, or the strength, of all others.
"""

from __future__ import annotations

from collections import OrderedDict

from shivya_daemon.core.signals.frame import SignalFrame


class Recent:
    """The last `capacity` authentic frames that were passed on, each with the fewest hops seen."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._frames: OrderedDict[tuple[bytes, int], SignalFrame] = OrderedDict()

    def note(self, frame: SignalFrame) -> None:
        """Remember an authentic frame; one that came straight from its source cannot be mended."""
        if frame.hops == 1:
            return
        if len(self._frames) >= self._capacity:
            self._frames.popitem(last=False)
        self._frames[frame.signal.key, frame.signal.counter] = frame

    def nearer(self, frame: SignalFrame) -> bool:
        """Take a copy that came over fewer links; False if it did not, or is not a copy.

        What is equal to the noted frame, signature included, needs no check of it.
        """
        number = frame.signal.key, frame.signal.counter
        noted = self._frames.get(number)
        if noted is None or frame.hops >= noted.hops:
            return False
        if noted.signature != frame.signature or noted.signal != frame.signal:
            return False
        self._frames[number] = frame
        return True

    def __len__(self) -> int:
        return len(self._frames)

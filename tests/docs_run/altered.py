"""What a test types otherwise than a page shows it, and why; what is not in this table is typed as shown."""

from __future__ import annotations

import re

_PLACE = r"--socket $XDG_RUNTIME_DIR/shivya/\2.sock --state-dir $HOME/.local/state/shivya/\2"
_DAEMON = r"^(shivya (?:daemon|start)\b"

ALTERED: tuple[tuple[str, str, str], ...] = (
    # what a page shows (a regular expression), what is typed, why; from top to bottom, each on the outcome
    (_DAEMON + r")(?!.*--port)(.*)", r"\1 --port 8085\2", "the default, in words"),
    (_DAEMON + r".*?) --port (\d+)", r"\1 --port 0 " + _PLACE, "no fixed port; it is found as if it had it"),
    (_DAEMON + r"(?!.*--daemon)(?!.*&).*)", r"\1 &", "it has a terminal of its own, or the background"),
    (r"--peer FIRST-NODE:8085", "--peer 127.0.0.1:8086", "there is one machine"),
    (r"--peer 127\.0\.0\.1:(\d+)", r"--peer 127.0.0.1:%\1%", "the port which that daemon got"),
    (r"--visualize(?! \d)", "--visualize 0", "no fixed port"),
    (r"--metrics(?: \d+)?(?= |$)", "--metrics 0", "no fixed port"),
    (r"127\.0\.0\.1:8000/metrics", "127.0.0.1:%metrics%/metrics", "the port that it got"),
    # Places of a machine are in the home of the test.
    (r"/opt/shivya/bin/shivya", "shivya", "installed elsewhere"),
    (r"/tmp/shivya-\$\(id -u\)/", "$XDG_RUNTIME_DIR/shivya/", "where sockets are with that variable"),
    (r"(?<=[ '])/(backup|etc/shivya)\b", r"$HOME/\1", "root's alone"),
    (r"^scp (.*) NODE:(\S+)$", r"cp \1 $HOME/NODE/\2", "another machine is another folder"),
    # What only comes into being on the way.
    (r"\b3f9a\b", "%lease%", "the id of the lease"),
    (r"\b9f86d081\b", "%proposal%", "the id of the proposal"),
    (r"\b81234\b", "%entry%", "the number of an entry"),
    (r"\b56475aa75463474c0285df5dbf2bcab73da65135\b", "%node%", "the id of the node"),
    (r"\b10\.0\.0\.5:7000\b", "%coordinator%", "where processes may meet here"),
    # What takes long is shortened.
    (r"(socat -t 3600 .*)$", r"\1 | head -1", "it goes on until it is interrupted"),
    (r"socat - ", "socat -t 60 - ", "a busy machine answers later than in half a second"),
    (r"^(P=\$\(pgrep) (.*); sleep 30$", r"\1 -s %top% \2; sleep 1", "half a minute; the one of this test"),
    (r"^(awk .*)/30 ", r"\1/1 ", "half a minute"),
    (r"^shivya simulate(?!.*--nodes)", "shivya simulate --nodes 64", "the default, in words"),
    (r"^shivya simulate(?!.*--seeds)", "shivya simulate --seeds 3", "the default, in words"),
    (r"^(shivya simulate.*) --nodes 64", r"\1 --nodes 8 --seconds 2", "64 nodes for a minute"),
    (r"^(shivya simulate.*) --seeds \d+", r"\1 --seeds 2", "as many fleets"),
    (r"^(shivya simulate.*--host \d)", r"\1 --laws none", "three laws fewer"),
    (r"^(shivya tune .*) --minutes 15$", r"\1", "the default"),
    (r"^shivya whatif", "shivya whatif --twins 4 --seconds 5", "64 twins for a minute"),
    (r"^(shivya demo)(?: --nodes 5)?(?: --seconds \d+)?", r"\1 --nodes 2 --seconds 5", "5 nodes, a minute"),
)


def altered(line: str) -> str:
    """Return what is typed for a line of a page; %name% stands for what is only known then."""
    for shown, typed, _ in ALTERED:
        line = re.sub(shown, typed, line)
    return line

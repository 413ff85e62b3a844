"""Exact Shapley values and Harsanyi dividends of a whole game: ours beside shapiq.

Both start from a table with the value of every coalition and end with an array in main memory, in float64, on
one core. shapiq's `ExactComputer` first walks the coalitions and looks each up in the table; that is its
setup and apart. Its answers are dictionaries over coalitions of any index it knows, ours are arrays of these
two. `ratio` is the processor time over ours, `difference` the largest from ours; a batch is counted per game.
Ours compiles once per number of players: for a single game of ten players or fewer that alone takes longer
than shapiq's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from peers import Entrant, Peer, compiled, contest, load
from shivya_kernels import coalition
from timing import Row, fix_environment, once, publish

PLAYERS = (8, 10, 12)
BATCH = 256
ROUNDS = 5
QUANTITIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "Shapley values": (coalition.shapley_values, "SV"),
    "dividends": (coalition.harsanyi_dividends, "Moebius"),
}
"""Ours, and the name of the index in shapiq."""

Values = NDArray[np.float64]


def main() -> None:
    peer = load("shapiq", "shapiq")
    with jax.enable_x64(True):
        publish(
            "peer_coalition", [row for n in PLAYERS for what in QUANTITIES for row in rows_of(what, n, peer)]
        )


def rows_of(what: str, players: int, peer: Peer) -> Iterator[Row]:
    ours, index = QUANTITIES[what]
    games = np.random.default_rng(players).standard_normal((BATCH, 1 << players))
    head = {"what": what, "players": players}
    entrants = []
    for method, given, count in (("shivya", games[0], 1), (f"shivya, {BATCH} games at once", games, BATCH)):
        program, compiling = compiled(ours, given)
        entrants.append(
            Entrant(method, lambda program=program: np.asarray(program()), None, compiling, per_call=count)
        )
    if peer.module is not None:
        prepared, preparing = once(lambda: prepare(peer.module, games[0]))
        found = by_mask(prepared(index), what, players)
        entrants.append(
            Entrant(
                peer.name,
                lambda: _asking(prepare(peer.module, games[0]), index),
                setup=preparing,
                fresh=True,
                told={"difference": float(np.abs(found - entrants[0].call()).max())},
            )
        )
    yield from contest(head, entrants, ROUNDS)
    if peer.module is None:
        yield peer.absent(head)


def prepare(shapiq: Any, values: Values) -> Any:
    """Its computer of one game, which has read the whole table."""
    players = len(values).bit_length() - 1
    bits = 1 << np.arange(players)
    return shapiq.ExactComputer(lambda coalitions: values[coalitions @ bits], players, evaluate_game=True)


def by_mask(answer: Any, what: str, players: int) -> Values:
    """Its answer in our order: one share per player, or one dividend per coalition's bit mask."""
    looked_up = answer.interaction_lookup
    if what == "Shapley values":
        return np.array([answer.values[looked_up[(player,)]] for player in range(players)])
    found = np.zeros(1 << players)
    for members, place in looked_up.items():
        found[sum(1 << member for member in members)] = answer.values[place]
    return found


def _asking(computer: Any, index: str) -> Callable[[], Any]:
    """The computer remembers what it answered, so that each can be asked once."""
    return lambda: computer(index) if index == "Moebius" else computer(index, 1)


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()

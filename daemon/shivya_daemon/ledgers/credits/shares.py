"""Who helped is paid: whole amounts in proportion to Shapley values, and the reservations that pay them.

The values come from outside as plain numbers (`shivya_kernels.coalition.shapley_values` of what each
coalition would have gained). Largest remainders make them whole amounts that add up exactly (Hamilton's
method; Balinski and Young 2001).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from shivya_daemon.ledgers.credits.operations import Post, Void
from shivya_daemon.ledgers.credits.records import Id, Key
from shivya_daemon.ledgers.credits.state import Reservation
from shivya_daemon.ledgers.credits.units import Amount


def apportion(total: Amount, shares: Mapping[Key, float | Fraction]) -> dict[Key, Amount]:
    """Divide `total` in proportion to `shares`, exactly; a negative share counts as none.

    Nobody gets anything where no share is positive; otherwise the parts add up to `total`, each less than 1
    from its exact value. Equal remainders go by the order of the keys, so all who compute it agree. Raises
    `ValueError` for a share that is not finite, or a negative total.
    """
    if total < 0:
        raise ValueError(f"only 0 or more can be divided, not {total}")
    try:
        exact = {key: max(Fraction(share), Fraction(0)) for key, share in shares.items()}
    except (ValueError, OverflowError):
        raise ValueError("shares must be finite numbers") from None
    whole = sum(exact.values())
    if not whole:
        return dict.fromkeys(shares, 0)
    quotas = {key: total * share / whole for key, share in exact.items()}
    parts = {key: int(quota) for key, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda key: (parts[key] - quotas[key], key))
    for key in by_remainder[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


def settlement(
    gain: Amount,
    shares: Mapping[Key, float | Fraction],
    reservations: Mapping[Id, Reservation],
) -> list[Post | Void]:
    """Return the actions by which a relieved node pays its helpers what they gained for it in one epoch.

    `shares` are those of the whole coalition, the payer's own included, which it keeps; `reservations` are
    the payer's, one per helper. A helper gets at most what was reserved for it, so the credits spent on an
    epoch are known before it begins.
    """
    parts = apportion(gain, shares)
    actions: list[Post | Void] = []
    for key, held in sorted(reservations.items()):
        amount = min(parts.get(held.payee, 0), held.amount)
        actions.append(Post(key, amount) if amount else Void(key))
    return actions

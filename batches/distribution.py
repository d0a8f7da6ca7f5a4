"""How what was received is divided: the reference, in whole numbers, that the database's statement is held to.

Largest remainder (Hamilton's method): everybody gets the whole part of the exact fraction; the units left over, fewer
than there are members, go one each to the largest remainders, ties to the smaller id. So the sum is what was received,
no share is negative, each is within one unit of the exact fraction, and the order of the rows plays no part.
"""

from collections.abc import Sequence
from fractions import Fraction


def shares(weights: Sequence[tuple[int, int]], received_units: int) -> dict[int, int]:
    """The units each member gets of `received_units`, by id, given `(id, weight)` with positive weights.

    Raises:
        ValueError: nothing was received, there is no member, or a weight is not positive.
    """
    if received_units <= 0:
        message = f"{received_units} units cannot be divided"
        raise ValueError(message)
    if not weights or any(weight <= 0 for _, weight in weights):
        message = "every division needs members, and every member a positive weight"
        raise ValueError(message)
    whole = sum(weight for _, weight in weights)
    shared = {member: weight * received_units // whole for member, weight in weights}
    undivided = received_units - sum(shared.values())
    by_remainder = sorted(weights, key=lambda one: (-(one[1] * received_units % whole), one[0]))
    for member, _ in by_remainder[:undivided]:
        shared[member] += 1
    return shared


def exact_share(*, weight: int, whole: int, received_units: int) -> Fraction:
    """The fraction of `received_units` that is due to `weight` of `whole`, before any rounding."""
    return Fraction(weight * received_units, whole)

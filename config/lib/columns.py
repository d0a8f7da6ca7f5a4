"""Column types of money and hashes, and the conditions that keep nonsense out of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Q

UNITS_DIGITS = 78
USD_LIMIT = Decimal(10) ** 12
# NaN sorts above every number in PostgreSQL, so an upper bound refuses it where `> 0` would let it in.
UNITS_LIMIT = Decimal(10) ** UNITS_DIGITS


def units_field(**options: Any) -> models.DecimalField[Any, Any]:
    """A whole number of base units (wei, 10^-6 USDT): `numeric(78, 0)` holds any uint256."""
    return models.DecimalField(max_digits=UNITS_DIGITS, decimal_places=0, **options)


def usd_field(**options: Any) -> models.DecimalField[Any, Any]:
    """US dollars, `numeric(20, 8)`."""
    return models.DecimalField(max_digits=20, decimal_places=8, **options)


def usdt_field(**options: Any) -> models.DecimalField[Any, Any]:
    """USDT, `numeric(20, 6)`: the token's own precision."""
    return models.DecimalField(max_digits=20, decimal_places=6, **options)


def number_between(column: str, *, lowest: Decimal | int, below: Decimal) -> Q:
    """`lowest <= column < below`; true for NULL (SQL's unknown passes a CHECK), false for NaN."""
    return Q(**{f"{column}__gte": Decimal(lowest), f"{column}__lt": below})


def number_above(column: str, *, floor: Decimal | int, below: Decimal) -> Q:
    """`floor < column < below`; true for NULL, false for NaN."""
    return Q(**{f"{column}__gt": Decimal(floor), f"{column}__lt": below})

"""Versions of the rules."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from batches.models import ConversionPolicy
from batches.services import current_policy, set_policy
from config.lib.errors import RefusedError
from tests.factories import ACTOR

pytestmark = pytest.mark.django_db


def change(**rules: Any) -> ConversionPolicy:
    values: dict[str, Any] = {
        "threshold_usd": Decimal(50),
        "converts_unreceipted": True,
        "tolerance_bps": 1000,
        "actor": ACTOR,
        "reason": "a better one",
    }
    return set_policy(**{**values, **rules})


def test_the_first_version_comes_from_the_settings(settings: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE batches_conversionpolicy CASCADE")
    settings.MICRO_BATCH_THRESHOLD_USD = Decimal("12.5")

    first = current_policy()

    assert (first.version, first.threshold_usd) == (1, Decimal("12.5"))
    assert first.reason == "first value: MICRO_BATCH_THRESHOLD_USD of the settings"
    settings.MICRO_BATCH_THRESHOLD_USD = Decimal(99)
    assert current_policy() == first
    assert ConversionPolicy.objects.count() == 1


def test_a_change_is_a_new_version_and_the_old_one_stays() -> None:
    old = current_policy()

    new = change(threshold_usd=Decimal("77.7"), converts_unreceipted=False, tolerance_bps=250)

    assert current_policy() == new
    assert (new.version, new.created_by, new.reason) == (old.version + 1, str(ACTOR), "a better one")
    assert (new.threshold_usd, new.converts_unreceipted, new.tolerance_bps) == (Decimal("77.7"), False, 250)
    assert ConversionPolicy.objects.get(pk=old.pk).threshold_usd == old.threshold_usd


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"reason": " "}, "needs a reason"),
        ({"threshold_usd": Decimal(0)}, "out of range"),
        ({"threshold_usd": Decimal(-1)}, "out of range"),
        ({"threshold_usd": Decimal(10) ** 12}, "out of range"),
        ({"threshold_usd": Decimal("NaN")}, "out of range"),
        ({"threshold_usd": Decimal("Infinity")}, "out of range"),
        ({"threshold_usd": Decimal("1.000000001")}, "more than 8 decimals"),
        ({"tolerance_bps": -1}, "out of range"),
        ({"tolerance_bps": 10_001}, "out of range"),
    ],
)
def test_nonsense_is_refused(rules: dict[str, Any], why: str) -> None:
    before = current_policy()

    with pytest.raises(RefusedError, match=why):
        change(**rules)

    assert current_policy() == before


def test_a_change_that_changes_nothing_is_refused() -> None:
    change()

    with pytest.raises(RefusedError, match="says exactly this already"):
        change(reason="once more")

    assert ConversionPolicy.objects.filter(threshold_usd=Decimal(50)).count() == 1

"""Rows that have had their time are deleted in portions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from config.lib.forgetting import forget
from hostpay.models import UsedToken
from hostpay.services import forget_used_tokens
from payouts.models import FailedTries, RequestKey, TryKind
from payouts.services import forget_failed_tries, forget_request_keys
from tests.lib.concurrency import crew, wait_until_blocked

pytestmark = pytest.mark.django_db


def failed(number: int, *, days_ago: int) -> FailedTries:
    at = timezone.now() - timedelta(days=days_ago)
    return FailedTries(kind=TryKind.SIGNATURE, who=f"192.0.2.{number}", since=at, failed_at=at)


def test_what_is_old_goes_in_portions_and_what_is_not_stays(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    FailedTries.objects.bulk_create([failed(number, days_ago=number % 2) for number in range(10)])
    old = FailedTries.objects.filter(failed_at__lt=timezone.now() - timedelta(hours=1))

    # Two, two, and the one that is left.
    with django_assert_num_queries(3):
        assert forget(old, at_once=2) == 5

    assert FailedTries.objects.count() == 5
    assert forget(old, at_once=2) == 0


@pytest.mark.django_db(transaction=True)
def test_a_row_brought_up_to_date_meanwhile_stays() -> None:
    row = FailedTries.objects.bulk_create([failed(1, days_ago=2)])[0]

    with crew() as workers:
        with transaction.atomic():
            FailedTries.objects.filter(pk=row.pk).update(failed_at=timezone.now())
            forgetting = workers.start(forget_failed_tries)
            wait_until_blocked()
        assert forgetting.result() == 0

    assert FailedTries.objects.filter(pk=row.pk).exists()


def test_every_sweep_forgets_what_it_is_to() -> None:
    long_ago = timezone.now() - timedelta(days=30)
    FailedTries.objects.bulk_create([failed(1, days_ago=30)])
    UsedToken.objects.create(nonce="1", purpose="tests")
    UsedToken.objects.update(used_at=long_ago)
    RequestKey.objects.create(caller="tests", key="1", fingerprint="", locked_until=long_ago)
    RequestKey.objects.update(created_at=long_ago)

    assert (forget_failed_tries(), forget_used_tokens(now=timezone.now()), forget_request_keys()) == (1, 1, 1)

    assert not [model for model in (FailedTries, UsedToken, RequestKey) if model.objects.exists()]

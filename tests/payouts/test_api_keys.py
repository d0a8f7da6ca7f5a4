"""API keys: made, used, refused."""

import hashlib
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from pytest_django import Settings

from config.lib.errors import RefusedError
from payouts.models import ApiKey
from payouts.services import create_api_key, find_api_key, revoke_api_key
from tests.factories import ACTOR

pytestmark = pytest.mark.django_db
NOON = datetime(2030, 1, 1, 12, 0, 30, tzinfo=UTC)


def get(secret: str, url: str = "/api/v1/clients/") -> Any:
    return Browser().get(url, headers={"authorization": f"Bearer {secret}"})


def test_it_stores_only_the_hash() -> None:
    key, secret = create_api_key(name="grafana", scopes=["read", "read"], actor=ACTOR)

    row = ApiKey.objects.get()
    assert row == key
    assert row.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert (secret.startswith(f"{row.prefix}_"), len(row.prefix), len(secret)) == (True, 11, 55)
    assert (row.scopes, row.created_by, row.last_used_at) == (["read"], str(ACTOR), None)
    assert secret not in repr(vars(row))


@pytest.mark.parametrize(("name", "scopes"), [("x", []), ("x", ["root"]), (" ", ["read"])])
def test_it_refuses_a_key_without_name_or_scope(name: str, scopes: list[str]) -> None:
    with pytest.raises(RefusedError):
        create_api_key(name=name, scopes=scopes, actor=ACTOR)

    assert not ApiKey.objects.exists()


def test_it_lets_a_key_with_the_scope_in_and_notes_its_use_to_the_minute() -> None:
    key, secret = create_api_key(name="x", scopes=["read"], actor=ACTOR)

    with time_machine.travel(NOON, tick=False):
        assert get(secret).status_code == 200
    with time_machine.travel(NOON + timedelta(seconds=25), tick=False):
        assert get(secret).status_code == 200

    key.refresh_from_db()
    assert key.last_used_at == datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


def test_it_refuses_a_key_without_the_scope() -> None:
    _, secret = create_api_key(name="x", scopes=["read", "ingest"], actor=ACTOR)

    answer = Browser().post(
        "/api/v1/batches/check-threshold/", "{}", "application/json", headers={"authorization": f"Bearer {secret}"}
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert answer["Content-Type"] == "application/problem+json"


def test_it_refuses_who_shows_no_key() -> None:
    answer = Browser().get("/api/v1/clients/")

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="sluice"'


@pytest.mark.parametrize("change", ["revoked_at", "expires_at"])
def test_it_refuses_a_key_that_was_revoked_or_expired_in_the_same_words(change: str) -> None:
    key, secret = create_api_key(name="x", scopes=["read"], actor=ACTOR)
    ApiKey.objects.filter(pk=key.pk).update(**{change: datetime(2026, 1, 1, tzinfo=UTC)})

    answer = get(secret)

    assert (answer.status_code, answer.json()["detail"]) == (401, get("sk_guess").json()["detail"])
    key.refresh_from_db()
    assert key.last_used_at is None


@pytest.mark.parametrize("wrong", ["", "sk_", "\u00e9" * 10, "x" * 5000])
def test_it_refuses_what_is_no_key(wrong: str) -> None:
    assert get(wrong).status_code == 401


def test_a_hash_is_no_key() -> None:
    key, _ = create_api_key(name="x", scopes=["read"], actor=ACTOR)

    assert find_api_key(key.secret_sha256, address="127.0.0.1") is None


def test_the_command_prints_the_key_and_nothing_else() -> None:
    out, err = StringIO(), StringIO()

    call_command("create_api_key", "--name", "grafana", "--scope", "read", "--days", "30", stdout=out, stderr=err)

    key = find_api_key(out.getvalue().strip(), address="127.0.0.1")
    assert key is not None
    assert (key.name, key.scopes) == ("grafana", ["read"])
    assert key.expires_at is not None
    assert out.getvalue().strip() not in err.getvalue()


def test_the_command_refuses_an_expiry_in_the_past() -> None:
    with pytest.raises(CommandError, match="expired already"):
        call_command("create_api_key", "--name", "x", "--scope", "read", "--days", "0", stdout=StringIO())


def test_a_key_that_asks_too_often_waits_for_the_next_minute(settings: Any) -> None:
    settings.API_REQUESTS_PER_MINUTE = 2
    _, busy = create_api_key(name="busy", scopes=["read"], actor=ACTOR)
    _, calm = create_api_key(name="calm", scopes=["read"], actor=ACTOR)

    def status(secret: str) -> Any:
        return Browser().get("/api/v1/clients/", headers={"authorization": f"Bearer {secret}"})

    with time_machine.travel("2030-01-01T12:00:50Z", tick=False):
        answers = [status(busy) for _ in range(3)]
        other = status(calm)
    with time_machine.travel("2030-01-01T12:01:00Z", tick=False):
        later = status(busy)

    assert [answer.status_code for answer in (*answers, other, later)] == [200, 200, 429, 200, 200]
    refused = answers[2]
    assert (refused["Content-Type"], refused.json()["code"]) == ("application/problem+json", "too_many_requests")
    assert refused["Retry-After"] == "10"


def test_a_key_waits_also_for_what_it_may_not_do(settings: Any) -> None:
    settings.API_REQUESTS_PER_MINUTE = 2
    _, secret = create_api_key(name="x", scopes=["ingest"], actor=ACTOR)

    with time_machine.travel(NOON, tick=False):
        answers = [get(secret) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [403, 403, 429]


def test_a_key_works_from_its_networks_only_and_elsewhere_its_use_is_not_counted() -> None:
    key, secret = create_api_key(
        name="x", scopes=["read"], actor=ACTOR, allowed_networks=["10.1.0.0/16", "2001:db8::/32", " 192.0.2.7 "]
    )
    assert key.allowed_networks == ["10.1.0.0/16", "2001:db8::/32", "192.0.2.7/32"]

    for address in ("10.1.2.3", "2001:db8::5", "192.0.2.7"):
        assert find_api_key(secret, address=address) == key
    for address in ("10.2.0.1", "192.0.2.8", "2001:db9::5", ""):
        assert find_api_key(secret, address=address) is None

    key.refresh_from_db()
    assert key.uses_in_minute <= 3


def test_a_refused_key_of_ours_is_named_in_the_log_by_its_prefix(caplog: pytest.LogCaptureFixture) -> None:
    key, secret = create_api_key(name="x", scopes=["read"], actor=ACTOR, allowed_networks=["10.1.0.0/16"])

    answer = get(secret)

    assert (answer.status_code, answer.json()["detail"]) == (401, "This API key is not valid.")
    (record,) = [each for each in caplog.records if "API key refused" in each.message]
    assert vars(record)["prefix"] == key.prefix
    assert secret not in caplog.text


@pytest.mark.parametrize("text", ["10.0.0.1/8", "here", ""])
def test_it_refuses_a_network_that_is_none(text: str) -> None:
    with pytest.raises(RefusedError, match="No network"):
        create_api_key(name="x", scopes=["read"], actor=ACTOR, allowed_networks=[text])


def test_an_address_that_tries_many_keys_is_not_listened_to(settings: Settings) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 2
    _, secret = create_api_key(name="x", scopes=["read"], actor=ACTOR)

    answers = [get("sk_guess") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert (answers[2].json()["code"], answers[2]["Retry-After"]) == ("too_many_requests", "60")
    assert get(secret).status_code == 200


def test_a_revoked_key_lets_nobody_in_from_the_next_request_on() -> None:
    key, secret = create_api_key(name="x", scopes=["read"], actor=ACTOR)
    _, other = create_api_key(name="y", scopes=["read"], actor=ACTOR)
    assert get(secret).status_code == 200

    revoke_api_key(prefix=key.prefix, actor=ACTOR, reason=" it was in a repository ")

    key.refresh_from_db()
    assert (key.revoked_by, key.revoke_reason) == (str(ACTOR), "it was in a repository")
    assert key.revoked_at is not None
    assert get(secret).status_code == 401
    assert get(other).status_code == 200


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_key_is_not_revoked_without_a_reason(reason: str) -> None:
    key, secret = create_api_key(name="x", scopes=["read"], actor=ACTOR)

    with pytest.raises(RefusedError):
        revoke_api_key(prefix=key.prefix, actor=ACTOR, reason=reason)

    assert get(secret).status_code == 200


def test_a_key_is_revoked_once_and_keeps_who_did_it_and_why() -> None:
    key, _ = create_api_key(name="x", scopes=["read"], actor=ACTOR)
    revoke_api_key(prefix=key.prefix, actor=ACTOR, reason="first")

    with pytest.raises(RefusedError, match=r"was revoked by command:tester before"):
        revoke_api_key(prefix=key.prefix, actor=ACTOR, reason="second")
    with pytest.raises(RefusedError, match="No API key begins with"):
        revoke_api_key(prefix="sk_00000000", actor=ACTOR, reason="second")

    key.refresh_from_db()
    assert key.revoke_reason == "first"


def test_the_command_revokes_by_the_beginning_or_by_the_key_itself_and_says_neither() -> None:
    first, _ = create_api_key(name="x", scopes=["read"], actor=ACTOR)
    _, secret = create_api_key(name="y", scopes=["read"], actor=ACTOR)
    out = StringIO()

    call_command("revoke_api_key", first.prefix, "--reason", "drill", stdout=out)
    call_command("revoke_api_key", secret, "--reason", "drill", stdout=out)
    with pytest.raises(CommandError):
        call_command("revoke_api_key", secret, "--reason", "drill", stdout=out)

    assert not ApiKey.objects.filter(revoked_at=None).exists()
    assert secret not in out.getvalue()

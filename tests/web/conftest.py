"""People before the admin: one who operates, one who only looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from config.lib import clock
from hostpay.admin import facts
from hostpay.services import WalletFacts
from tests.web.scene import Scene, play


@pytest.fixture
def scene(db: None) -> Scene:
    return play()


@pytest.fixture(autouse=True)
def known_wallet() -> Iterator[None]:
    """The node has answered lately: pages need no node to be tested."""
    cache.set(
        facts._KEY,
        facts.WalletView(
            facts=WalletFacts(
                eth_wei=1_834_200_000_000_000_000,
                usdt_units=12_004_118_220,
                nonce=3,
                block_number=40,
                read_at=timezone.now(),
            )
        ),
        600,
    )
    yield
    cache.clear()


@pytest.fixture
def operator(db: None) -> Client:
    """Looks and operates, and is no superuser."""
    user = User.objects.create_user("anna", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    user.user_permissions.add(
        *Permission.objects.filter(
            codename__in=(
                "change_batchconversion",
                "add_apikey",
                "add_client",
                "change_client",
                "add_webhookendpoint",
                "change_webhookendpoint",
                "add_export",
            )
        )
    )
    return _logged_in(user)


@pytest.fixture
def superuser(db: None) -> Client:
    Group.objects.get_or_create(name="operators")
    return _logged_in(User.objects.create_superuser("root", "root@example.org"))


@pytest.fixture
def second(db: None) -> Client:
    """Another person who may do everything."""
    return _logged_in(User.objects.create_superuser("ben", "ben@example.org"))


@pytest.fixture
def viewer(db: None) -> Client:
    """An auditor: every view permission and nothing else."""
    user = User.objects.create_user("otto", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return _logged_in(user)


def _logged_in(user: User) -> Client:
    """With the password given, as far as the session knows: by a log-in of a moment ago."""
    client = Client()
    client.force_login(user)
    session = client.session
    session["proved_at"] = clock.now().isoformat()
    session.save()
    return client

"""Who may do what: each operation's own address, asked by everybody who may not. F72, and the list of who may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser

from config.lib.adminkit.operations import OPERATE, Operation
from tests.web.scene import Scene
from tests.web.test_pages import OURS, url_of

pytestmark = pytest.mark.django_db

# All other operations are for operators.
NOT_OPERATORS = {
    "payouts.apikey create": "payouts.add_apikey",
    "payouts.apikey revoke": "payouts.add_apikey",
    "payouts.client destination": "payouts.change_client",
    "payouts.destinationchange cancel": "payouts.change_client",
    "payouts.destinationchange request": "payouts.change_client",
    "payouts.webhookendpoint change": "payouts.change_webhookendpoint",
    "payouts.webhookendpoint create": "payouts.add_webhookendpoint",
    "payouts.webhookendpoint rotate-secret": "payouts.change_webhookendpoint",
}


def operations() -> Iterator[tuple[Any, Operation[Any], bool]]:
    """Each with its model, and whether it is one of the whole list."""
    for model in OURS:
        of: Any = admin.site._registry[model]
        yield from ((model, each, False) for each in getattr(of, "operations", ()))
        yield from ((model, each, True) for each in of.list_operations)


def test_f72_each_operation_has_the_permission_that_is_written_down_here() -> None:
    found = {f"{model._meta.label_lower} {each.name}": each.permission for model, each, _ in operations()}

    assert {name: permission for name, permission in found.items() if permission != OPERATE} == NOT_OPERATORS


@pytest.mark.parametrize("may", ["nothing", "look at everything", "everything else"])
def test_f72_nobody_does_by_its_address_what_he_may_not(may: str, scene: Scene) -> None:
    """GET shows no page that asks, and POST is refused before anything that was sent is looked at."""
    user, browser, wrong = User.objects.create_user("eve", is_staff=True), Browser(), []
    browser.force_login(user)
    for model, operation, is_of_list in operations():
        some: Any = None if is_of_list else model.objects.first()
        if some is None and not is_of_list:
            continue
        app, _, codename = operation.permission.partition(".")
        granted = {
            "nothing": Permission.objects.none(),
            "look at everything": Permission.objects.filter(codename__startswith="view_"),
            "everything else": Permission.objects.exclude(content_type__app_label=app, codename=codename),
        }
        user.user_permissions.set(granted[may])
        url = url_of(model, "do", operation.name) if is_of_list else url_of(model, "operate", some.pk, operation.name)
        answers = [browser.get(url).status_code, browser.post(url, {"token": "x", "reason": "x"}).status_code]
        if answers != [403, 403]:
            wrong.append((url, answers))

    assert not wrong


def test_f72_who_is_not_logged_in_is_sent_to_the_log_in_from_everywhere(scene: Scene) -> None:
    browser = Browser()
    urls = [url_of(model, "do", each.name) for model, each, is_of_list in operations() if is_of_list]
    urls += [url_of(model, "changelist") for model in OURS]

    answers = {url: (browser.get(url), browser.post(url)) for url in urls}

    assert not [
        url
        for url, pair in answers.items()
        if any("/admin/login/" not in each.headers.get("Location", "") for each in pair)
    ]

"""API keys: made by a service, shown once, revoked for good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.operations import ConfirmForm, Done, Operation
from config.lib.adminkit.pages import Page, facts
from config.lib.audit import Actor
from payouts import services
from payouts.models import ApiKey, Scope

_LIVES = (("", "until it is revoked"), ("30", "30 days"), ("90", "90 days"), ("365", "a year"))


class ApiKeyForm(ConfirmForm):
    """Whose key it is and what it may do."""

    name = forms.CharField(
        max_length=80, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}), help_text="Who will use it."
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope.value}: {scope.label}") for scope in Scope],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    allowed_networks = forms.CharField(
        label="Only from",
        max_length=500,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Networks as in 10.0.0.0/24, or addresses, with commas between. Empty: from anywhere.",
    )
    days = forms.ChoiceField(label="Valid", choices=_LIVES, required=False, widget=UnfoldAdminSelectWidget)


def _create(_: None, actor: Actor, given: dict[str, Any]) -> Done:
    expires_at = timezone.now() + timedelta(days=int(given["days"])) if given["days"] else None
    key, secret = services.create_api_key(
        name=given["name"],
        scopes=given["scopes"],
        actor=actor,
        expires_at=expires_at,
        allowed_networks=[part for part in given["allowed_networks"].split(",") if part.strip()],
    )
    return Done(message=f"The key of {key.name}. It is shown this once; only its hash is stored.", secret=secret)


CREATE: Operation[None] = Operation(
    name="create",
    label="Create an API key",
    icon="add",
    permission="payouts.add_apikey",
    form_class=ApiKeyForm,
    consequence=lambda _: "Whoever has the key can do what its scopes allow, until it expires or is revoked.",
    run=_create,
    needs_proof=True,
)


def _revoke(key: ApiKey, actor: Actor, given: dict[str, Any]) -> Done:
    services.revoke_api_key(prefix=key.prefix, actor=actor, reason=given["reason"])
    return Done(message=f"Nobody is let in with the key of {key.name} any more.")


def _revoke_consequence(key: ApiKey) -> str:
    used = f"was last used {cells.relative(key.last_used_at)}" if key.last_used_at else "was never used"
    return (
        f"From the next request on nobody is let in with this key, which {used}. That cannot be taken back: whoever still"
        " needs one is given another."
    )


REVOKE: Operation[ApiKey] = Operation(
    name="revoke",
    label="Revoke",
    icon="key_off",
    permission="payouts.add_apikey",
    is_grave=True,
    consequence=_revoke_consequence,
    why_not=lambda key: "" if key.revoked_at is None else "It is revoked.",
    seen=lambda key: str(key.revoked_at),
    run=_revoke,
)


@admin.register(ApiKey)
class ApiKeyAdmin(ObjectAdmin[ApiKey]):
    explanation = "Keys of programs that call the API. Only hashes are stored."
    list_display = ("name", "prefix_shown", "scopes_shown", "state", "used", "expires", "made")
    search_fields = ("name", "=prefix")
    ordering = ("-created_at", "-id")
    sortable_by = ()
    list_operations = (CREATE,)
    operations = (REVOKE,)

    @admin.display(description="begins with")
    def prefix_shown(self, key: ApiKey) -> SafeString:
        return format_html("<code>{}…</code>", key.prefix)

    @admin.display(description="scopes")
    def scopes_shown(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    def state(self, key: ApiKey) -> SafeString:
        if key.revoked_at is not None:
            return cells.pill("revoked")
        return cells.pill("ok", text="usable") if key.is_usable(timezone.now()) else cells.pill("expired")

    @admin.display(description="last used")
    def used(self, key: ApiKey) -> SafeString:
        return cells.when(key.last_used_at)

    def expires(self, key: ApiKey) -> SafeString:
        return cells.when(key.expires_at)

    def made(self, key: ApiKey) -> SafeString:
        return cells.when(key.created_at)

    def page(self, _request: HttpRequest, obj: ApiKey) -> Page:
        return Page(
            headline=f"Key of {obj.name}",
            pills=(self.state(obj),),
            subline=format_html("made by {} {}", obj.created_by, cells.when(obj.created_at)),
            sections=(
                facts(
                    "Key",
                    ("Begins with", self.prefix_shown(obj)),
                    ("May", ", ".join(Scope(scope).label for scope in obj.scopes if scope in Scope.values)),
                    ("Only from", ", ".join(obj.allowed_networks) or "anywhere"),
                    ("Last used", cells.when(obj.last_used_at)),
                    ("Expires", cells.when(obj.expires_at)),
                    ("Revoked", cells.when(obj.revoked_at) if obj.revoked_at else ""),
                    ("Revoked by", obj.revoked_by),
                    ("Why", obj.revoke_reason),
                ),
            ),
        )

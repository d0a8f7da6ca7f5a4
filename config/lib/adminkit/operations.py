"""What an operator may do, always in one pattern.

A button leads to a page that says the consequence with its figures and asks for a reason. Its form carries a signed
token: who asked, for what, and the state the operator saw. Submitting works once, only while the object is still as it
was seen, and only by POST; then the operator is back at the object with a message. What lifts a guard, says where money
goes or how much, or hands out a secret asks for the password too, unless it was given just now; what stops something
never does. The work itself is a service's, the same that the command and the API call.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from django import forms
from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from config.lib import audit
from config.lib.adminkit.pages import Section
from config.lib.adminkit.proof import ProvesPeople, ask_for_proof, take_proof
from config.lib.errors import RefusedError
from config.lib.lifecycle import StaleRowError

M = TypeVar("M")

# One permission for whatever moves money or stops it; who only looks on lacks it. Named by its text, since this module
# is below the app that has it.
OPERATE = "batches.change_batchconversion"

_SALT = "config.lib.adminkit.operations"
# Within the day that hostpay remembers a used nonce.
_TOKEN_AGE_S = 15 * 60


class ConfirmForm(forms.Form):
    """Asks nothing: for what needs no reason beside the one it ends."""


class OperationForm(ConfirmForm):
    """Most operations ask why; some ask more, in a form that inherits this one."""

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "required": True}),
        help_text="Goes into the history, with your name.",
    )

    def clean_reason(self) -> str:
        reason: str = self.cleaned_data["reason"]
        return " ".join(reason.split())


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of it: a sentence, where to go on, or a secret that is shown this once."""

    message: str | SafeString
    url: str = ""
    secret: str = ""
    level: int = messages.SUCCESS


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[M]):
    """One thing that can be done to an object, or (with M None) at a list.

    Attributes:
        name: its address, under the object's.
        label: an imperative sentence for the button.
        consequence: what will happen, with figures.
        run: calls the service; RefusedError and StaleRowError become messages.
        why_not: a sentence why it cannot be done now, or an empty string.
        seen: what must still be so when the form comes back.
        typed: what has to be typed to confirm; empty for what can be undone.
        preview: what to look through before confirming, below the consequence.
        needs_proof: whether a session that was left open is not enough for it.
    """

    name: str
    label: str
    consequence: Callable[[M], str | SafeString]
    run: Callable[[M, audit.Actor, dict[str, Any]], Done]
    why_not: Callable[[M], str] = lambda _: ""
    seen: Callable[[M], str] = lambda _: ""
    typed: Callable[[M], str] = lambda _: ""
    preview: Callable[[M], Sequence[Section]] = lambda _: ()
    form_class: type[ConfirmForm] = OperationForm
    initial: Callable[[M], dict[str, Any]] = lambda _: {}
    permission: str = OPERATE
    icon: str = "play_arrow"
    is_grave: bool = False
    needs_proof: bool = False

    def allowed_for(self, user: AbstractBaseUser | AnonymousUser) -> bool:
        return bool(getattr(user, "has_perm", lambda _: False)(self.permission))


@dataclass(frozen=True, kw_only=True)
class Button:
    """An operation as a page shows it: a link, or grey with the reason; `key` is what it is reached by on a keyboard."""

    label: str
    icon: str
    url: str
    why_not: str = ""
    is_grave: bool = False
    key: str = ""


class SpendsTokens(ProvesPeople, Protocol):
    """What an admin site must offer: `spend_token` is true at a nonce's first use, across all processes."""

    def spend_token(self, nonce: str) -> bool: ...


def button(operation: Operation[M], obj: M, url: str, user: AbstractBaseUser | AnonymousUser) -> Button | None:
    """The operation's button for this user; None for who may not use it, so that onlookers see no button at all."""
    if not operation.allowed_for(user):
        return None
    return Button(
        label=operation.label,
        icon=operation.icon,
        url=url,
        why_not=operation.why_not(obj),
        is_grave=operation.is_grave,
    )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an operation is asked for: the object's key, the site, and where to go back to."""

    key: str
    site: SpendsTokens
    back_url: str
    opts: Any


def operate(request: HttpRequest, *, operation: Operation[M], obj: M, place: Place) -> HttpResponse:
    """The page that asks, and the submission that does."""
    if not operation.allowed_for(request.user):
        raise PermissionDenied
    if request.method == "POST":
        return _submit(request, operation, obj, place)
    why_not = operation.why_not(obj)
    if why_not:
        messages.warning(request, f"{operation.label}: not now. {why_not}")
        return HttpResponseRedirect(place.back_url)
    return ask(request, operation=operation, obj=obj, place=place)


def ask(request: HttpRequest, *, operation: Operation[M], obj: M, place: Place) -> HttpResponse:
    """The page that asks, also where the object itself came by POST: in an upload."""
    return _ask(request, operation, obj, place, _form(request, operation, obj, place, is_sent=False))


def _submit(request: HttpRequest, operation: Operation[M], obj: M, place: Place) -> HttpResponse:
    form = _form(request, operation, obj, place, is_sent=True)
    token = _read_token(request, operation, place.key)
    if token is None:
        form.add_error(None, "This page was open for too long, or was not made for you. Look again, then confirm.")
        return _ask(request, operation, obj, place, form)
    why_not = operation.why_not(obj)
    if token["seen"] != operation.seen(obj) or why_not:
        messages.error(request, _already(operation, obj, why_not))
        return HttpResponseRedirect(place.back_url)
    take_proof(form, request, place.site)
    if not form.is_valid():
        return _ask(request, operation, obj, place, form)
    if not place.site.spend_token(token["nonce"]):
        messages.error(request, f"{operation.label}: already done, by the first of two submissions. See the history.")
        return HttpResponseRedirect(place.back_url)
    return _run(request, operation, obj, place, form)


def _run(request: HttpRequest, operation: Operation[M], obj: M, place: Place, form: ConfirmForm) -> HttpResponse:
    try:
        done = operation.run(obj, audit.admin(request.user.get_username()), form.cleaned_data)
    except RefusedError as refusal:
        messages.error(request, f"{operation.label}: refused. {refusal.why} {refusal.next_step}")
        return HttpResponseRedirect(place.back_url)
    except StaleRowError as stale:
        messages.error(request, f"{operation.label}: already done by somebody else, or moved on. {stale}.")
        return HttpResponseRedirect(place.back_url)
    if not done.secret:
        messages.add_message(request, done.level, done.message)
        return HttpResponseRedirect(done.url or place.back_url)
    context = {
        **place.site.each_context(request),
        "title": operation.label,
        "done": done,
        "back_url": place.back_url,
        "opts": place.opts,
    }
    return _unstored(TemplateResponse(request, "admin/secret.html", context))


def _ask(request: HttpRequest, operation: Operation[M], obj: M, place: Place, form: ConfirmForm) -> HttpResponse:
    token = {
        "for": [operation.name, place.key, str(request.user.pk)],
        "seen": operation.seen(obj),
        "nonce": secrets.token_urlsafe(24),
    }
    context = {
        **place.site.each_context(request),
        "title": operation.label,
        "operation": operation,
        "object_label": str(obj) if obj is not None else "",
        "consequence": operation.consequence(obj),
        "preview": operation.preview(obj),
        "form": form,
        "token": signing.dumps(token, salt=_SALT),
        "back_url": place.back_url,
        "opts": place.opts,
        # The page's head links to it: a file that was uploaded has no page.
        "original": obj if isinstance(obj, Model) else None,
    }
    return _unstored(TemplateResponse(request, "admin/operation.html", context))


def _unstored(response: HttpResponse) -> HttpResponse:
    """Neither a token nor a secret belongs into a cache."""
    response.headers["Cache-Control"] = "no-store"
    return response


def _form(request: HttpRequest, operation: Operation[M], obj: M, place: Place, *, is_sent: bool) -> ConfirmForm:
    form = operation.form_class(request.POST if is_sent else None, initial=operation.initial(obj))
    phrase = operation.typed(obj)
    if phrase:
        form.fields["typed"] = _TypedField(phrase)
    if operation.needs_proof:
        ask_for_proof(form, request, place.site)
    return form


class _TypedField(forms.CharField):
    """Takes one phrase only: the hand should know what it does."""

    def __init__(self, phrase: str) -> None:
        super().__init__(
            label=format_html("Type <b>{}</b> to confirm", phrase),
            widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        )
        self.phrase = phrase

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        if cleaned != self.phrase:
            raise forms.ValidationError(f"Type exactly {self.phrase}.", code="not_typed")
        return cleaned


def _read_token(request: HttpRequest, operation: Operation[M], key: str) -> dict[str, str] | None:
    try:
        token = signing.loads(request.POST.get("token", ""), salt=_SALT, max_age=_TOKEN_AGE_S)
    except signing.BadSignature:
        return None
    if token["for"] != [operation.name, key, str(request.user.pk)]:
        return None
    return {"seen": token["seen"], "nonce": token["nonce"]}


def _already(operation: Operation[M], obj: M, why_not: str) -> str:
    what = (
        f"{operation.label}: already done, or the object has moved on since you opened the page. Nothing was changed."
    )
    status = getattr(obj, "status", "")
    if status:
        what += f" It is {status} now."
    return f"{what} {why_not}".strip()


def describe_state(obj: Any) -> str:
    """What an operator saw of an object with a life: its status, since when, and what it was stuck with."""
    stuck = getattr(obj, "review_reason", ""), getattr(obj, "hold_reason", "")
    return "|".join((obj.status, obj.status_changed_at.isoformat(), *stuck))

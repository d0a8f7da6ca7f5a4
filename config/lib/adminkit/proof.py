"""Step-up as pages ask for it: who gives much away types the password again, unless that was done just now.

The password is one more field of the form that asks anyway, so that nothing typed is lost over it; once it has proved
something it is taken out of the form, and nobody behind it ever sees it.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, cast

from django import forms
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminPasswordWidget

PASSWORD: Final = "password"  # noqa: S105 (a field's name)
# Apart from the fields of Django's own forms, some of which ask for passwords too.
_PREFIX: Final = "proof"
# What Django's forms call somebody's new password. It travels through no page: the form asks for it anew.
_SECRETS: Final = "password"


class ProvesPeople(Protocol):
    """What an admin site must offer: who somebody is, proved anew."""

    def each_context(self, request: Any) -> dict[str, Any]: ...

    def is_proved(self, request: HttpRequest) -> bool: ...

    def prove(self, request: HttpRequest, password: str) -> str: ...


def ask_for_proof(form: forms.Form, request: HttpRequest, site: ProvesPeople) -> None:
    """Adds the field to `form`, unless the password was given just now."""
    if site.is_proved(request):
        return
    form.fields[PASSWORD] = forms.CharField(
        strip=False,
        label="Your password",
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password", "required": True}),
        help_text="Asked for again where much is given away; once given, it is good for five minutes.",
    )


def take_proof(form: forms.Form, request: HttpRequest, site: ProvesPeople) -> None:
    """Looks at the password of a form that was sent, if it asks for one: a good one leaves the form, a bad one is its error.

    Whatever else is wrong with the form: who has to mend something need not give the password twice.
    """
    if PASSWORD not in form.fields or PASSWORD in form.errors:
        return
    why_not = site.prove(request, form.cleaned_data[PASSWORD])
    if why_not:
        form.add_error(PASSWORD, why_not)
    else:
        del form.fields[PASSWORD], form.cleaned_data[PASSWORD]


class ChangesByProof(ModelAdmin):  # type: ignore[type-arg] # (not generic when it runs)
    """To inherit before another model admin: whatever it is sent waits until the password was given, and is then done.

    What was sent travels through the page that asks. For Django's own forms; operations ask in theirs.
    """

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        return self.asked(request) or super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        return self.asked(request) or super().delete_view(request, object_id, extra_context)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return self.asked(request) or super().changelist_view(request, extra_context)

    def asked(self, request: HttpRequest) -> HttpResponse | None:
        """The page that asks for the password, where something was sent without one; None to go on."""
        site = cast("ProvesPeople", self.admin_site)
        if request.method != "POST" or site.is_proved(request):
            return None
        form = forms.Form(request.POST, prefix=_PREFIX)
        ask_for_proof(form, request, site)
        name = form.add_prefix(PASSWORD)
        if name in request.POST:
            take_proof(form, request, site)
            if form.is_valid():
                return None
        else:
            form.is_bound = False
        kept = [
            (each, value)
            for each, values in request.POST.lists()
            for value in values
            if each not in {name, "csrfmiddlewaretoken"} and not each.startswith(_SECRETS)
        ]
        context = {**site.each_context(request), "title": "Is it you?", "form": form, "kept": kept, "opts": self.opts}
        response = TemplateResponse(request, "admin/proof.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

"""Our admin site: unfold's, with an overview as its home and one way to do things once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import PermissionDenied
from django.core.paginator import InvalidPage
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from config.admin_site import step_up
from config.lib.adminkit.operations import OPERATE
from config.lib.audit import Actor
from hostpay.services.tokens import use_token_once
from payouts import services as payouts

# unfold ships no types: to the type checker its site is Django's, which it inherits.
if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
else:
    from unfold.sites import UnfoldAdminSite as AdminSite

_TOKEN_PURPOSE = "admin"  # noqa: S105 - a purpose, not a token


class SluiceAdminSite(AdminSite):
    """The site that `admin.site` means.

    The apps' admin modules register here while they are imported, so what shows their parts is imported when asked for.
    """

    site_title = "Sluice"
    site_header = "Sluice"
    index_title = "Overview"
    enable_nav_sidebar = True

    def get_urls(self) -> list[Any]:
        mine: list[URLPattern] = [path("needs-me/", self.admin_view(self.needs_me), name="needs_me")]
        return [*mine, *super().get_urls()]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().login(request, extra_context)
        # The log-in's answer to a name and a password that it took, and to nothing else that is sent to it.
        if request.method == "POST" and response.status_code == HTTPStatus.FOUND:
            step_up.remember_proof(request)
        return response

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """unfold's; where it breaks off with an error, there is no such page of what was found."""
        page = request.GET.get("page", "1")
        if not (page.isascii() and page.isdigit()):
            raise Http404("no number of a page")
        try:
            found: HttpResponse = super().search(request, extra_context)  # type: ignore[misc]
        except InvalidPage:
            raise Http404("no such page of what was found") from None
        return found

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        from config.admin_site.login import OwnPasswordForm  # noqa: PLC0415 (forms want the settings)

        request.current_app = self.name
        return PasswordChangeView.as_view(
            form_class=partial(OwnPasswordForm, request),
            success_url=reverse(f"{self.name}:password_change_done"),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )(request)

    def each_context(self, request: Any) -> dict[str, Any]:
        from hostpay.admin.stops import stops  # noqa: PLC0415

        context = super().each_context(request)
        if self.has_permission(request):
            context["stops"] = stops()
        return context

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from config.admin_site.overview import overview  # noqa: PLC0415

        # Figures of all apps on one page: for who may see batches; others get to what they may see by the navigation.
        may_see = request.user.has_perm("batches.view_batchconversion") or request.user.has_perm(OPERATE)
        shown = overview(request) if may_see else {}
        return super().index(request, {"may_see": may_see, **shown, **(extra_context or {})})

    def needs_me(self, request: HttpRequest) -> HttpResponse:
        """All that waits for a person, the worst first."""
        from config.admin_site.attention import attention  # noqa: PLC0415

        if not request.user.has_perm("batches.view_batchconversion"):
            raise PermissionDenied
        found = attention()
        context = {**self.each_context(request), "title": "Needs me", "items": found.items, "found": found}
        return TemplateResponse(request, "admin/needs_me.html", context)

    def spend_token(self, nonce: str) -> bool:
        """True at the first use of a nonce in any process, false ever after."""
        with transaction.atomic():
            return use_token_once(nonce=nonce, purpose=_TOKEN_PURPOSE)

    def is_proved(self, request: HttpRequest) -> bool:
        """Whether who is logged in gave the password just now."""
        return step_up.is_proved(request)

    def prove(self, request: HttpRequest, password: str) -> str:
        """Why the password proves nothing; empty if it does."""
        return step_up.prove(request, password)

    def record_export(
        self,
        *,
        subject: str,
        filters: Mapping[str, Sequence[str]],
        columns: Sequence[str],
        row_count: int,
        sha256: str,
        actor: Actor,
    ) -> None:
        """Write down a file that is about to be handed over."""
        payouts.record_export(
            subject=subject, filters=filters, columns=columns, row_count=row_count, sha256=sha256, actor=actor
        )

    def record_refused_export(
        self, *, subject: str, filters: Mapping[str, Sequence[str]], columns: Sequence[str], why: str, actor: Actor
    ) -> None:
        """Write down that somebody asked for a file and got none."""
        payouts.record_refused_export(subject=subject, filters=filters, columns=columns, why=why, actor=actor)

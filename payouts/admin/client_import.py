"""Clients from a file, by hand: uploaded, shown with all that would change, then confirmed."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminFileFieldWidget

from config.lib.adminkit import cells
from config.lib.adminkit.operations import Done, Operation, OperationForm, Place, ask, operate
from config.lib.adminkit.pages import Section, Table, columns
from config.lib.audit import Actor
from config.lib.errors import RefusedError, SluiceError
from config.lib.problems import InvalidFieldsError
from config.lib.record_files import UnreadableFileError, read_lines
from payouts.services.client_import import (
    FIELD_NAMES,
    ClientPlan,
    Planned,
    carry_out,
    fingerprint,
    once_each,
    plan_clients,
)

# The file travels through the page that asks, and a person should be able to read what it would change.
_MAX_BYTES = 512 * 1024
_MOST_LINES = 2000
_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class ClientFile:
    """An uploaded file, and what it would change as things are."""

    content: str
    is_csv: bool
    planned: Sequence[tuple[int, Planned]]

    def __str__(self) -> str:
        return f"{len(self.planned):,} lines"

    @property
    def counted(self) -> Counter[str]:
        return Counter(plan.kind if isinstance(plan, ClientPlan) else "refused" for _, plan in self.planned)

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.is_csv} {self.content}".encode()).hexdigest()

    @property
    def sent(self) -> str:
        """As it travels through a form, which would change its line breaks."""
        return base64.b64encode(self.content.encode()).decode("ascii")


class UploadForm(forms.Form):
    """Which file; its clean `file` is the ClientFile."""

    file = forms.FileField(
        label="CSV file, or one JSON object a line",
        widget=UnfoldAdminFileFieldWidget,
        help_text=f"Its fields: {', '.join(FIELD_NAMES)}. What is left out or empty stays as it is.",
    )

    def clean_file(self) -> ClientFile:
        upload: UploadedFile[Any] = self.cleaned_data["file"]
        if upload.size is None or upload.size > _MAX_BYTES:
            raise forms.ValidationError(f"A file of at most {_MAX_BYTES // 1024} KiB; import_clients takes any.")
        try:
            content = upload.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise forms.ValidationError("The file is no text in UTF-8.") from None
        try:
            return client_file(content, is_csv=str(upload.name).lower().endswith(".csv"))
        except UnreadableFileError as error:
            raise forms.ValidationError(str(error)) from None


class ImportForm(OperationForm):
    """Why, with the file that was looked through."""

    content = forms.CharField(widget=forms.HiddenInput)
    is_csv = forms.BooleanField(widget=forms.HiddenInput, required=False)


def client_file(content: str, *, is_csv: bool) -> ClientFile:
    """The file with its plan; raises UnreadableFileError."""
    # newline="": the csv module counts the line breaks inside quotes itself.
    lines = list(once_each(read_lines(io.StringIO(content, newline=""), is_csv=is_csv, field_names=FIELD_NAMES)))
    if len(lines) > _MOST_LINES:
        raise UnreadableFileError(f"It has more than {_MOST_LINES} clients; import_clients takes any number.")
    plans = plan_clients([line.item for line in lines])
    return ClientFile(
        content=content,
        is_csv=is_csv,
        planned=[(line.number, plan) for line, plan in zip(lines, plans, strict=True)],
    )


def import_view(request: HttpRequest, *, place: Place) -> HttpResponse:
    """Ask for a file, then whether what it would change is meant, then do it."""
    if not request.user.has_perms(("payouts.add_client", "payouts.change_client")):
        raise PermissionDenied
    if "content" in request.POST:
        found = _received(request)
        return operate(request, operation=IMPORT, obj=found, place=_of(place, found))
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        found = form.cleaned_data["file"]
        return ask(request, operation=IMPORT, obj=found, place=_of(place, found))
    context = {
        **place.site.each_context(request),
        "title": IMPORT.label,
        "explanation": "Clients are made and changed as the file says, after you have seen what that would be.",
        "form": form,
        "back_url": place.back_url,
        "opts": place.opts,
    }
    return TemplateResponse(request, "admin/upload.html", context)


def _received(request: HttpRequest) -> ClientFile:
    """The file that comes back to be confirmed, planned anew."""
    try:
        content = base64.b64decode(request.POST["content"], validate=True).decode()
        return client_file(content, is_csv=request.POST.get("is_csv") == "True")
    except (ValueError, UnreadableFileError) as error:
        raise BadRequest("This is not the file that was shown.") from error


def _of(place: Place, found: ClientFile) -> Place:
    """The place of this very file: what was confirmed for one is confirmed for no other."""
    return replace(place, key=f"{place.key}:{found.key}")


def _consequence(found: ClientFile) -> str:
    counted = found.counted
    cool_off = f"Other destinations take effect after {settings.DESTINATION_COOL_OFF_S} seconds, unless cancelled."
    return (
        f"New clients: {counted['new']}; changed: {counted['changed']}; already as the file says:"
        f" {counted['unchanged']}; refused lines: {counted['refused']}. {cool_off}"
    )


def _preview(found: ClientFile) -> list[Section]:
    """What is refused, and what changes; not the lines that change nothing."""
    refused = [(number, plan) for number, plan in found.planned if isinstance(plan, SluiceError)]
    plans = [(number, plan) for number, plan in found.planned if isinstance(plan, ClientPlan) and plan.changes]
    sections: list[Section] = []
    if refused:
        sections.append(
            Table(
                title="Refused lines",
                note=_of_all(len(refused)),
                columns=columns("Line#", "Why"),
                rows=[(cells.count(number), str(refusal)) for number, refusal in refused[:_SHOWN]],
            )
        )
    changes = Table(
        title="Changes",
        note=_of_all(len(plans)),
        columns=columns("Line#", "Client", "", "What"),
        rows=[
            (cells.count(number), plan.external_id, cells.pill(plan.kind), _changes(plan))
            for number, plan in plans[:_SHOWN]
        ],
        empty="Nothing would change.",
    )
    return [*sections, changes]


def _changes(plan: ClientPlan) -> SafeString:
    if plan.client_id is None:
        return format_html_join("", "<div>{}: {}</div>", ((each.field, each.after) for each in plan.changes))
    rows = ((each.field, each.before or "nothing", each.after or "nothing") for each in plan.changes)
    return format_html_join("", "<div>{}: {} → {}</div>", rows)


def _of_all(total: int) -> str:
    return f"the first {_SHOWN} of {total:,}" if total > _SHOWN else ""


def _import(found: ClientFile, actor: Actor, given: dict[str, Any]) -> Done:
    ended: Counter[str] = Counter()
    for _, plan in found.planned:
        if isinstance(plan, ClientPlan) and plan.changes:
            try:
                carry_out(plan=plan, actor=actor, reason=given["reason"])
            except (RefusedError, InvalidFieldsError):
                ended["refused"] += 1
            else:
                ended[plan.kind] += 1
    message = f"Clients made: {ended['new']}; changed: {ended['changed']}."
    shown_refused = found.counted["refused"]
    if shown_refused:
        message += f" Refused lines: {shown_refused}; mend them in the file and import it again."
    if ended["refused"]:
        message += f" {ended['refused']} became impossible meanwhile: upload the file again to see why."
    level = messages.WARNING if shown_refused or ended["refused"] else messages.SUCCESS
    return Done(message=message, level=level)


IMPORT: Operation[ClientFile] = Operation(
    name="import",
    label="Import clients",
    icon="upload_file",
    permission="payouts.add_client",
    form_class=ImportForm,
    initial=lambda found: {"content": found.sent, "is_csv": found.is_csv},
    consequence=_consequence,
    preview=_preview,
    seen=lambda found: fingerprint(plan for _, plan in found.planned),
    run=_import,
    needs_proof=True,
)

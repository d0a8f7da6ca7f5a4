"""Model admins: fast lists without counts, and an object's page that shows everything and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

from django.contrib import messages
from django.contrib.admin import ShowFacets, display
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.paginator import InfinitePaginator

from config.lib.adminkit import cells
from config.lib.adminkit.export_columns import ExportColumn, ObjectExport, field, fields
from config.lib.adminkit.exports import ExportSite, Wanted, export, may_export, narrowed_by
from config.lib.adminkit.links import linked
from config.lib.adminkit.operations import Button, Operation, Place, SpendsTokens, button, operate
from config.lib.adminkit.pages import Page, facts, raw
from config.lib.lifecycle import StatusChange

M = TypeVar("M", bound=Model)

# unfold ships no types: to the type checker its ModelAdmin is Django's, which it inherits.
if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
else:
    from unfold.admin import ModelAdmin as UnfoldModelAdmin

    class ModelAdmin(UnfoldModelAdmin, Generic[M]): ...


class ListAdmin(ModelAdmin[M]):
    """A list for operators: no counts, no bulk actions; operations on the list as a whole stand above it.

    One that names the columns of its rows in `exported` can be taken out as a table, as it is filtered and searched.
    """

    actions = None
    # `count(*)` over a million rows costs more than the page itself.
    paginator = InfinitePaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_filter_submit = True
    empty_value_display = cells.NOTHING
    # Of one object, each on a page of its own.
    operations: ClassVar[Sequence[Operation[Any]]] = ()
    list_operations: ClassVar[Sequence[Operation[None]]] = ()
    exported: ClassVar[Sequence[ExportColumn]] = ()
    # A sentence above the list: what these rows are.
    explanation: ClassVar[str] = ""
    list_before_template = "admin/list_head.html"

    def get_urls(self) -> list[URLPattern]:
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        wrap = self.admin_site.admin_view
        mine = [
            path("do/<slug:name>/", wrap(self.list_operation_view), name=f"{prefix}_do"),
            path("<path:object_id>/do/<slug:name>/", wrap(self.operation_view), name=f"{prefix}_operate"),
        ]
        if self.exported:
            mine.append(path("export/", wrap(self.export_view), name=f"{prefix}_export"))
        return [*mine, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(
            request,
            {
                **(extra_context or {}),
                # Django's own asks to select something.
                "title": capfirst(str(self.opts.verbose_name_plural)),
                "list_buttons": [*self.list_buttons(request), *self._export_buttons(request)],
                "explanation": self.explanation,
            },
        )

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        """The operations on the whole list that this user may use."""
        offered = (
            button(operation, None, self.page_url("do", operation.name), request.user)
            for operation in self.list_operations
        )
        return [each for each in offered if each is not None]

    def list_operation_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask for, then do, one of `list_operations`."""
        return operate(
            request,
            operation=_named(self.list_operations, name),
            obj=None,
            place=self._place(self.opts.label_lower, self.page_url("changelist")),
        )

    def export_view(self, request: HttpRequest) -> HttpResponse | FileResponse:
        """The rows of the list as its address narrows it: all its pages, in its order."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        narrowed = request.GET.copy()
        # All pages, whichever of them was open.
        narrowed.pop(PAGE_VAR, None)
        request.GET = narrowed  # type: ignore[assignment]
        try:
            shown = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            messages.error(request, "The list has no such filter, so nothing was exported.")
            return HttpResponseRedirect(self.page_url("changelist"))
        wanted = Wanted(
            title=str(self.opts.verbose_name_plural),
            subject=self.opts.label_lower,
            file_stem=f"sluice-{self.opts.model_name}",
            columns=self.exported,
            rows=shown.queryset,
            filters=narrowed_by(request),
            back_url=_with_query(self.page_url("changelist"), request),
            opts=self.opts,
        )
        return export(request, wanted=wanted, site=cast("ExportSite", self.admin_site))

    def _export_buttons(self, request: HttpRequest) -> list[Button]:
        if not self.exported or not may_export(request):
            return []
        url = _with_query(self.page_url("export"), request)
        return [Button(label="Export", icon="download", url=url, key="e")]

    def operation_buttons(self, request: HttpRequest, obj: M) -> list[Button]:
        """One for each of `operations` that this user may use, also where it is not possible now."""
        offered = (
            button(operation, obj, self.page_url("operate", obj.pk, operation.name), request.user)
            for operation in self.operations
        )
        return [each for each in offered if each is not None]

    def operation_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Ask for, then do, one of `operations`."""
        obj = self._visible(request, object_id)
        return operate(
            request,
            operation=_named(self.operations, name),
            obj=obj,
            place=self._place(f"{self.opts.label_lower}:{obj.pk}", self.page_url("change", obj.pk)),
        )

    def _visible(self, request: HttpRequest, object_id: str) -> M:
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404(f"no {self.opts.verbose_name} {object_id}")
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        return obj

    def _place(self, key: str, back_url: str) -> Place:
        return Place(key=key, site=cast("SpendsTokens", self.admin_site), back_url=back_url, opts=self.opts)

    def page_url(self, page: str, *args: object) -> str:
        """The address of one of this admin's pages."""
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args)


class ObjectAdmin(ListAdmin[M]):
    """Shows its objects and what can be done with them; nobody adds, edits or deletes here, superusers included."""

    # Tables of the object's page that can be taken out.
    exports: ClassVar[Sequence[ObjectExport[Any]]] = ()

    def page(self, request: HttpRequest, obj: M) -> Page:
        """What the object's page shows. Each admin draws its own."""
        return Page(headline=str(obj))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        exporting = self.admin_site.admin_view(self.object_export_view)
        table = path("<path:object_id>/export/<slug:name>/", exporting, name=f"{prefix}_export_table")
        return [table, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        obj = self._visible(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": str(obj),
            "page": self.page(request, obj),
            "buttons": self.buttons(request, obj),
            "opts": self.opts,
            "original": obj,
            **(extra_context or {}),
        }
        # Django's own way to say which site it is.
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/object.html", context)

    def buttons(self, request: HttpRequest, obj: M) -> list[Button]:
        """The operations that this user may use, those not possible now among them, with the reason."""
        return [*self.operation_buttons(request, obj), *self._table_buttons(request, obj)]

    def object_export_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse | FileResponse:
        """One of `exports`."""
        obj = self._visible(request, object_id)
        table = _named(self.exports, name)
        wanted = Wanted(
            title=f"{table.label} of {obj}",
            subject=f"{self.opts.label_lower}:{obj.pk} {table.name}",
            file_stem=f"sluice-{self.opts.model_name}-{obj.pk}-{table.name}",
            columns=table.columns,
            rows=table.rows(obj),
            filters={},
            back_url=self.page_url("change", obj.pk),
            opts=self.opts,
            original=obj,
        )
        return export(request, wanted=wanted, site=cast("ExportSite", self.admin_site))

    def _table_buttons(self, request: HttpRequest, obj: M) -> list[Button]:
        if not may_export(request):
            return []
        return [
            Button(
                label=f"Export {table.label}",
                icon="download",
                url=self.page_url("export_table", obj.pk, table.name),
                key="" if position else "e",
            )
            for position, table in enumerate(self.exports)
        ]


class StatusChangeAdmin(ObjectAdmin[StatusChange]):
    """The history of all objects of one kind: who moved what, when and why."""

    list_display = ("at", "subject_link", "move", "actor", "reason")
    list_display_links = ("at",)
    list_select_related = ("subject",)
    # Not by actor: that filter would first list them all.
    list_filter = ("to_status",)
    search_fields = ("=actor",)
    search_help_text = "an actor, as in admin:anna"
    ordering = ("-id",)
    sortable_by = ()
    explanation = "Written with every move, in the same transaction, and never changed."
    exported = (
        *fields("id", "created_at"),
        field("object_id", "subject_id"),
        *fields("from_status", "to_status", "actor", "reason"),
    )

    def at(self, change: StatusChange) -> SafeString:
        return cells.when(change.created_at)

    @display(description="object")
    def subject_link(self, change: Any) -> SafeString:
        return linked(change.subject)

    def move(self, change: StatusChange) -> SafeString:
        if change.from_status == change.to_status:
            return cells.pill(change.to_status)
        born = cells.pill(change.from_status) if change.from_status else SafeString("new")
        return format_html("{} → {}", born, cells.pill(change.to_status))

    def page(self, request: HttpRequest, obj: Any) -> Page:
        return Page(
            headline=obj.reason,
            pills=(self.move(obj),),
            sections=(
                facts(
                    "Event",
                    ("Object", self.subject_link(obj)),
                    ("Actor", obj.actor),
                    ("At", cells.when(obj.created_at)),
                ),
                raw("Recorded with it", obj.data),
            ),
        )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def _named(offered: Sequence[N], name: str) -> N:
    for each in offered:
        if each.name == name:
            return each
    raise Http404(f"nothing called {name}")


def _with_query(url: str, request: HttpRequest) -> str:
    """The address, narrowed as the request's is; not its page."""
    query = request.GET.copy()
    query.pop(PAGE_VAR, None)
    return f"{url}?{query.urlencode()}" if query else url

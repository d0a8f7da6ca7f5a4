"""Models of other packages, in our clothes: users, groups and the schedule."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_celery_beat.admin import PeriodicTaskAdmin, PeriodicTaskForm
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from unfold.admin import ModelAdmin as UnfoldModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from config.lib.adminkit import cells
from config.lib.adminkit.proof import ChangesByProof

_EXPLANATION = (
    "What beat does. At every start of beat the code's schedule (config/schedule.py, with the intervals of the "
    "settings) is written over the interval and task of its entries; what stays as you set it is “enabled”: an entry "
    "switched off here stays off. Entries you add yourself are left alone."
)


class SluiceUserAdmin(ChangesByProof, UserAdmin, UnfoldModelAdmin):  # type: ignore[misc,type-arg]
    # Whoever could make another user, or give one another password, would be asked for a password that he knows.
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:  # noqa: A002 (Django's)
        return self.asked(request) or super().user_change_password(request, id, form_url)


class SluiceGroupAdmin(ChangesByProof, GroupAdmin, UnfoldModelAdmin):  # type: ignore[misc]
    """Groups are roles: give a group view permissions and it may look; with “change batch conversion” it operates.

    With “add export” it may take the lists that it sees along, as files.
    """


class _StyledPeriodicTaskForm(PeriodicTaskForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["task"].widget = UnfoldAdminTextInputWidget()
        choices = list(self.fields["regtask"].widget.choices)
        self.fields["regtask"].widget = UnfoldAdminSelectWidget(choices=choices)


class SluicePeriodicTaskAdmin(ChangesByProof, PeriodicTaskAdmin, UnfoldModelAdmin):  # type: ignore[misc]
    form = _StyledPeriodicTaskForm
    list_display = ("name", "enabled", "scheduler", "last_run", "task")
    list_filter = ("enabled",)
    date_hierarchy = None
    list_before_template = "admin/list_head.html"
    change_form_outer_before_template = "includes/schedule_note.html"
    # Theirs is for the stock admin.
    change_form_template = None

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {**(extra_context or {}), "explanation": _EXPLANATION})

    def last_run(self, entry: PeriodicTask) -> SafeString:
        return cells.when(entry.last_run_at)


class SluiceScheduleAdmin(ChangesByProof, UnfoldModelAdmin):  # type: ignore[misc]
    """Intervals and crontabs that entries of the schedule refer to."""


_SUBSTITUTES: dict[type[Model], type[Any]] = {
    User: SluiceUserAdmin,
    Group: SluiceGroupAdmin,
    PeriodicTask: SluicePeriodicTaskAdmin,
    IntervalSchedule: SluiceScheduleAdmin,
    CrontabSchedule: SluiceScheduleAdmin,
}
# Nothing of ours runs by the sun, or once.
_LEFT_OUT = (ClockedSchedule, SolarSchedule)


def dress(site: AdminSite) -> None:
    """Put our admins in the place of those that the packages registered; theirs would come out unstyled."""
    site.unregister((*_SUBSTITUTES, *_LEFT_OUT))
    for model, ours in _SUBSTITUTES.items():
        site.register(model, ours)

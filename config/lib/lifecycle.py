"""State machines in the database: a status moves along a declared edge, by compare-and-set, and leaves a row.

A model that lives through states inherits `Lifecycle`, declares its `status` field and its `edges`, and has one
concrete `StatusChange` model whose foreign key `subject` points back with `related_name="status_changes"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, transaction
from django.db.models.functions import Now

from config.lib.audit import ACTOR_MAX_LENGTH, Actor
from config.lib.errors import SluiceError

Edges = Mapping[str, frozenset[str]]


class StaleRowError(SluiceError):
    """The row is no longer where the caller saw it: somebody else was first. Nothing was changed."""

    code = "stale_row"


class IllegalMoveError(SluiceError):
    """No edge leads from the one status to the other. Nothing was changed."""

    code = "illegal_move"


class StatusChange(models.Model):
    """One event in an object's life: a move, or (from == to) an action that left the status as it was."""

    from_status = models.CharField(max_length=16, blank=True, help_text="Empty at birth.")
    to_status = models.CharField(max_length=16)
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    reason = models.TextField()
    data = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True
        ordering = ("pk",)

    def __str__(self) -> str:
        if self.from_status == self.to_status:
            return self.reason
        return f"{self.from_status or 'new'} → {self.to_status}: {self.reason}"


class Lifecycle(models.Model):
    """An object with a status. Never assign `status`: call `move`."""

    status = models.CharField(max_length=16)  # each concrete model declares it anew, with its choices
    status_changed_at = models.DateTimeField(db_default=Now(), editable=False)

    edges: ClassVar[Edges]

    class Meta:
        abstract = True

    def move(
        self, to: str, *, actor: Actor, reason: str, data: Mapping[str, Any] | None = None, **columns: object
    ) -> None:
        """Move to `to` if the row still has the status this instance saw; set `columns` in the same UPDATE.

        Raises:
            IllegalMoveError: no such edge.
            StaleRowError: the row has moved on meanwhile, or is gone.
        """
        came_from = self.status
        if to not in self.edges.get(came_from, frozenset()):
            message = f"{self._label()} cannot go from {came_from} to {to}"
            raise IllegalMoveError(message)
        with transaction.atomic():
            moved = (
                type(self)
                ._base_manager.filter(pk=self.pk, status=came_from)
                .update(status=to, status_changed_at=Now(), **columns)
            )
            if not moved:
                message = f"{self._label()} is no longer {came_from}; it was not moved to {to}"
                raise StaleRowError(message)
            change = self._record(came_from, to, actor=actor, reason=reason, data=data)
        self.status = to
        self.status_changed_at = change.created_at
        for name, value in columns.items():
            setattr(self, name, value)

    def note(self, *, actor: Actor, reason: str, data: Mapping[str, Any] | None = None) -> None:
        """Record an event that leaves the status as it is (a retry asked for, a word heard from the provider)."""
        self._record(self.status, self.status, actor=actor, reason=reason, data=data)

    def record_birth(self, *, actor: Actor, reason: str, data: Mapping[str, Any] | None = None) -> None:
        """Record the first event of a row just inserted."""
        self._record("", self.status, actor=actor, reason=reason, data=data)

    def locked(self) -> Self:
        """Read the row afresh under `FOR UPDATE`.

        Raises:
            StaleRowError: the row's status is not the one this instance has.
        """
        row = type(self)._base_manager.select_for_update(of=("self",)).get(pk=self.pk)
        if row.status != self.status:
            message = f"{self._label()} was {self.status}, and is {row.status} now"
            raise StaleRowError(message)
        return row

    @classmethod
    def change_model(cls) -> type[StatusChange]:
        """The concrete StatusChange model of this lifecycle."""
        return cast("type[StatusChange]", cls._meta.get_field("status_changes").related_model)

    def _record(
        self, came_from: str, to: str, *, actor: Actor, reason: str, data: Mapping[str, Any] | None
    ) -> StatusChange:
        row: dict[str, Any] = {
            "subject": self,
            "from_status": came_from,
            "to_status": to,
            "actor": str(actor),
            "reason": reason,
            "data": dict(data or {}),
        }
        return self.change_model()._base_manager.create(**row)

    def _label(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"

"""No secret of ours in what the database shows."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.db import models

from config import logs
from config.invariants.kinds import MOST_BREACHES, Breach, Invariant

_APPS = ("hostpay", "payouts", "batches")
# The newest rows of each table: what leaked before was seen by an earlier run.
_ROWS = 500
_TEXTS = (models.CharField, models.TextField, models.JSONField, models.BinaryField)


def _secrets_in_rows() -> list[Breach]:
    # Compared here and not in SQL: a statement that fails is logged by the server, secret and all.
    return [breach for _, breach in zip(range(MOST_BREACHES), _leaks(), strict=False)]


def _leaks() -> Iterator[Breach]:
    for model in (model for app in _APPS for model in apps.get_app_config(app).get_models()):
        columns = [field.attname for field in model._meta.concrete_fields if isinstance(field, _TEXTS)]
        newest = model._base_manager.order_by(f"-{_age_column(model)}").values_list("pk", *columns)[:_ROWS]
        for pk, *values in newest.iterator():
            for column, value in zip(columns, values, strict=True):
                if logs.holds_secret(_text(value)):
                    yield Breach(row=f"{model._meta.db_table} {pk}", sentence=f"column {column} holds a secret of ours")


def _age_column(model: type[models.Model]) -> str:
    dates = [field.name for field in model._meta.concrete_fields if field.name in {"created_at", "proposed_at"}]
    return dates[0] if dates else "pk"


def _text(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode(errors="replace")
    return str(value)


SECRECY = (
    Invariant(id="I17", promise="no secret is in the database's texts", look=_secrets_in_rows, stops_money=False),
)

"""What a migration may do to a table that a running system is writing to."""

from __future__ import annotations

import os

import pytest
from django_migration_linter import MigrationLinter

from config.stack.paths import PROJECT_ROOT

# They add columns without a default in the database. Written before the first release: no installation has ever run
# the program that comes before them. A new migration gives such a column a `db_default`. The third makes one unique
# index wider, whose violation that program answers already. The last one's column is filled from another: a refund that
# an older program books meanwhile is refused, and booked when the newer one looks again.
_BEFORE_THE_FIRST_RELEASE = (
    "0002_sender",
    "0006_uses_of_api_keys",
    "0003_one_payment_until_its_end_is_told",
    "0009_divided_refunds",
)
# One puts the columns of a unique index into another order, the other lets a word be longer: nothing is refused that was
# not refused before.
_REFUSES_THE_SAME = ("0019_payment_found_by_its_id", "0029_refusals_by_their_code")


# An index that is built beside the program's own writing has no SQL to show within a transaction.
@pytest.mark.django_db(transaction=True)
def test_no_migration_breaks_the_program_that_runs_beside_it() -> None:
    linter = MigrationLinter(
        os.fspath(PROJECT_ROOT),
        include_apps=("hostpay", "payouts", "batches"),
        no_cache=True,
        ignore_name=(*_BEFORE_THE_FIRST_RELEASE, *_REFUSES_THE_SAME),
        # A first migration meets no table that anybody uses.
        ignore_initial_migrations=True,
    )

    linter.lint_all_migrations()

    assert linter.nb_total > 0
    assert not linter.has_errors, "what it found is on the test's standard output"

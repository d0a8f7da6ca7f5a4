"""Log lines: one event a line, keys as keys, no secret whatever its way in."""

import logging
import threading
import time

import pytest

from config import logs
from config.env import Reader
from config.logs import LineFormatter, RoutineFilter, mask, redact


def line(message: str, *arguments: object, error: Exception | None = None, **extra: object) -> str:
    record = logging.LogRecord("sluice.test", logging.INFO, __file__, 1, message, arguments, None)
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    vars(record).update(extra)
    return LineFormatter().format(record)


def test_it_writes_one_event_with_its_keys() -> None:
    written = line("batch %s opened", 7, batch=7, total_usd="20.00")

    assert written.startswith("time=")
    assert written.endswith('level=info logger=sluice.test event="batch 7 opened" batch=7 total_usd=20.00')


def test_it_stays_on_one_line() -> None:
    assert line("first\nsecond", note='say "hi"\r\n').count("\n") == 0


@pytest.mark.parametrize("place", ["message", "argument", "extra", "error"])
def test_it_masks_a_known_secret_wherever_it_stands(place: str) -> None:
    mask("very-private-value")

    written = {
        "message": lambda: line("key very-private-value"),
        "argument": lambda: line("key %s", "very-private-value"),
        "extra": lambda: line("key", note="xvery-private-valuex"),
        "error": lambda: line("key", error=ValueError("very-private-value")),
    }[place]()

    assert "very-private-value" not in written
    assert "***" in written


def test_what_nobody_uses_any_more_is_forgotten_and_what_is_in_use_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_masked", {"of-the-settings"})
    monkeypatch.setattr(logs, "_in_use", {})
    monkeypatch.setattr(logs, "_known", ())
    for number in range(100):
        logs.mask_in_use(f"derived-{number:03d}")
    assert "derived" not in redact("derived-000, derived-099, of-the-settings")

    monkeypatch.setattr(logs, "_REMEMBERED_S", 0)
    time.sleep(0.001)
    logs.mask_in_use("derived-007")

    assert redact("derived-007 of-the-settings") == "*** ***"
    assert (redact("derived-008"), len(logs._in_use), len(logs._known)) == ("derived-008", 1, 2)


def test_a_secret_in_use_is_masked_while_others_become_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of another thread is written without it at every moment."""
    monkeypatch.setattr(logs, "_in_use", {})
    monkeypatch.setattr(logs, "_known", ())
    logs.mask_in_use("always-in-use")
    is_over = threading.Event()

    def become_known() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            logs.mask_in_use(f"another-{number}")
            logs.mask_in_use("always-in-use")

    others = [threading.Thread(target=become_known) for _ in range(3)]
    for each in others:
        each.start()
    try:
        written = {redact("always-in-use") for _ in range(300)}
    finally:
        is_over.set()
        for each in others:
            each.join()

    assert written == {"***"}


def test_a_webhook_secret_is_masked_whosever_it_is() -> None:
    assert redact("got whsec_bm90IG9uZSBvZiBvdXJz+/x= back") == "got whsec_*** back"
    assert redact("it begins with whsec_ and goes on") == "it begins with whsec_ and goes on"


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        '"passphrase": "hunter2"',
        "{'api_key': 'hunter2'}",
        "x-api-key: hunter2",
        "Authorization: Bearer hunter2",
        "private_key=hunter2",
        "x-nowpayments-sig-secret=hunter2",
    ],
)
def test_it_masks_what_a_telling_key_holds(text: str) -> None:
    assert "hunter2" not in redact(text)


@pytest.mark.parametrize(
    "text",
    ["a" * 4096, "pass" * 1024, "pass-" * 800, "token " * 700, "token=" * 700, 'token="' * 600, f"token{' ' * 4000}"],
    ids=lambda text: text[:7],
)
def test_f74_it_takes_no_time_over_a_long_word_of_somebody_elses(text: str) -> None:
    started = time.process_time()

    redact(text)

    assert time.process_time() - started < 0.1


def test_it_leaves_ordinary_words_alone() -> None:
    text = "payment 17 of batch 3 waits: gas above the cap"

    assert redact(text) == text


def test_it_holds_back_the_routine_of_tasks_and_nothing_else() -> None:
    def passes(logger: str, level: int, text: str) -> bool:
        return RoutineFilter().filter(logging.LogRecord(logger, level, __file__, 1, text, (), None))

    assert not passes("celery.beat", logging.INFO, "Scheduler: Sending due task %s (%s)")
    assert not passes("celery.worker.strategy", logging.INFO, "Task %(name)s[%(id)s] received")
    assert not passes(
        "celery.app.trace", logging.INFO, "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s"
    )
    assert passes("celery.beat", logging.INFO, "beat: Starting...")
    assert passes("celery.app.trace", logging.ERROR, "Task %(name)s[%(id)s] raised unexpected: %(exc)s")
    assert passes("batches.services.checking", logging.INFO, "threshold checked")


def test_the_keys_in_rpc_addresses_are_masked_and_names_are_not() -> None:
    Reader(
        {
            "ETH_RPC_URLS": "https://rpc.example/ethereum/v2/aXJvbi1rZXk4MTc,https://b.example/?apikey=Zm9vYmFy%2Bq77",
        }
    ).urls("ETH_RPC_URLS", public=True)

    written = line("asked /ethereum/v2/aXJvbi1rZXk4MTc, then Zm9vYmFy%2Bq77 or Zm9vYmFy+q77")

    assert "aXJvbi1rZXk4MTc" not in written
    assert "Zm9vYmFy" not in written
    assert "/ethereum/v2/" in written


@pytest.mark.parametrize("written", ["p%40ss%2Fw0rd-77", "p@ss/w0rd-77"])
def test_a_percent_coded_password_is_masked_in_both_spellings(written: str) -> None:
    reader = Reader(
        {
            "DATABASE_URL": "postgres://u:p%40ss%2Fw0rd-77@db.example/sluice",
            "CELERY_BROKER_URL": "redis://:p%40ss%2Fw0rd-77@db.example:6379/0",
        }
    )

    assert reader.database("DATABASE_URL", default={})["PASSWORD"] == "p@ss/w0rd-77"
    reader.broker("CELERY_BROKER_URL", default="")

    assert written not in line("cannot reach %s", f"redis://:{written}@db.example")

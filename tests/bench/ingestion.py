"""How fast payments come in: signed, checked and stored, against a bare REST view and against bare PostgreSQL.

    python -m tests.bench.ingestion [--repeats N] [--requests N]

One embedded PostgreSQL with durability on, one gunicorn started as the stack starts it. The three are measured in
turn, several times; the ratios are medians over the repeats: what else the machine does hits all of them.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.stack.paths import DATABASE_NAME, DATABASE_USER, POSTGRES_PORT, PROJECT_ROOT, State
from config.stack.ports import free_port
from config.stack.postgres import Postgres, binaries, fitting_privilege
from tests.bench.load import Measured, request_bytes, send_all
from tests.lib.servers import running

CONNECTIONS = 8
# Payments of many clients come in side by side.
CLIENTS = tuple(f"bench-client-{number}" for number in range(20))
SECRET = "whsec_" + base64.b64encode(b"benchmark-secret-benchmark-secret").decode()
# As config.stack starts it.
GUNICORN = ("--worker-class", "config.web_worker.Worker", "--workers", "2", "--threads", "4", "--log-level", "warning")
_TPS = re.compile(r"tps = ([0-9.]+) \(without")

_PREPARE = f"""
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from payouts.models import Client
from tests.bench.bare import BareRow
call_command("migrate", verbosity=0)
with connection.schema_editor() as editor:
    editor.create_model(BareRow)
for external_id in {CLIENTS!r}:
    Client.objects.create(external_id=external_id, wallet_address="0x0", payout_threshold_usd=100)
"""

# The row of the payment alone, in the same table that the bare view fills.
_INSERT = (
    "INSERT INTO bench_barerow (payment_id, client_id, user_id, amount_usd, outcome_amount, outcome_currency)"
    " VALUES (md5(random()::text), 'bench-client', 'user-1', 25.5, '0.01', 'eth');\n"
)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; the figures are for people, so nothing fails for being slow."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ingestion", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000, help="for each of the two, at each repeat")
    options = parser.parse_args([] if arguments is None else arguments)
    with tempfile.TemporaryDirectory(prefix="sl-bench-") as folder, _served(Path(folder)) as (postgres, port):
        address = ("127.0.0.1", port)
        for requests in (_payments(200), _bare_rows(200)):
            send_all(address, requests, connections=CONNECTIONS)
        ours, bare, raw = [], [], []
        for _ in range(options.repeats):
            ours.append(send_all(address, _payments(options.requests), connections=CONNECTIONS))
            bare.append(send_all(address, _bare_rows(options.requests), connections=CONNECTIONS))
            raw.append(_pgbench(postgres, Path(folder)))
    _report(ours, bare, raw)


def _report(ours: list[Measured], bare: list[Measured], raw: list[float]) -> None:
    tell = sys.stdout.write
    medians = [statistics.median(run.per_second for run in runs) for runs in (ours, bare)]
    tell(f"ingestion, {CONNECTIONS} connections, durable PostgreSQL, medians of {len(ours)} runs\n")
    for name, runs, per_second in zip(("signed payment", "bare REST view"), (ours, bare), medians, strict=True):
        times = [(run.p50_ms, run.p95_ms, run.p99_ms) for run in runs]
        p50, p95, p99 = (statistics.median(column) for column in zip(*times, strict=True))
        spread = f"{min(run.per_second for run in runs):.0f} to {max(run.per_second for run in runs):.0f}"
        tell(f"  {name:16} {per_second:8.0f} /s  ({spread})   p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms\n")
    tell(f"  {'pgbench, 1 row':16} {statistics.median(raw):8.0f} /s  ({min(raw):.0f} to {max(raw):.0f})\n")
    # Of each repeat and then the median: neighbours in time had the same machine.
    by_bare = statistics.median(one.per_second / other.per_second for one, other in zip(ours, bare, strict=True))
    by_raw = statistics.median(one.per_second / other for one, other in zip(ours, raw, strict=True))
    tell(f"  signed payment / bare REST view  {by_bare:.2f}\n")
    tell(f"  signed payment / pgbench         {by_raw:.3f}\n")


def _payments(count: int) -> list[bytes]:
    """Signed requests, all for different payments."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    moment = str(int(time.time()))
    return [_signed(body, key, moment) for body in _bodies(count)]


def _signed(body: bytes, key: bytes, moment: str) -> bytes:
    event_id = secrets.token_hex(12)
    mac = hmac.new(key, f"{event_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }
    return request_bytes("/api/v1/payments/", body, headers)


def _bare_rows(count: int) -> list[bytes]:
    return [request_bytes("/bare/", body, {}) for body in _bodies(count)]


def _bodies(count: int) -> Iterator[bytes]:
    for _ in range(count):
        fields = {
            "payment_id": secrets.token_hex(12),
            "client_id": secrets.choice(CLIENTS),
            "user_id": "user-1",
            "amount_usd": "25.50",
            "outcome_amount": "0.01",
            "outcome_currency": "eth",
        }
        yield json.dumps(fields).encode()


@contextmanager
def _served(folder: Path) -> Iterator[tuple[Postgres, int]]:
    """The server with its database, both gone afterwards."""
    state = State(folder)
    state.make()
    postgres = Postgres(data=state.postgres, sockets=state.sockets, privilege=fitting_privilege(), durable=True)
    postgres.prepare()
    environment = _environment(folder)
    with running(postgres.command(), is_ready=postgres.is_ready, log=folder / "postgres.log"):
        postgres.make_database()
        subprocess.run([sys.executable, "-c", _PREPARE], check=True, cwd=PROJECT_ROOT, env=environment)
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "--chdir", os.fspath(PROJECT_ROOT), "--bind", f"127.0.0.1:{port}"]
        command += [*GUNICORN, "config.wsgi"]
        with running(command, is_ready=lambda: _answers(port), log=folder / "web.log", environment=environment):
            yield postgres, port


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the machine's own settings: the same figures whoever runs it."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": os.environ.get("HOME", ""),
        "PYTHONPATH": os.fspath(PROJECT_ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.bench.served",
        "MODE": "sandbox",
        "STATE": os.fspath(folder),
        "INGEST_SIGNING_SECRETS": SECRET,
    }


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _pgbench(postgres: Postgres, folder: Path) -> float:
    """Transactions a second of single-row inserts, from as many connections, for three seconds."""
    script = folder / "insert.sql"
    script.write_text(_INSERT, encoding="utf-8")
    # fmt: off
    command = [
        os.fspath(binaries() / "pgbench"), "--no-vacuum", "--client", str(CONNECTIONS), "--jobs", "2", "--time", "3",
        "--file", os.fspath(script), "--host", os.fspath(postgres.sockets), "--port", str(POSTGRES_PORT),
        "--username", DATABASE_USER, DATABASE_NAME,
    ]
    # fmt: on
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    found = _TPS.search(told)
    if found is None:
        raise RuntimeError(f"pgbench said nothing about its speed: {told}")
    return float(found[1])


if __name__ == "__main__":
    main(sys.argv[1:])

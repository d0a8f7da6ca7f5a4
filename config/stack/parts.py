"""The parts of the embedded stack, in the order in which they can start."""

import http.client
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from config.stack.part import Part
from config.stack.paths import PROJECT_ROOT, State
from config.stack.ports import HOST, answers
from config.stack.postgres import Postgres, PostgresError, fitting_privilege
from config.stack.processes import tied_to_us
from config.stack.redis import Redis, RedisError
from config.stack.values import (
    OPERATOR_NAME,
    Ports,
    generated_secrets,
    part_environment,
    signer_environment,
    write_stack_files,
)

WEB_WORKERS = 2
WEB_THREADS = 4
# From one status of a payment at the payment provider to the next: slow enough to be seen.
PAYMENT_STEP_S = "1.5"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one stack is made of. `outer` is what people gave: the environment `runstack` was called in, over `.env`."""

    state: State
    ports: Ports
    outer: Mapping[str, str]
    # How often somebody pays at the sandbox's payment provider; 0: never.
    feed_every_s: Decimal
    # Where the chain's node is started from; asked when it starts, because it may have to be installed first.
    chain_command: Callable[[], list[str]]

    def is_served(self, name: str) -> bool:
        """Does somebody else run what the variable `name` is the address of?"""
        return any(self.outer.get(spelt, "").strip() for spelt in (name, f"{name}_FILE"))

    def environment(self) -> dict[str, str]:
        return part_environment(self.state, self.outer)


def all_parts(plan: Plan) -> list[Part]:
    database = [] if plan.is_served("DATABASE_URL") else [_postgres(plan)]
    broker = [] if plan.is_served("CELERY_BROKER_URL") else [_redis(plan)]
    return [
        *database,
        *broker,
        _chain(plan),
        _prepare(plan),
        _exchange(plan),
        _seed(plan),
        _web(plan),
        _nowpayments(plan),
        _worker(name="worker", queue="default", processes=2, environment=plan.environment),
        _worker(
            name="signer",
            queue="signer",
            processes=1,
            environment=lambda: signer_environment(plan.state, plan.outer),
        ),
        _beat(plan),
    ]


def chosen(parts: list[Part], names: list[str]) -> list[Part]:
    """The parts named, in order. Raises ValueError for a name that is none."""
    unknown = sorted(set(names) - {part.name for part in parts})
    if unknown:
        known = ", ".join(part.name for part in parts)
        raise ValueError(f"unknown part: {', '.join(unknown)}. The parts are: {known}")
    return [part for part in parts if part.name in names]


def python(*arguments: str) -> list[str]:
    """Our own interpreter, in the project's folder whatever folder we were called in."""
    start = f"import os, runpy, sys; os.chdir({os.fspath(PROJECT_ROOT)!r}); sys.path.insert(0, os.getcwd())"
    module, *rest = arguments
    code = f"{start}; sys.argv[1:] = {rest!r}; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return tied_to_us([sys.executable, "-c", code])


def _postgres(plan: Plan) -> Part:
    server = Postgres(data=plan.state.postgres, sockets=plan.state.sockets, privilege=fitting_privilege())
    return Part(
        name="postgres",
        prepare=server.prepare,
        command=server.command,
        environment=lambda: {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        is_ready=server.is_ready,
        once_ready=server.make_database,
        # Fast shutdown: SIGTERM would wait until every client has gone.
        stop_signal=signal.SIGINT,
        stop_within_s=30,
        place=os.fspath(plan.state.sockets),
        telling_errors=(PostgresError, OSError),
    )


def _redis(plan: Plan) -> Part:
    server = Redis(data=plan.state.redis, socket=plan.state.redis_socket)
    return Part(
        name="redis",
        prepare=server.prepare,
        command=server.command,
        environment=lambda: {"PATH": os.defpath, "LC_ALL": "C"},
        is_ready=server.is_ready,
        place=os.fspath(plan.state.redis_socket),
        telling_errors=(RedisError, OSError),
    )


def _chain(plan: Plan) -> Part:
    return Part(
        name="chain",
        command=lambda: tied_to_us(plan.chain_command()),
        # It keeps old block states under HOME.
        environment=lambda: {"PATH": os.defpath, "HOME": os.fspath(plan.state.chain)},
        is_ready=lambda: answers(plan.ports.chain),
        place=f"{HOST}:{plan.ports.chain}",
    )


def _prepare(plan: Plan) -> Part:
    rpc = f"http://{HOST}:{plan.ports.chain}"
    return Part(
        name="prepare",
        after=("chain",),
        command=lambda: python("hostpay.sandbox.prepare", "--rpc", rpc, "--state", os.fspath(plan.state.root)),
        environment=plan.environment,
        once_ready=lambda: write_stack_files(plan.state, plan.ports, plan.outer),
        once=True,
    )


def _exchange(plan: Plan) -> Part:
    rpc = f"http://{HOST}:{plan.ports.chain}"

    def environment() -> dict[str, str]:
        return {**plan.environment(), "SANDBOX_EXCHANGE_API_KEY": generated_secrets(plan.state)["CHANGENOW_API_KEY"]}

    return Part(
        name="exchange",
        after=("chain", "prepare"),
        command=lambda: python(
            "hostpay.sandbox.exchange",
            *("--port", str(plan.ports.exchange), "--rpc", rpc, "--state", os.fspath(plan.state.root)),
        ),
        environment=environment,
        is_ready=lambda: answers(plan.ports.exchange),
        place=f"{HOST}:{plan.ports.exchange}",
    )


def _seed(plan: Plan) -> Part:
    def environment() -> dict[str, str]:
        password = generated_secrets(plan.state)["OPERATOR_PASSWORD"]
        return {**plan.environment(), "OPERATOR_NAME": OPERATOR_NAME, "OPERATOR_PASSWORD": password}

    return Part(
        name="seed",
        after=("postgres", "redis", "prepare"),
        command=lambda: python("manage", "seed_sandbox"),
        environment=environment,
        once=True,
    )


def _web(plan: Plan) -> Part:
    # fmt: off
    options = (
        "--bind", f"{HOST}:{plan.ports.web}",
        "--worker-class", "config.web_worker.Worker", "--workers", str(WEB_WORKERS), "--threads", str(WEB_THREADS),
        "--timeout", "60", "--graceful-timeout", "10", "--no-control-socket", "--log-level", "warning",
        # Whom to believe about https is decided in one place, by TRUSTED_PROXIES.
        "--forwarded-allow-ips", "",
    )
    # fmt: on
    return Part(
        name="web",
        after=("seed", "exchange"),
        command=lambda: python("gunicorn", *options, "config.wsgi"),
        environment=plan.environment,
        is_ready=lambda: serves(plan.ports.web, "/admin/login/"),
        place=f"{HOST}:{plan.ports.web}",
    )


def _nowpayments(plan: Plan) -> Part:
    webhook = f"http://{HOST}:{plan.ports.web}/api/v1/webhooks/nowpayments/"

    def environment() -> dict[str, str]:
        known = plan.environment()
        return {
            **known,
            "SANDBOX_NOWPAYMENTS_API_KEY": known["NOWPAYMENTS_API_KEY"],
            # During a rotation there are two; the first is the one in use.
            "SANDBOX_NOWPAYMENTS_IPN_SECRET": known["NOWPAYMENTS_IPN_SECRET"].partition(",")[0],
        }

    # fmt: off
    options = (
        "--port", str(plan.ports.nowpayments), "--webhook", webhook, "--state", os.fspath(plan.state.root),
        "--step-s", PAYMENT_STEP_S, "--feed-every-s", f"{plan.feed_every_s:f}",
    )
    # fmt: on
    return Part(
        name="nowpayments",
        after=("web",),
        command=lambda: python("hostpay.sandbox.nowpayments", *options),
        environment=environment,
        is_ready=lambda: answers(plan.ports.nowpayments),
        place=f"{HOST}:{plan.ports.nowpayments}",
    )


def _worker(*, name: str, queue: str, processes: int, environment: Callable[[], Mapping[str, str]]) -> Part:
    # fmt: off
    options = (
        "worker", "--queues", queue, "--concurrency", str(processes), "--hostname", f"{name}@sluice",
        "--without-gossip", "--without-mingle", "--loglevel", "INFO",
    )
    # fmt: on
    return Part(
        name=name,
        after=("seed", "exchange"),
        command=lambda: python("celery", "-A", "config.celery", *options),
        environment=environment,
        ready_words=f"{name}@sluice ready",
        ready_within_s=120,
        # Warm: it ends what it has begun.
        stop_within_s=30,
    )


def _beat(plan: Plan) -> Part:
    return Part(
        name="beat",
        after=("seed",),
        command=lambda: python("celery", "-A", "config.celery", "beat", "--pidfile=", "--loglevel", "INFO"),
        environment=plan.environment,
        ready_words="beat: Starting",
        ready_within_s=120,
    )


def serves(port: int, path: str) -> bool:
    """Does a GET of `path` succeed?"""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

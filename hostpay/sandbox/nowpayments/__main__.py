"""Starts the sandbox payment provider; the package's docstring says what it does."""

import argparse
import os
import signal
import threading
from decimal import Decimal
from pathlib import Path

from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.nowpayments.books import Books, Settings
from hostpay.sandbox.nowpayments.customers import Customers
from hostpay.sandbox.nowpayments.deliveries import Notifier
from hostpay.sandbox.nowpayments.memory import Memory
from hostpay.sandbox.nowpayments.server import Server

KEY_VARIABLE = "SANDBOX_NOWPAYMENTS_API_KEY"
SECRET_VARIABLE = "SANDBOX_NOWPAYMENTS_IPN_SECRET"  # noqa: S105 (a name)
STOP_TIME_LIMIT_S = 5


def main() -> None:
    options = _parser().parse_args()
    api_key, secret = (os.environ.get(name, "").strip() for name in (KEY_VARIABLE, SECRET_VARIABLE))
    if not api_key or not secret:
        raise SystemExit(f"{KEY_VARIABLE} and {SECRET_VARIABLE} are required")
    settings = Settings(step_s=options.step_s, price_eth_usd=options.price_eth_usd)
    books = Books(settings, webhook=options.webhook, memory=_memory(options.state))
    notifier = Notifier(books, secret=secret)
    customers = Customers(books, every_s=options.feed_every_s)
    with Server(options.port, books=books, notifier=notifier, api_key=api_key) as server:
        _serve(server, notifier, customers)
    log("stopped")


def _memory(state: Path | None) -> Memory:
    if state is None:
        return Memory()
    folder = state / "nowpayments"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Memory(folder / "payments.sqlite3")


def _serve(server: Server, notifier: Notifier, customers: Customers) -> None:
    """Until SIGTERM or SIGINT."""

    def stop(_number: int, _frame: object) -> None:
        server.stopping.set()
        # From a thread of its own: `shutdown` waits for the loop that this handler interrupted.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    workers = [
        threading.Thread(target=each.run, args=(server.stopping,), name=type(each).__name__)
        for each in (notifier, customers)
    ]
    for worker in workers:
        worker.start()
    log("listening", url=f"http://127.0.0.1:{server.server_address[1]}")
    server.serve_forever(poll_interval=0.1)
    for worker in workers:
        worker.join(STOP_TIME_LIMIT_S)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hostpay.sandbox.nowpayments",
        description="A sandbox payment provider that speaks NOWPayments' API and sends its notifications.",
        epilog=f"The API key comes in {KEY_VARIABLE}, the secret that signs notifications in {SECRET_VARIABLE}.",
    )
    parser.add_argument("--port", required=True, type=int, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--webhook", required=True, metavar="URL", help="where notifications go")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where payments are kept (default: nowhere)")
    parser.add_argument(
        "--feed-every-s",
        type=Decimal,
        default=Decimal(0),
        help="a customer pays about every so many seconds (0: nobody)",
    )
    parser.add_argument("--step-s", type=Decimal, default=Decimal("0.5"), help="seconds from one status to the next")
    parser.add_argument("--price-eth-usd", type=Decimal, default=Decimal("3000.00"), help="default 3000.00")
    return parser


if __name__ == "__main__":
    main()

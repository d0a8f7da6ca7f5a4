"""Starts the sandbox exchange; the package's docstring says what it does."""

import argparse
import os
import secrets
import signal
import threading
from dataclasses import fields
from pathlib import Path

from hostpay.sandbox import prepare
from hostpay.sandbox.exchange.actions import Actions
from hostpay.sandbox.exchange.api import Api
from hostpay.sandbox.exchange.control import Control
from hostpay.sandbox.exchange.engine import Engine
from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.exchange.scanner import Scanner
from hostpay.sandbox.exchange.server import Server
from hostpay.sandbox.exchange.settings import Settings
from hostpay.sandbox.exchange.store import Store
from hostpay.sandbox.exchange.wallet import Wallet
from hostpay.sandbox.files import secret
from hostpay.sandbox.rpc import Node, NodeAwayError, NodeError

KEY_VARIABLE = "SANDBOX_EXCHANGE_API_KEY"
TOKEN_VARIABLE = "SANDBOX_EXCHANGE_CONTROL_TOKEN"  # noqa: S105 (a name)
ENGINE_STOP_TIME_LIMIT_S = 15


def main() -> None:
    options = _parser().parse_args()
    keys = [key.strip() for key in os.environ.get(KEY_VARIABLE, "").split(",") if key.strip()]
    if not keys:
        raise SystemExit(f"{KEY_VARIABLE} is not set: the exchange would refuse everybody")
    node = Node(options.rpc)
    try:
        _run(options, keys, node)
    except FileNotFoundError as error:
        raise SystemExit(f"{error.filename} is missing: run python -m hostpay.sandbox.prepare first") from error
    except (NodeError, NodeAwayError) as error:
        raise SystemExit(f"no local chain at {options.rpc}: {error}") from error
    finally:
        node.close()


def _run(options: argparse.Namespace, keys: list[str], node: Node) -> None:
    state: Path = options.state
    sandbox, base = prepare.read(state), _settings(options)
    store = _books(state / "exchange", node)
    store.set_meta("usdt_contract", sandbox.usdt_contract_address)
    scanner = Scanner(node, store, sandbox)
    scanner.start_at(node.head())
    wallet = Wallet(prepare.exchange_wallet(state), sandbox, node, store)
    engine = Engine(node=node, store=store, wallet=wallet, scanner=scanner, base=base)
    seed = secret(state / "exchange" / "deposit-seed", secrets.token_hex(32))
    actions = Actions(store=store, engine=engine, base=base)
    api = Api(store=store, base=base, deposit_seed=seed)
    control = Control(store=store, engine=engine, base=base)
    token = os.environ.get(TOKEN_VARIABLE, keys[0])
    with Server(options.port, api=api, actions=actions, control=control, store=store, keys=keys, token=token) as server:
        _serve(server, engine)
    store.close()
    log("stopped")


def _serve(server: Server, engine: Engine) -> None:
    """Until SIGTERM or SIGINT."""

    def stop(_number: int, _frame: object) -> None:
        server.stopping.set()
        # From a thread of its own: `shutdown` waits for the loop that this handler interrupted.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    worker = threading.Thread(target=engine.run, args=(server.stopping,), name="engine")
    worker.start()
    log("listening", url=f"http://127.0.0.1:{server.server_address[1]}")
    server.serve_forever(poll_interval=0.1)
    worker.join(ENGINE_STOP_TIME_LIMIT_S)


def _books(folder: Path, node: Node) -> Store:
    """The books kept about this chain. Those about another one are of no use and are put aside."""
    genesis = node.block_hash(0) or ""
    path = folder / "exchange.sqlite3"
    store = Store(path)
    if store.meta("genesis") not in {None, genesis}:
        old = (store.meta("genesis") or "")[2:10]
        store.close()
        path.rename(folder / f"exchange-{old}.sqlite3")
        log("chain_replaced", books_kept_as=f"exchange-{old}.sqlite3")
        store = Store(path)
    store.set_meta("genesis", genesis)
    return store


def _settings(options: argparse.Namespace) -> Settings:
    given = {name: value for name, value in vars(options).items() if name in _flags() and value is not None}
    try:
        return Settings().changed(given)
    except ValueError as error:
        raise SystemExit(str(error)) from error


def _flags() -> list[str]:
    """The settings that have a flag: all but the two that are objects."""
    return [each.name for each in fields(Settings) if each.name not in {"other_prices_usd", "outcome"}]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hostpay.sandbox.exchange",
        description="A sandbox exchange that speaks ChangeNOW's API v2 and pays on the local chain.",
        epilog=f"The API key comes in {KEY_VARIABLE} (several: with commas), the control token, if it is to be another, "
        f"in {TOKEN_VARIABLE}.",
    )
    parser.add_argument("--port", required=True, type=int, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--rpc", required=True, metavar="URL", help="the local node's JSON-RPC address")
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the folder `prepare` was given")
    defaults = Settings().as_json()
    for name in _flags():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=f"default {defaults[name]}")
    return parser


if __name__ == "__main__":
    main()

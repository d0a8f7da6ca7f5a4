"""Reads settings from the environment: typed, stripped, and every problem told at once.

Lowest to highest precedence: what the running embedded stack wrote (`stack.env`, sandbox mode only), `.env` in the
project root or the file that ENV_FILE names instead, the environment itself. A secret may come from a file named by
`NAME_FILE` instead of from `NAME`.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import environ
from eth_utils.address import is_checksum_address

from config import logs
from config.proxies import Peers
from config.stack import paths

T = TypeVar("T")

ONE_WORD = re.compile(r"[\x21-\x7e]+")
DECIMAL = re.compile(r"(0|[1-9]\d{0,17})(\.\d{1,18})?", re.ASCII)
WHOLE = re.compile(r"(0|[1-9]\d{0,30})", re.ASCII)
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 (names to refuse, nothing binds)
MAX_SECRET_FILE_BYTES = 4096
SHORTEST_KEY = 8
SHORTEST_WORDLIKE_KEY = 16
SIGNER_ONLY = ("HOST_WALLET_KEYSTORE", "HOST_WALLET_PASSPHRASE", "HOST_WALLET_PASSPHRASE_FILE")


class SettingsError(SystemExit):
    """The environment does not describe a system that may start.

    A SystemExit, so that every program that meets it ends with the message alone: a traceback through the settings
    would bury the one thing the operator needs, the list of variables to mend.
    """


class _RuleError(Exception):
    """A value breaks its variable's rule; the text is the rule, never the value."""


def layered(environment: Mapping[str, str], root: Path) -> dict[str, str]:
    """The variables in force: what people gave, over the running stack's `stack.env`; raises as `given`."""
    merged = given(environment, root)
    if merged.get("MODE", "sandbox").strip() != "sandbox":
        return merged
    stack = paths.read_env_file(paths.state_dir(merged).joinpath("stack.env"))
    return {**stack, **merged}


def given(environment: Mapping[str, str], root: Path) -> dict[str, str]:
    """What people gave: `environment` over `.env` (or its ENV_FILE).

    Raises SettingsError if that file holds what only the signer may know.
    """
    file = Path(environment.get("ENV_FILE", "").strip() or root / ".env")
    dotenv = paths.read_env_file(file)
    misplaced = [name for name in SIGNER_ONLY if name in dotenv]
    if misplaced:
        raise SettingsError(
            f"{file} holds {', '.join(misplaced)}: every process reads this file, and the wallet's key is for "
            "the signer alone. Move it to the environment of the worker of the queue `signer`."
        )
    return {**dotenv, **environment}


@dataclass
class Reader:
    """Typed access to variables. Problems pile up; `finish` tells them all."""

    values: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def word(self, name: str, *, default: str | None = None, choices: Iterable[str] = ()) -> str:
        """One word: surrounding white space is dropped, white space inside is refused. No default means required."""
        allowed = tuple(choices)

        def check(text: str) -> str:
            if allowed and text not in allowed:
                raise _RuleError(f"must be one of {', '.join(allowed)}")
            return text

        return self._read(name, check, default, blank="")

    def flag(self, name: str, *, default: bool) -> bool:
        def check(text: str) -> bool:
            if text.lower() not in {"1", "0", "true", "false", "yes", "no", "on", "off"}:
                raise _RuleError("must be true or false")
            return bool(environ.Env.parse_value(text, bool))

        return self._read(name, check, default, blank=False)

    def whole(self, name: str, *, default: int | None = None, minimum: int = 0, maximum: int = 10**30) -> int:
        def check(text: str) -> int:
            if not WHOLE.fullmatch(text) or not minimum <= int(text) <= maximum:
                raise _RuleError(f"must be a whole number from {minimum} to {maximum}")
            return int(text)

        return self._read(name, check, default, blank=minimum)

    def decimal(self, name: str, *, default: Decimal | None = None, minimum: Decimal, maximum: Decimal) -> Decimal:
        def check(text: str) -> Decimal:
            if not DECIMAL.fullmatch(text) or not minimum <= Decimal(text) <= maximum:
                raise _RuleError(f"must be a plain decimal number from {minimum} to {maximum}")
            return Decimal(text)

        return self._read(name, check, default, blank=minimum)

    def url(self, name: str, *, default: str | None = None, public: bool) -> str:
        """An http(s) address without a trailing slash; `public` wants https and another machine than this one."""
        return self._read(name, lambda text: _url(text, public=public), default, blank="")

    def urls(self, name: str, *, default: list[str] | None = None, public: bool) -> list[str]:
        def check(text: str) -> list[str]:
            found = [_url(part, public=public) for part in text.split(",") if part]
            if not found:
                raise _RuleError("must name at least one address")
            return found

        found = self._read(name, check, default, blank=[])
        for address in found:
            _mask_keys(address)
        return found

    def words(self, name: str, *, default: list[str] | None = None) -> list[str]:
        return self._read(name, lambda text: [part for part in text.split(",") if part], default, blank=[])

    def ports(self, name: str, *, default: frozenset[int]) -> frozenset[int]:
        """Numbers of TCP ports, with commas between."""

        def check(text: str) -> frozenset[int]:
            parts = text.split(",")
            if not all(WHOLE.fullmatch(part) and 1 <= int(part) <= 65_535 for part in parts):
                raise _RuleError("must be ports from 1 to 65535, with commas between")
            return frozenset(map(int, parts))

        return self._read(name, check, default, blank=frozenset())

    def peers(self, name: str, *, default: str) -> Peers:
        """Networks like 10.0.0.0/8, single addresses, `unix` for a socket file; or `none`."""

        def check(text: str) -> Peers:
            try:
                return Peers.read(text)
            except ValueError as error:
                raise _RuleError(
                    f"must be networks like 10.0.0.0/24, with commas between, unix, or none: {error}"
                ) from None

        return self._read(name, check, Peers.read(default), blank=Peers())

    def address(self, name: str, *, default: str | None = None, forbidden: str = "") -> str:
        """An Ethereum address with its EIP-55 checksum; `forbidden` is the sandbox's own, refused in live mode."""

        def check(text: str) -> str:
            if not is_checksum_address(text):
                raise _RuleError("must be an Ethereum address in EIP-55 mixed case")
            if text == forbidden:
                raise _RuleError("is the sandbox's address, refused in live mode")
            return text

        return self._read(name, check, default, blank="")

    def secret(self, name: str, *, default: str | None = None, minimum_length: int = 1) -> str:
        """One secret, from `NAME` or the file `NAME_FILE`; masked in every log line from here on."""

        def check(text: str) -> str:
            if len(text) < minimum_length:
                raise _RuleError(f"must have at least {minimum_length} characters")
            return text

        found = self._read(name, check, default, blank="", from_file=True)
        logs.mask(found)
        return found

    def secrets(
        self,
        name: str,
        *,
        default: list[str] | None = None,
        minimum_length: int = 1,
        maximum_count: int = 10,
        prefix: str = "",
    ) -> list[str]:
        """Comma-separated secrets, the one in use first; masked like `secret`."""

        def check(text: str) -> list[str]:
            found = [part for part in text.split(",") if part]
            if not 1 <= len(found) <= maximum_count:
                raise _RuleError(f"must hold 1 to {maximum_count} secrets, separated by commas")
            if any(len(part) < minimum_length or not part.startswith(prefix) for part in found):
                begin = f", beginning with {prefix}" if prefix else ""
                raise _RuleError(f"each secret must have at least {minimum_length} characters{begin}")
            return found

        found = self._read(name, check, default, blank=[], from_file=True)
        for secret in found:
            logs.mask(secret)
        return found

    def database(self, name: str, *, default: dict[str, Any]) -> dict[str, Any]:
        """Django's database dictionary of a postgres:// address; its password is masked in logs."""

        def check(text: str) -> dict[str, Any]:
            if urlsplit(text).scheme not in {"postgres", "postgresql", "psql"}:
                raise _RuleError("must be a postgres:// address: PostgreSQL is the only database")
            _mask_password(text)
            return dict(environ.Env.db_url_config(text))

        return self._read(name, check, default, blank={}, from_file=True)

    def broker(self, name: str, *, default: str) -> str:
        def check(text: str) -> str:
            if urlsplit(text).scheme not in {"redis", "rediss", "redis+socket", "amqp", "amqps"}:
                raise _RuleError("must be a redis://, rediss://, redis+socket:// or amqp:// address")
            _mask_password(text)
            return text

        return self._read(name, check, default, blank="", from_file=True)

    def problem(self, name: str, rule: str) -> None:
        """Adds a rule that concerns more than one variable's own value."""
        self.problems.append(f"{name} {rule}")

    def finish(self) -> None:
        """Raises SettingsError with every problem found, if any."""
        if self.problems:
            lines = "\n".join(f"  - {problem}" for problem in self.problems)
            raise SettingsError(f"The settings cannot be used; nothing was started.\n{lines}\nSee .env.example.")

    def _read(self, name: str, check: Callable[[str], T], default: T | None, *, blank: T, from_file: bool = False) -> T:
        """The checked value, else the default, else `blank` with the problem noted so that reading can go on."""
        try:
            text = self._text(name, from_file=from_file)
            if text:
                return check(text)
        except _RuleError as broken:
            self.problem(name, str(broken))
            return blank
        if default is not None:
            return default
        self.problem(name, f"is required (or {name}_FILE)" if from_file else "is required")
        return blank

    def _text(self, name: str, *, from_file: bool) -> str:
        text = self.values.get(name, "").strip()
        file_name = self.values.get(f"{name}_FILE", "").strip() if from_file else ""
        if text and file_name:
            raise _RuleError(f"and {name}_FILE are both set: keep one")
        if file_name:
            text = _file_text(Path(file_name), name)
        if text and not ONE_WORD.fullmatch(text):
            raise _RuleError("must be printable ASCII without white space or line breaks inside")
        return text


def _file_text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > MAX_SECRET_FILE_BYTES:
            raise _RuleError(f"_FILE: {path} is larger than {MAX_SECRET_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _RuleError(f"cannot be read from the file {name}_FILE names ({type(error).__name__})") from None
    if not text:
        raise _RuleError(f"is empty in the file {name}_FILE names")
    return text


def _url(text: str, *, public: bool) -> str:
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise _RuleError("must be an http:// or https:// address") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise _RuleError("must be an http:// or https:// address")
    if parts.username or parts.password:
        raise _RuleError("must not carry a user name or password: addresses are logged")
    if public and (parts.scheme != "https" or host in LOOPBACK_HOSTS or host.startswith("127.")):
        raise _RuleError("must be https and not this machine, in live mode")
    return text.rstrip("/")


def _mask_password(address: str) -> None:
    """Both as it is written and as it is used: libraries log either."""
    password = urlsplit(address).password or ""
    logs.mask(password)
    logs.mask(unquote(password))


def _mask_keys(address: str) -> None:
    """The parts of an address in which RPC services put their keys: long parts of path and query."""
    parts = urlsplit(address)
    for part in re.split("[/&=]", f"{parts.path}&{parts.query}"):
        # A short word of small letters is a name (`ethereum`); masked, it would leave holes in lines about other things.
        is_name = len(part) < SHORTEST_WORDLIKE_KEY and part.isalpha() and part.islower()
        if len(part) >= SHORTEST_KEY and not is_name:
            logs.mask(part)
            logs.mask(unquote(part))


@dataclass(frozen=True, kw_only=True)
class SignerSecrets:
    """What opens the host wallet. Only the signer's process asks for it."""

    keystore_path: Path
    passphrase: str = field(repr=False)


def signer_secrets(environment: Mapping[str, str] | None = None) -> SignerSecrets:
    """Reads HOST_WALLET_KEYSTORE and HOST_WALLET_PASSPHRASE (or _FILE) from the signer's own environment.

    Raises SettingsError if either is missing, or the keystore is no file.
    """
    reader = Reader(os.environ if environment is None else environment)
    keystore = reader.word("HOST_WALLET_KEYSTORE")
    passphrase = reader.secret("HOST_WALLET_PASSPHRASE", minimum_length=8)
    if keystore and not Path(keystore).is_file():
        reader.problem("HOST_WALLET_KEYSTORE", "names no file")
    reader.finish()
    return SignerSecrets(keystore_path=Path(keystore), passphrase=passphrase)

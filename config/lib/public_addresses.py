"""Addresses that others chose, and which of them lead to somebody on the internet and not into our own network.

The list of what is not public is by RFC 6890 and the IANA registries of special-purpose addresses; Python's own
`is_global` calls multicast and some tunnels global.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from config.lib.errors import PermanentError, TransientError

LONGEST_URL: Final = 500
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*"
)
_PLAIN: Final = re.compile(r"[\x21-\x7e]+")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")

LookUp = Callable[[str, int], Sequence[str]]


class UnfitAddressError(PermanentError):
    """Nothing is sent there, whatever stands behind it."""

    code = "unfit_address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A URL, taken apart: nothing else of it is used."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """As the Host header says it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def destination_of(url: str, *, is_sandbox: bool, ports: Collection[int] | None = None) -> Destination:
    """The parts of a URL that may be posted to: https, and in the sandbox http too; at one of `ports`, if any are given.

    Raises:
        UnfitAddressError: it is not one; the text says which rule it breaks.
    """
    if len(url) > LONGEST_URL or not _PLAIN.fullmatch(url) or "\\" in url:
        raise UnfitAddressError(f"it must be a URL of at most {LONGEST_URL} printable characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UnfitAddressError("it is not a URL that can be read") from None
    if parts.scheme not in (_PORTS if is_sandbox else ("https",)):
        raise UnfitAddressError("it must begin with https://")
    if "@" in parts.netloc or parts.fragment:
        raise UnfitAddressError("it must hold neither a user name nor a fragment (#)")
    if port is None:
        port = _PORTS[parts.scheme]
    if port == 0:
        raise UnfitAddressError("its port must be from 1 to 65535")
    if ports is not None and port not in ports:
        raise UnfitAddressError(f"its port must be {' or '.join(map(str, sorted(ports)))}")
    return Destination(scheme=parts.scheme, host=_host_of(parts), port=port, target=_target_of(parts))


def checked_addresses(
    destination: Destination, *, is_sandbox: bool, within_s: float, look_up: LookUp | None = None
) -> list[str]:
    """Every address that the host stands for, if all of them are public; this machine's own too, in the sandbox.

    Raises:
        UnfitAddressError: one of them is not: nobody who means well publishes such a mixture.
        TransientError: the name could not be looked up within so many seconds.
    """
    found = _looked_up_in_time(destination, look_up or _look_up, within_s)
    for address in found:
        if not _may_be_reached(address, is_sandbox=is_sandbox):
            raise UnfitAddressError(f"{destination.host} stands for {address}, which is not a public address")
    return list(dict.fromkeys(found))


def is_public(address: str) -> bool:
    """Whether the IP address is somebody's on the internet: none of ours, none of a link, of a cloud, or of a tunnel."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if isinstance(parsed, ipaddress.IPv6Address):
        # Only this block is given out; tunnels and translations inside of it would lead to any IPv4 address.
        return parsed in _GIVEN_OUT and parsed.scope_id is None and not _is_in(parsed, _NOT_PUBLIC_6)
    return not _is_in(parsed, _NOT_PUBLIC_4)


def _looked_up_in_time(destination: Destination, look_up: LookUp, within_s: float) -> Sequence[str]:
    """The system's own look-up knows no limit; its thread is left behind, and ends when the resolver gives up."""
    found: list[str] = []
    failed: list[OSError | UnicodeError] = []

    def ask() -> None:
        try:
            found.extend(look_up(destination.host, destination.port))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(within_s)
    if failed:
        raise TransientError(f"{destination.host} could not be looked up ({failed[0]})")
    if asking.is_alive() or not found:
        raise TransientError(f"{destination.host} could not be looked up in time")
    return found


_PORTS: Final = {"https": 443, "http": 80}

_GIVEN_OUT: Final = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    ipaddress.ip_network(block)
    for block in (
        "2001::/23",  # protocols, among them Teredo, which tunnels to an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which tunnels to an IPv4 address
        "3fff::/20",  # documentation
    )
)
_NOT_PUBLIC_4: Final = tuple(
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # between a provider and its customers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # of a link, and where clouds tell their machines' secrets
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, blocks: Iterable[Any]) -> bool:
    return any(address in block for block in blocks)


def _may_be_reached(address: str, *, is_sandbox: bool) -> bool:
    if is_public(address):
        return True
    try:
        return is_sandbox and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _host_of(parts: SplitResult) -> str:
    host = (parts.hostname or "").removesuffix(".")
    if ":" in host and "%" not in host:
        try:
            return ipaddress.IPv6Address(host).compressed
        except ValueError:
            raise UnfitAddressError("its host is no IPv6 address") from None
    if not _HOST.fullmatch(host):
        raise UnfitAddressError("its host must be a name in ASCII (others in Punycode) or an IP address")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        # `2130706433`, `0x7f.1` and `0177.0.0.1` are 127.0.0.1 to a resolver, and no way to write an honest address.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise UnfitAddressError("its host is a number; an IPv4 address is written as four, in decimals") from None
    return host


def _target_of(parts: SplitResult) -> str:
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _look_up(host: str, port: int) -> Sequence[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

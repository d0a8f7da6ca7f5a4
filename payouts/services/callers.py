"""Whom a failure to prove oneself is counted for."""

from __future__ import annotations

import ipaddress

from config import proxies

# A caller without an address, as one through a socket file is.
NOBODY = "nobody"
# Of IPv6: a line has one such network, a site one such block of them. Who has an address has 2^64 of the first, and who
# has a block has 65,536 networks.
_LINE, _SITE = 64, 48
# What a site may do, as a multiple of what a line may: it can be a house of many.
_SITES_SHARE = 10
# Translators write the address of an IPv4 caller into this network: it is not one caller, but everybody.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


def counted_as(address: str) -> tuple[tuple[str, int], ...]:
    """Whom to count for `address`, and what multiple of a bound each may reach; the widest network first.

    An IPv4 address is itself, also in IPv6's clothes; one of IPv6 stands for its line and its site.
    """
    parsed = proxies.parsed(address)
    if parsed is None:
        return ((NOBODY, 1),)
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = _dressed(parsed) or parsed
    if isinstance(parsed, ipaddress.IPv4Address):
        return ((str(parsed), 1),)
    return (_network(parsed, _SITE), _SITES_SHARE), (_network(parsed, _LINE), 1)


def _dressed(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a tunnel (6to4) or a translator wrote into this one."""
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour


def _network(address: ipaddress.IPv6Address, length: int) -> str:
    return str(ipaddress.IPv6Network((int(address), length), strict=False))

"""Who a request comes from: the address that connects, or what trusted proxies say of the one behind them.

`X-Forwarded-For` grows to the right: each proxy appends the address that it saw. So it is read from the right, and only
as far as the proxies are ours; what stands further left was written by the caller, who can write anything.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A proxy on this machine that connects through a socket file has no address.
BY_SOCKET = "unix"
NOBODY = "none"


@dataclass(frozen=True, slots=True)
class Peers:
    """Machines, named by the addresses they call from."""

    networks: tuple[Network, ...] = ()
    by_socket: bool = False

    @classmethod
    def read(cls, text: str) -> Peers:
        """From comma-separated networks, addresses, and `unix`; or `none`. Raises ValueError."""
        parts = [part for part in text.split(",") if part and part != NOBODY]
        networks = tuple(ipaddress.ip_network(part) for part in parts if part != BY_SOCKET)
        return cls(networks=networks, by_socket=BY_SOCKET in parts)

    def __bool__(self) -> bool:
        return bool(self.networks) or self.by_socket

    def __contains__(self, peer: str) -> bool:
        """Is it one of them that calls from `peer` (empty for a socket file)?"""
        if not self:
            return False
        address = parsed(peer)
        return self.by_socket if address is None else self.has(address)

    def has(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self.networks)


def client_address(*, proxies: Peers, peer: str, forwarded_for: str) -> str:
    """The address of whoever called the first of our proxies; the peer's own if it is none of them."""
    nearest = str(parsed(peer) or peer)
    if peer not in proxies:
        return nearest
    for hop in reversed(forwarded_for.split(",")):
        address = parsed(hop)
        if address is None:
            # Nothing, or no address: whoever wrote it, beyond it nothing is known.
            return nearest
        nearest = str(address)
        if not proxies.has(address):
            return nearest
    return nearest


@lru_cache(maxsize=1024)
def parsed(text: str) -> Address | None:
    """The address that `text` is, with or without a port; None if it is none. IPv4 in IPv6's clothes is IPv4."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address

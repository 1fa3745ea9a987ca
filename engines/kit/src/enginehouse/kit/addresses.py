"""Network addresses as configuration writes them: `host:port`, with IPv6 hosts in brackets."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from enginehouse.kit._documents import ConfigError


class Address(NamedTuple):
    """A host and a TCP port.

    Attributes:
        host: an IP address without brackets, or a name.
        port: 0 to 65535; 0 asks the system for a free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse the address that a client connects to: a name or an IP address, and a port of 1 to 65535.

    Raises:
        ConfigError: the text is not `host:port`.
    """
    address = _parse(text)
    if address.port == 0:
        raise ConfigError(f"invalid address {text!r}: port 0 cannot be connected to; give a port of 1 to 65535")
    return address


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Parse one or several addresses, separated by commas, in the order to try.

    Raises:
        ConfigError: one of them is not `host:port`, or there is none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ConfigError(f"no address in {text!r}; give at least one 'host:port'")
    return tuple(parse_address(part) for part in parts)


def parse_listen(text: str) -> Address:
    """Parse the address that a server listens on: an IP address or `localhost`, and a port; port 0 means any free one.

    Raises:
        ConfigError: the text is not `host:port`, or the host is neither an IP address nor `localhost`.
    """
    address = _parse(text)
    if address.host == "localhost":
        return Address("127.0.0.1", address.port)
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        raise ConfigError(
            f"invalid listen address {text!r}: {address.host!r} is not an IP address; use 127.0.0.1 for this machine "
            "alone or 0.0.0.0 for all interfaces"
        ) from None
    return address


def _parse(text: str) -> Address:
    host, separator, port_text = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"invalid address {text!r}: put the IPv6 host in brackets, as in [::1]:8080")
    if not separator or not host or not port_text.isascii() or not port_text.isdigit():
        raise ConfigError(f"invalid address {text!r}: must be 'host:port', such as 127.0.0.1:8080")
    port = int(port_text)
    if port > 65535:
        raise ConfigError(f"invalid address {text!r}: port {port} is over 65535")
    return Address(host, port)

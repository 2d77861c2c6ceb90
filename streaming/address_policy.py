"""Where outlets may send to: which schemes and hosts, and never, unasked, into the server's own networks."""

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, parse_qs, urlsplit

from streaming.errors import Unprocessable
from streaming.settings import Settings

Address = IPv4Address | IPv6Address
Resolve = Callable[[str], Sequence[str]]
"""The addresses of a host name; raises OSError when there are none."""

_METADATA = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
"""Cloud metadata services at addresses that look public; the others are link-local or private."""

_TRANSLATED = {IPv6Network("64:ff9b::/96"): 0, IPv6Network("2002::/16"): 80}
"""Networks whose addresses carry an IPv4 address, and how many bits lie below it (RFC 6052, RFC 3056)."""

_LIKE_A_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be connected to. `addresses` are all those of `host`, each of them allowed."""

    url: str
    scheme: str
    host: str
    port: int | None
    addresses: tuple[Address, ...]

    @property
    def pinned_url(self) -> str:
        """The same with the host replaced by its first address, so that a name cannot change its answer.

        For SRT, UDP and RTMP. With TLS the name must stay: there the certificate is what cannot be changed.
        """
        first = self.addresses[0]
        host = f"[{first}]" if isinstance(first, IPv6Address) else str(first)
        parts = urlsplit(self.url)
        user, at, _ = parts.netloc.rpartition("@")
        port = "" if self.port is None else f":{self.port}"
        return parts._replace(netloc=f"{user}{at}{host}{port}").geturl()


def resolve_host(host: str) -> list[str]:
    """Ask the system's resolver. Blocks, possibly for seconds. Raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def check_outlet(url: str, settings: Settings, resolve: Resolve = resolve_host) -> Target:
    """Whether an outlet may connect to `url`: once when it is made, and before each connection.

    Every address of the name must be allowed, so that a mixed answer is no way in; follow a redirect only
    through here. Blocks on name resolution: call it in a thread. Raises Unprocessable; no sentence holds
    user names, keys or passwords of the URL.
    """
    parts = _split(url)
    shown = redact(url)
    if parts.scheme not in settings.outlet_schemes:
        raise Unprocessable(
            f"An outlet cannot send to {parts.scheme or 'a URL without a scheme'} here; "
            f"choose one of {', '.join(settings.outlet_schemes)}."
        )
    host = (parts.hostname or "").rstrip(".")
    if not host and _listens(parts):
        host = "0.0.0.0"
    if not host:
        raise Unprocessable(f"The address {shown} names no host.")
    if settings.outlet_hosts and not any(_fits(host, allowed) for allowed in settings.outlet_hosts):
        raise Unprocessable(
            f"Outlets may not send to the host {host}; allowed are {', '.join(settings.outlet_hosts)}."
        )
    addresses = _addresses(host, resolve)
    for address in addresses:
        if not allowed_address(address, settings.outlet_networks):
            raise Unprocessable(
                f"The address {shown} leads to {address}, which is not on the public internet; "
                "the operator can allow its network with KOUBO_OUTLET_NETWORKS."
            )
    return Target(url, parts.scheme, host, parts.port, addresses)


def allowed_address(address: Address, networks: Sequence[IPv4Network | IPv6Network] = ()) -> bool:
    """Whether an address is public, or within one of `networks`; IPv4 inside IPv6 counts as IPv4 as well."""
    return all(any(part in network for network in networks) or _public(part) for part in _forms(address))


def redact(url: str) -> str:
    """A URL as it may be shown: scheme, host and port; stream keys sit in all the other parts."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "…"
    shown = f"[{host}]" if ":" in host else host
    rest = "/…" if parts.path.strip("/") or parts.query or parts.fragment else ""
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{rest}"


def _split(url: str) -> SplitResult:
    # Python's parser silently drops line ends, which other parsers do not.
    if not url.isascii() or any(c.isspace() or not c.isprintable() or c in "\\<>\"'`{}|^" for c in url):
        raise Unprocessable("The outlet's address is not a URL; leave out spaces and special characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Unprocessable("The outlet's address is not a URL such as srt://host:port.") from error
    if port == 0:
        raise Unprocessable("The outlet's address has port 0; give one from 1 to 65535.")
    return parts


def _listens(parts: SplitResult) -> bool:
    """Whether an SRT address asks to listen here rather than to call."""
    return parts.scheme == "srt" and parse_qs(parts.query).get("mode") == ["listener"]


def _fits(host: str, allowed: str) -> bool:
    """`allowed` is a host, or *.name for every host below a name."""
    host, allowed = host.lower(), allowed.lower()
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def _addresses(host: str, resolve: Resolve) -> tuple[Address, ...]:
    try:
        return (ip_address(host),)
    except ValueError:
        pass
    if _LIKE_A_NUMBER.fullmatch(host.rpartition(".")[2]):
        # Resolvers take 2130706433, 0177.0.0.1 and 127.1 for 127.0.0.1 (inet_aton), and not all alike.
        raise Unprocessable(f"The host {host} is not an IPv4 address in the usual form, such as 192.0.2.1.")
    try:
        found = tuple(ip_address(answer) for answer in dict.fromkeys(resolve(host)))
    except (OSError, UnicodeError) as error:
        raise Unprocessable(f"The host {host} has no address; check how it is spelt.") from error
    if not found:
        raise Unprocessable(f"The host {host} has no address; check how it is spelt.")
    return found


def _forms(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address inside it where there is one."""
    if not isinstance(address, IPv6Address):
        yield address
        return
    inner = address.ipv4_mapped
    if inner is not None:
        # A mapped address is nothing but another way to write the IPv4 one.
        yield inner
        return
    yield address
    for network, below in _TRANSLATED.items():
        if address in network:
            yield IPv4Address(int(address) >> below & 0xFFFFFFFF)
    if address.teredo is not None:
        yield from address.teredo


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address in IPv6Network("64:ff9b::/96"):
        # Global or not by the address inside; registries differ on the prefix itself.
        return True
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not getattr(address, "is_site_local", False)
        and not any(address in network for network in _METADATA)
    )

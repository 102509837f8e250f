"""Which ROS domains are alive on this machine, read from the UDP ports that DDS participants hold."""

from __future__ import annotations

from pathlib import Path

_BASE, _PER_DOMAIN, _DOMAINS, _UNICAST = 7400, 250, 233, 10
"""DDSI-RTPS 9.6.1.1: domain d has its ports from 7400 + 250 d; the participant with number p holds 10 + 2 p and 11 + 2 p of them."""


def domains_in_use(tables: tuple[Path, ...] = (Path("/proc/net/udp"), Path("/proc/net/udp6"))) -> tuple[int, ...]:
    """Domains with at least one participant on this machine, ascending.

    Args:
        tables: The kernel's tables of UDP sockets.
    """
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    ports = {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
    found = set()
    for port in ports:
        domain, rest = divmod(port - _BASE, _PER_DOMAIN)
        # A pair of neighbours: single ports in this range belong to other programs as well.
        if 0 <= domain < _DOMAINS and rest >= _UNICAST and rest % 2 == 0 and port + 1 in ports:
            found.add(domain)
    return tuple(sorted(found))

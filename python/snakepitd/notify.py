"""The sd_notify protocol, in the standard library.

A worker tells its daemon (or systemd) what it does by datagrams to the socket
that ``NOTIFY_SOCKET`` names. Nothing here ever raises: a worker must not fall
over because nobody listens. Every function says whether the datagram went out.
"""

import os
import socket
from typing import Optional

__all__ = ["notify", "ready", "status", "stopping", "watchdog", "watchdog_interval"]

# How long a full receive queue may hold the sender up, in seconds.
_SEND_TIMEOUT = 1.0


def notify(*fields: str) -> bool:
    """Send one datagram with these fields (``"READY=1"``), a line each.

    False when there is no NOTIFY_SOCKET, a field is not ``KEY=value`` on one
    line, or the datagram could not be sent within a second.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")) or not fields:
        return False
    if any("=" not in field or "\n" in field for field in fields):
        return False
    # "@" stands for the zero byte that starts a name in the abstract namespace.
    address = "\0" + path[1:] if path[0] == "@" else path
    try:
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        ) as out:
            out.settimeout(_SEND_TIMEOUT)
            # Connected, because only then does the timeout see the receiver's
            # full queue; a new socket each time, because the daemon may have
            # made its socket anew.
            out.connect(address)
            out.send("\n".join(fields).encode("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return False
    return True


def ready(text: str = "") -> bool:
    """Say that the start is complete, with an optional status text."""
    return notify("READY=1", *_status_fields(text))


def status(text: str) -> bool:
    """Say in one line what the worker does now, for people."""
    return notify("STATUS=" + _one_line(text))


def stopping() -> bool:
    """Say that the worker has begun to stop."""
    return notify("STOPPING=1")


def watchdog() -> bool:
    """Send one sign of life; due every :func:`watchdog_interval` seconds."""
    return notify("WATCHDOG=1")


def watchdog_interval() -> Optional[float]:
    """Seconds between two signs of life, None when nobody expects any.

    It is half of what ``WATCHDOG_USEC`` allows, as sd_watchdog_enabled(3)
    advises. A ``WATCHDOG_PID`` of another process means that it is not for us.
    """
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
        pid = int(os.environ.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    if microseconds <= 0 or pid != os.getpid():
        return None
    return microseconds / 2_000_000


def _status_fields(text: str) -> "list[str]":
    return ["STATUS=" + _one_line(text)] if text else []


def _one_line(text: str) -> str:
    return " ".join(text.split())

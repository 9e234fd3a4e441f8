"""What a worker is told: by the daemon's environment, else by arguments."""

import math
import os
from typing import NamedTuple, Optional

_DEFAULT_MAX_MESSAGE = 64 * 1024 * 1024
_DEFAULT_STOP_TIMEOUT = 10.0


class SettingError(Exception):
    """A setting that cannot be used; the text is one line for people."""


class Settings(NamedTuple):
    """Where and how to serve."""

    address: str
    concurrency: int
    max_message: int  # bytes
    stop_timeout: float  # seconds


def settle(
    address: Optional[str],
    concurrency: Optional[int],
    max_message: Optional[int],
    stop_timeout: Optional[float],
) -> Settings:
    """Join the environment with the arguments.

    The environment wins: the same program then runs by hand on the address it
    names and in a pool on the one that it is given.
    """
    where = os.environ.get("SNAKEPIT_ADDRESS") or address
    if not where:
        raise SettingError(
            "no address: SNAKEPIT_ADDRESS is not set and serve() got no address"
        )
    return Settings(
        where,
        _whole("SNAKEPIT_CONCURRENCY", "concurrency", concurrency, 1),
        _whole(
            "SNAKEPIT_MAX_MESSAGE", "max_message", max_message, _DEFAULT_MAX_MESSAGE
        ),
        _seconds("SNAKEPIT_STOP_TIMEOUT", "stop_timeout", stop_timeout),
    )


def _whole(variable: str, argument: str, given: Optional[int], default: int) -> int:
    text = os.environ.get(variable)
    name = variable if text else argument
    try:
        value = int(text) if text else default if given is None else int(given)
    except (TypeError, ValueError):
        value = 0
    # The upper bound is that of gRPC's own options, a C int.
    if not 0 < value < 2**31:
        shown = text if text else given
        raise SettingError(
            "%s must be a whole number from 1 to %d, not %r"
            % (name, 2**31 - 1, shown)
        )
    return value


def _seconds(variable: str, argument: str, given: Optional[float]) -> float:
    text = os.environ.get(variable)
    name = variable if text else argument
    try:
        value = (
            float(text)
            if text
            else _DEFAULT_STOP_TIMEOUT
            if given is None
            else float(given)
        )
    except (TypeError, ValueError):
        value = -1.0
    if not (value >= 0 and math.isfinite(value)):
        shown = text if text else given
        raise SettingError("%s must be seconds, not %r" % (name, shown))
    return value

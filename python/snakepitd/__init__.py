"""The Python side of snakepitd.

Two modules, each usable alone:

* :mod:`snakepitd.notify` speaks the sd_notify protocol (standard library only).
* :mod:`snakepitd.grpc` runs an ordinary grpcio server as a worker (needs grpcio).
"""

from typing import List

__all__: List[str] = []

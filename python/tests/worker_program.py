"""A worker for the tests: raw bytes, no .proto. Started by conftest.Worker.

Hold, Flow, Gather and Chat wait at their end for the FIFO that metadata "fifo"
names, whatever their client does, and send the status "left ID" when it leaves:
so a test sees by events alone where they are.
"""

import contextlib
import json
import os
import sys
import threading
from typing import Any, Iterator

import grpc

import snakepitd.grpc
from snakepitd import notify

lock = threading.Lock()
running = 0
peak = 0


def metadata(context: Any, key: str) -> str:
    return str(dict(context.invocation_metadata()).get(key, ""))


@contextlib.contextmanager
def until_released(context: Any) -> Iterator[None]:
    """Waits at its end; says so when the client leaves before."""
    fifo = metadata(context, "fifo")
    if not fifo:
        yield
        return
    call = metadata(context, "snakepit-call")
    over = threading.Event()
    context.add_callback(lambda: over.is_set() or notify.status("left " + call))
    try:
        yield
    finally:
        with open(fifo, "rb") as release:
            release.read()
        over.set()


def echo(request: bytes, context: Any) -> bytes:
    return request


def repeat(request: bytes, context: Any) -> bytes:
    return b"x" * int(request)


def fail(request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
    raise AssertionError


def mark(request: bytes, context: Any) -> bytes:
    notify.status("mark")
    return b"%d" % peak


def hold(request: bytes, context: Any) -> bytes:
    global running, peak
    with lock:
        running += 1
        peak = max(peak, running)
    with until_released(context):
        context.send_initial_metadata((("started", "1"),))
    with lock:
        running -= 1
    return b"held"


def flow(request: bytes, context: Any) -> Iterator[bytes]:
    with until_released(context):
        for number in range(int(request)):
            yield b"%d" % number


def gather(requests: Iterator[bytes], context: Any) -> bytes:
    with until_released(context):
        context.send_initial_metadata((("started", "1"),))
        return b"".join(requests)


def chat(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    with until_released(context):
        for request in requests:
            yield request


def add(server: Any) -> None:
    unary = grpc.unary_unary_rpc_method_handler
    handlers = {
        "Echo": unary(echo),
        "Repeat": unary(repeat),
        "Fail": unary(fail),
        "Mark": unary(mark),
        "Hold": unary(hold),
        "Flow": grpc.unary_stream_rpc_method_handler(flow),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.v1.Test", handlers),)
    )


def add_other(server: Any) -> None:
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.v1.Other", handlers),)
    )


def add_own_health(server: Any) -> None:
    check = grpc.unary_unary_rpc_method_handler(lambda request, context: b"own")
    handlers = {"Check": check}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),)
    )


class Refuse(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses every call: health must not pass it."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(fail)


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    adds = [add, add_other]
    if settings.pop("own_health", False):
        adds.append(add_own_health)
    if settings.pop("refuse", False):
        settings["interceptors"] = [Refuse()]
    snakepitd.grpc.serve(adds, **settings)
    print("returned from serve")

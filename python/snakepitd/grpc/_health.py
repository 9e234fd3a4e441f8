"""grpc.health.v1 without its package and without protobuf descriptors.

The two messages have one field each and are written by hand: Debian has no
grpcio-health-checking, and a descriptor of ours would clash with the worker's
own when it brings that package.
"""

import threading
from concurrent import futures
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

import grpc

from snakepitd.grpc._calls import Calls

SERVICE = "grpc.health.v1.Health"

SERVING = 1
NOT_SERVING = 2
SERVICE_UNKNOWN = 3

# Health has threads of its own, apart from those of the calls, so that no check
# ever queues behind a call; checks and watches apart, so that a watcher which
# does not read holds no check up. They are started when first needed.
_THREADS = 4


class Health(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers Check and Watch for "" and for every service named.

    A Check that carries the metadata ``snakepit-call`` also answers whether
    that call still runs, in the trailing metadata ``snakepit-running`` ("1" or
    "0"). "1" is a promise that its end will be reported. The daemon asks after
    it cancelled a call: a handler that returned just before the cancellation
    got here has not reported anything.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._status: Dict[str, int] = {"": SERVING}
        self._watchers: List[_Watcher] = []
        self._stopped = False
        checks = futures.ThreadPoolExecutor(_THREADS, "snakepit-check")
        self._watches = futures.ThreadPoolExecutor(_THREADS, "snakepit-watch")
        self._handlers = {
            "/%s/Check"
            % SERVICE: grpc.unary_unary_rpc_method_handler(
                _Behavior(self._check, checks, False), decode_request, encode_status
            ),
            "/%s/Watch"
            % SERVICE: grpc.unary_stream_rpc_method_handler(
                _Behavior(self._watch, self._watches, True),
                decode_request,
                encode_status,
            ),
        }

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a health method, None for any other."""
        return self._handlers.get(handler_call_details.method)

    def add(self, services: Iterable[str]) -> None:
        """Answer for these services too."""
        with self._lock:
            self._status.update((name, SERVING) for name in services)

    def stop(self) -> None:
        """Answer NOT_SERVING from now on, and end every watch.

        A watch that stayed open would hold the stop of the server up.
        """
        with self._lock:
            self._stopped = True
            self._status = dict.fromkeys(self._status, NOT_SERVING)
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            self._watches.submit(watcher.end)

    def _check(self, service: str, context: Any) -> int:
        with self._lock:
            status = self._status.get(service)
        call = metadata_value(context.invocation_metadata(), "snakepit-call")
        if call:
            running = "1" if self._calls.expect(call) else "0"
            context.set_trailing_metadata((("snakepit-running", running),))
        if status is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
            raise AssertionError("abort raises")
        return status

    def _watch(
        self, service: str, context: Any, send: Callable[[Optional[int]], None]
    ) -> None:
        with self._lock:
            watcher = _Watcher(
                context, send, self._status.get(service, SERVICE_UNKNOWN)
            )
            stopped = self._stopped
            if not stopped:
                self._watchers.append(watcher)
        if stopped:
            watcher.end()
        elif context.add_callback(lambda: self._forget(watcher)):
            watcher.begin()
        else:  # it has ended before it began
            self._forget(watcher)

    def _forget(self, watcher: "_Watcher") -> None:
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)


class _Watcher:
    """One Watch stream. The lock keeps its messages in order; only the stream's
    own client can hold it up."""

    def __init__(
        self, context: Any, send: Callable[[Optional[int]], None], status: int
    ) -> None:
        self._context = context
        self._send = send
        self._status = status
        self._lock = threading.Lock()
        self._ended = False

    def begin(self) -> None:
        with self._lock:
            if not self._ended:
                self._send(self._status)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            if self._context.is_active():
                self._send(NOT_SERVING)
                self._context.set_code(grpc.StatusCode.UNAVAILABLE)
                self._context.set_details("the worker stops")
                self._send(None)


class _Behavior:
    """A handler with the two attributes that grpcio reads: the threads to run
    it in, and that a stream's answers come later without holding a thread."""

    def __init__(
        self,
        run: Callable[..., Any],
        threads: futures.ThreadPoolExecutor,
        non_blocking: bool,
    ) -> None:
        self._run = run
        self.experimental_thread_pool = threads
        self.experimental_non_blocking = non_blocking

    def __call__(self, *arguments: Any) -> Any:
        return self._run(*arguments)


def metadata_value(metadata: Optional[Iterable[Tuple[str, Any]]], key: str) -> str:
    """The first value of a text key, "" if there is none."""
    for name, value in metadata or ():
        if name == key and isinstance(value, str):
            return value
    return ""


def encode_status(status: int) -> bytes:
    """HealthCheckResponse{status}."""
    return bytes((0x08, status))


def decode_request(data: bytes) -> str:
    """The service of a HealthCheckRequest; unknown fields are skipped."""
    service = ""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            _, at = _varint(data, at)
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("wire type %d in a HealthCheckRequest" % wire)
        if at + size > len(data):
            raise ValueError("a HealthCheckRequest that is cut off")
        if tag == 0x0A:
            service = data[at : at + size].decode("utf-8")
        at += size
    return service


def _varint(data: bytes, at: int) -> Tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a HealthCheckRequest that is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits in a HealthCheckRequest")

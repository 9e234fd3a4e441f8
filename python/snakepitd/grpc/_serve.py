"""Build, run and stop the server."""

import logging
import os
import signal
import socket
import sys
import threading
from typing import Any, Callable, Iterable, List, Optional, Sequence, Set, Tuple, Union

import grpc

from snakepitd import notify
from snakepitd.grpc._calls import Call, Calls, Threads
from snakepitd.grpc._health import SERVICE as HEALTH_SERVICE
from snakepitd.grpc._health import Health, metadata_value
from snakepitd.grpc._listen import obstacle
from snakepitd.grpc._settings import SettingError, Settings, settle

_log = logging.getLogger("snakepitd.grpc")

# What handlers get to clean up once their calls have been cancelled, seconds.
_CLEAN_UP = 1.0

# What clients get to close their idle connections themselves, seconds.
_LINGER = 0.25

Add = Callable[[Any], object]


def serve(
    add: Union[Add, Iterable[Add]],
    *,
    address: Optional[str] = None,
    concurrency: Optional[int] = None,
    max_message: Optional[int] = None,
    stop_timeout: Optional[float] = None,
    interceptors: Sequence[Any] = (),
    options: Sequence[Tuple[str, Any]] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then stop in good order and return.

    add is called with the grpc.Server before it listens, to register servicers
    (and to load what they need: the worker is ready afterwards); it may be
    several such callables. Call serve from the main thread.

    address, concurrency (calls at a time, [1]), max_message (bytes, [64 MiB])
    and stop_timeout (seconds that running calls get at a stop, [10]) hold
    where the environment has no SNAKEPIT_ADDRESS, SNAKEPIT_CONCURRENCY,
    SNAKEPIT_MAX_MESSAGE and SNAKEPIT_STOP_TIMEOUT.

    interceptors and options go to grpc.server; a health check passes none of
    the interceptors. grpc.health.v1 is served unless add registers its own.

    SystemExit, with one line on stderr and exit status 1, when the address
    cannot be listened on or a setting is not usable.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("serve() must run in the main thread: it handles signals")
    try:
        settings = settle(address, concurrency, max_message, stop_timeout)
    except SettingError as error:
        raise SystemExit("snakepitd.grpc: %s" % error) from None
    # Before add as well, which may take its time.
    reason = obstacle(settings.address)
    if reason is not None:
        raise _cannot_listen(settings.address, reason)

    calls = Calls()
    health = Health(calls)
    threads = Threads(calls, settings.concurrency)
    watch = _Interceptor(calls, health)
    server = grpc.server(
        threads,
        interceptors=(watch, *interceptors),
        options=_options(settings, options),
    )
    services: Set[str] = set()
    registrar = _Registrar(server, services)
    for register in [add] if callable(add) else list(add):
        register(registrar)
    if HEALTH_SERVICE in services:
        watch.health = None  # the worker brings its own
    health.add(services)

    where = _listen(server, settings.address)
    signals = _Signals(signal.SIGTERM, signal.SIGINT)
    server.start()
    _log.info("serving on %s", where)
    notify.notify(
        "READY=1",
        "STATUS=serving on %s" % where,
        "X_SNAKEPIT_SDK=1",
    )
    interval = notify.watchdog_interval()
    if interval is not None:
        threading.Thread(
            target=_beat, args=(interval,), name="snakepit-watchdog", daemon=True
        ).start()

    got = signals.wait()
    _log.info("stopping after %s", got.name)
    _stop(server, calls, health, settings.stop_timeout)


class _Signals:
    """Waits for the first of some signals; the next one ends the process at once, by
    the kernel's hand.

    They come through a wakeup descriptor, which is written to by the C handler
    itself: a signal that arrives just before the main thread blocks in a lock would
    wait there for ever, because only the main thread runs Python's handlers.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda _got, _frame: None)

    def wait(self) -> signal.Signals:
        got = self._reader.recv(1)[0]
        while got not in self._numbers:  # somebody else's handler was called
            got = self._reader.recv(1)[0]
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        return signal.Signals(got)


def _stop(server: Any, calls: Calls, health: Health, timeout: float) -> None:
    notify.stopping()
    health.stop()
    stopped = server.stop(timeout)
    left = calls.wait_idle(timeout + _CLEAN_UP)
    # All answers are out. A client that is asleep would keep its idle connection
    # for seconds, and grpcio waits for that: take it away.
    stopped.wait(_LINGER)
    server.stop(0).wait(_CLEAN_UP)
    if left:
        # Python would wait for their threads for as long as they like.
        sys.stdout.flush()
        print(
            "snakepitd.grpc: stopped; calls still running: %d" % left, file=sys.stderr
        )
        sys.stderr.flush()
        os._exit(0)


def _listen(server: Any, address: str) -> str:
    """Bind; the address in full, also where port 0 left the choice to the kernel."""
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise _cannot_listen(address, obstacle(address) or str(error)) from None
    if not port:  # grpcio before 1.32 and some later ones do not raise
        raise _cannot_listen(address, obstacle(address) or "cannot bind")
    if address.startswith("unix:"):
        return address
    return "%s:%d" % (address.rpartition(":")[0], port)


def _cannot_listen(address: str, reason: str) -> SystemExit:
    return SystemExit("snakepitd.grpc: cannot listen on %s: %s" % (address, reason))


def _options(
    settings: Settings, more: Sequence[Tuple[str, Any]]
) -> List[Tuple[str, Any]]:
    ours = {
        "grpc.max_receive_message_length": settings.max_message,
        "grpc.max_send_message_length": settings.max_message,
    }
    ours.update(more)
    # With SO_REUSEPORT, which is grpcio's default, a second server on the port
    # takes half of the calls without a word; not to be had otherwise.
    ours["grpc.so_reuseport"] = 0
    return list(ours.items())


def _beat(interval: float) -> None:
    """Signs of life. The thread needs the GIL for each: that is the point."""
    never = threading.Event()
    notify.watchdog()
    while not never.wait(interval):
        notify.watchdog()


class _Interceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Stands before all others: answers health, and follows every other call."""

    def __init__(self, calls: Calls, health: Health) -> None:
        self._calls = calls
        self.health: Optional[Health] = health

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        if self.health is not None:
            answer = self.health.service(handler_call_details)
            if answer is not None:
                return answer
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        name = "%s_%s" % (
            "stream" if handler.request_streaming else "unary",
            "stream" if handler.response_streaming else "unary",
        )
        behavior = getattr(handler, name)
        if getattr(behavior, "experimental_non_blocking", False):
            return handler  # has no thread and no end that we could see
        call = Call(
            self._calls,
            metadata_value(handler_call_details.invocation_metadata, "snakepit-call"),
            behavior,
            handler.response_streaming,
        )
        make = getattr(grpc, name + "_rpc_method_handler")
        return make(call, handler.request_deserializer, handler.response_serializer)


class _Registrar(grpc.Server):  # type: ignore[misc]
    """The server as add sees it: notes the names of the services for health,
    and leaves listening, start and stop to serve."""

    def __init__(self, server: Any, services: Set[str]) -> None:
        self._server = server
        self._services = services

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        handlers = tuple(generic_rpc_handlers)
        for handler in handlers:
            if isinstance(handler, grpc.ServiceRpcHandler):
                self._services.add(handler.service_name())
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Any
    ) -> None:
        self._services.add(service_name)
        # Only newer grpcio has it, and only code generated for it calls it.
        self._server.add_registered_method_handlers(service_name, method_handlers)

    def add_insecure_port(self, address: str) -> int:
        raise RuntimeError("serve() listens on %s itself" % address)

    def add_secure_port(self, address: str, server_credentials: Any) -> int:
        raise RuntimeError("serve() listens on %s itself" % address)

    def start(self) -> None:
        raise RuntimeError("serve() starts the server itself")

    def stop(self, grace: Optional[float]) -> Any:
        raise RuntimeError("serve() stops the server itself")

    def wait_for_termination(self, timeout: Optional[float] = None) -> bool:
        raise RuntimeError("serve() waits for the end itself")

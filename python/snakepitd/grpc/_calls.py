"""The calls that run, and the report of a call's real end.

A client that leaves, or whose deadline passes, does not stop a Python handler.
The daemon keeps the place of such a call until the handler has really
returned; only this process knows when. A call that nothing disturbed costs no
datagram.
"""

import logging
import threading
import time
from concurrent import futures
from typing import Any, Callable, Optional, Set

from snakepitd import notify

_log = logging.getLogger("snakepitd.grpc")


class Calls:
    """The calls that have been given to a thread and have not ended."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._running: "Set[Call]" = set()
        # RPCs whose answer is not out yet; grpcio sends it after the handler.
        self._open = 0

    def begin(self, call: "Call") -> None:
        """From here on the call runs, even while it waits for a thread."""
        with self._changed:
            self._running.add(call)
            self._open += 1

    def end(self, call: "Call") -> None:
        """The handler has returned and holds nothing any more."""
        with self._changed:
            self._running.discard(call)
            if not call.began:  # so it has no context that could say so
                self._open -= 1
            report = call.id != "" and (call.expected or not call.undisturbed)
            self._changed.notify_all()
        # Outside of the lock: sending may wait for the daemon.
        if report:
            notify.notify("X_SNAKEPIT_CALL_OVER=" + call.id)

    def terminated(self) -> None:
        """The RPC is over: its last byte is written, or its client has left."""
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def expect(self, call_id: str) -> bool:
        """Whether the call runs; if so, its end will be reported in any case."""
        with self._changed:
            found = [call for call in self._running if call.id == call_id]
            for call in found:
                call.expected = True
        return bool(found)

    def wait_idle(self, timeout: float) -> int:
        """Wait until no call runs and every answer is out, at most timeout
        seconds. How many calls still run."""
        until = time.monotonic() + timeout
        with self._changed:
            while self._running or self._open:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            return len(self._running)


class Call:
    """One call: takes the place of its handler's behavior in grpcio."""

    __slots__ = (
        "id",
        "began",
        "expected",
        "undisturbed",
        "_calls",
        "_behavior",
        "_streams",
        "_responses",
    )

    def __init__(
        self, calls: Calls, call_id: str, behavior: Callable[..., Any], streams: bool
    ):
        self.id = call_id
        self.began = False
        # Guarded by the lock of Calls.
        self.expected = False
        # False until the handler has come to its end with the client still
        # there: grpcio may also give it up half-way, or never run it at all.
        self.undisturbed = False
        self._calls = calls
        self._behavior = behavior
        self._streams = streams
        self._responses: Optional[Any] = None

    def __call__(self, argument: Any, context: Any) -> Any:
        self.began = True
        if not context.add_callback(self._calls.terminated):
            self._calls.terminated()
        done = True
        try:
            response = self._behavior(argument, context)
            if self._streams:
                done = False
                self._responses = response
                return _Responses(self, response, context)
            return response
        finally:
            if done:
                self.finish(context)

    def finish(self, context: Any) -> None:
        """The handler's code has come to its end by itself."""
        remaining = context.time_remaining()
        self.undisturbed = context.is_active() and (remaining is None or remaining > 0)

    def close(self) -> None:
        """Close a generator that grpcio gave up, here and now, rather than
        whenever it is collected: its ``finally`` is part of the call."""
        close = getattr(self._responses, "close", None)
        self._responses = None
        if close is None:
            return
        try:
            close()
        except Exception:
            _log.exception("cannot close the response stream of call %s", self.id)


class _Responses:
    """The responses of a streaming handler."""

    __slots__ = ("_call", "_responses", "_context")

    def __init__(self, call: Call, responses: Any, context: Any):
        self._call = call
        self._responses = responses
        self._context = context

    def __iter__(self) -> "_Responses":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._responses)
        except BaseException:  # StopIteration, too: the stream's end
            self._call.finish(self._context)
            raise


class Threads(futures.ThreadPoolExecutor):
    """The threads that run handlers.

    Only here is a call's end seen in every case: also when the client left
    before the handler began, which grpcio then never calls. grpcio hands the
    behavior of the handler on to submit as one of the arguments.
    """

    def __init__(self, calls: Calls, count: int) -> None:
        super().__init__(count, "snakepit-call")
        self._calls = calls

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = next((arg for arg in args if isinstance(arg, Call)), None)
        if call is None:
            return super().submit(fn, *args, **kwargs)
        self._calls.begin(call)
        try:
            return super().submit(self._run, call, fn, *args, **kwargs)
        except BaseException:
            self._calls.end(call)
            raise

    def _run(self, call: Call, fn: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        finally:
            call.close()
            self._calls.end(call)

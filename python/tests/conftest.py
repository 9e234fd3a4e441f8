"""What the tests share: a daemon's notify socket and real workers."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import grpc
import pytest

PYTHON = Path(__file__).resolve().parent.parent
PROGRAM = Path(__file__).with_name("worker_program.py")

# How long an event may take before a test fails, in seconds.
PATIENCE = 30.0


class NotifySocket:
    """The daemon's side of sd_notify."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(PATIENCE)

    def receive(self) -> Dict[str, str]:
        """The next datagram."""
        lines = self._socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def received(self) -> List[Dict[str, str]]:
        """What has come and was not read yet."""
        found = []
        self._socket.settimeout(0)
        try:
            while True:
                found.append(self.receive())
        except BlockingIOError:
            return found
        finally:
            self._socket.settimeout(PATIENCE)

    def close(self) -> None:
        self._socket.close()


def environment(**more: str) -> Dict[str, str]:
    """A worker's environment, without what this process was given."""
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SNAKEPIT_", "NOTIFY_", "WATCHDOG_", "PYTHON"))
    }
    return {**own, "PYTHONPATH": str(PYTHON), "PYTHONUNBUFFERED": "1", **more}


class Worker:
    """A worker_program.py in a process of its own, and a channel to it."""

    def __init__(
        self, notify: NotifySocket, env: Dict[str, str], **settings: Any
    ) -> None:
        self.notify = notify
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(settings)],
            env=environment(**{"NOTIFY_SOCKET": notify.path, **env}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.channel: Any = None

    def connect(self) -> "Worker":
        """Wait for READY and open a channel."""
        self.ready = self.notify.receive()
        assert self.ready["READY"] == "1", self.ready
        self.address = self.ready["STATUS"][len("serving on ") :]
        self.channel = grpc.insecure_channel(
            self.address,
            [
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", -1),
                # Else a successor at the address gets the old connection.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        return self

    def unary(self, method: str) -> Any:
        return self.channel.unary_unary("/test.v1.Test/" + method)

    def check(
        self, service: bytes = b"", timeout: float = PATIENCE, **more: Any
    ) -> Any:
        """A health check: the reply and its call."""
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        request = b"\x0a" + bytes((len(service),)) + service if service else b""
        return check.with_call(request, timeout=timeout, **more)

    def hold(self, call: str, fifo: Path, timeout: Optional[float] = PATIENCE) -> Any:
        """Begin a Hold; it may wait for a thread.

        Called as a stream, which is the same on the wire: a unary call of
        grpcio's shows its initial metadata only when it has ended.
        """
        return self.channel.unary_stream("/test.v1.Test/Hold")(
            b"",
            timeout=timeout,
            metadata=(("snakepit-call", call), ("fifo", str(fifo))),
        )

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> "tuple[int, str]":
        """Wait for the process: its exit code and stderr."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def notify_socket(tmp_path: Path) -> Iterator[NotifySocket]:
    listening = NotifySocket(tmp_path / "notify")
    yield listening
    listening.close()


Launch = Callable[..., Worker]


@pytest.fixture
def launch(notify_socket: NotifySocket) -> Iterator[Launch]:
    """Starts a worker: launch(env={...}, **arguments of serve)."""
    workers: List[Worker] = []

    def start(env: Optional[Dict[str, str]] = None, **settings: Any) -> Worker:
        settings.setdefault("address", "127.0.0.1:0")
        workers.append(Worker(notify_socket, env or {}, **settings))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def release(path: Path) -> None:
    """Let the handler go that waits for the FIFO (or will)."""
    with open(path, "wb"):
        pass

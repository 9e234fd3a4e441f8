"""snakepitd.notify against a real socket."""

import os
import secrets
import socket
from pathlib import Path
from typing import Iterator

import pytest
from conftest import NotifySocket

from snakepitd import notify


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def daemon(
    notify_socket: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NotifySocket]:
    monkeypatch.setenv("NOTIFY_SOCKET", notify_socket.path)
    yield notify_socket


def test_each_message(daemon: NotifySocket) -> None:
    assert notify.ready()
    assert notify.ready("up")
    assert notify.status("two\nlines")
    assert notify.stopping()
    assert notify.watchdog()
    assert notify.notify("A=1", "B=x=y")
    assert daemon.received() == [
        {"READY": "1"},
        {"READY": "1", "STATUS": "up"},
        {"STATUS": "two lines"},
        {"STOPPING": "1"},
        {"WATCHDOG": "1"},
        {"A": "1", "B": "x=y"},
    ]


def test_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "snakepitd-test-" + secrets.token_hex(8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify.ready()
        assert daemon.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "path", ["", "relative", "/does/not/exist", "/" + "x" * 300, "vsock:2:1234", "@"]
)
def test_nobody_listens(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    assert not notify.ready()


def test_no_variable() -> None:
    assert not notify.ready()


def test_bad_fields_are_not_sent(daemon: NotifySocket) -> None:
    assert not notify.notify()
    assert not notify.notify("READY")
    assert not notify.notify("STATUS=a\nREADY=1")
    assert daemon.received() == []


def test_a_full_queue_holds_up_for_a_second_at_most(daemon: NotifySocket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                filler.sendto(b"X=1", daemon.path)
    assert not notify.ready()
    daemon.receive()
    assert notify.ready()


def test_nothing_is_left_open(daemon: NotifySocket, tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    notify.ready()
    notify.status("up")
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "usec, pid, expected",
    [
        ("10000000", None, 5.0),
        ("10000000", str(os.getpid()), 5.0),
        ("10000000", "1", None),
        ("10000000", "x", None),
        ("0", None, None),
        ("-1", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_watchdog_interval(
    usec: "str | None",
    pid: "str | None",
    expected: "float | None",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if usec is not None:
        monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    assert notify.watchdog_interval() == expected

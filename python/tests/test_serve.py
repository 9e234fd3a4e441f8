"""Listening, stopping, signs of life and bad settings."""

import os
import signal
import socket
import subprocess
import sys
from concurrent import futures
from pathlib import Path
from typing import Any, Dict

import grpc
import pytest
from conftest import PATIENCE, Launch, environment, release

import snakepitd
import snakepitd.grpc
import snakepitd.notify
from snakepitd.grpc._listen import obstacle
from snakepitd.grpc._serve import _Registrar


def test_public_names() -> None:
    assert snakepitd.__all__ == []
    assert snakepitd.grpc.__all__ == ["serve"]
    for module in (snakepitd.grpc, snakepitd.notify):
        for name in module.__all__:
            assert callable(getattr(module, name))
            assert getattr(module, name).__doc__


def test_notify_needs_no_grpcio() -> None:
    script = (
        "import sys; sys.modules['grpc'] = None; import snakepitd, snakepitd.notify"
    )
    subprocess.run([sys.executable, "-c", script], env=environment(), check=True)


def test_no_descriptor_is_registered() -> None:
    script = "import sys, snakepitd.grpc; assert not any('protobuf' in m for m in sys.modules)"
    subprocess.run([sys.executable, "-c", script], env=environment(), check=True)


def test_unix_socket(launch: Launch, tmp_path: Path) -> None:
    address = "unix:%s" % (tmp_path / "worker.sock")
    worker = launch(env={"SNAKEPIT_ADDRESS": address}).connect()
    assert worker.address == address
    assert worker.unary("Echo")(b"hi", timeout=PATIENCE) == b"hi"
    worker.terminate()
    assert worker.notify.receive() == {"STOPPING": "1"}
    assert worker.end()[0] == 0


def test_second_worker_on_the_port(launch: Launch) -> None:
    first = launch().connect()
    second = launch(address=first.address)
    assert second.end() == (
        1,
        "snakepitd.grpc: cannot listen on %s: address already in use\n" % first.address,
    )
    assert first.unary("Echo")(b"hi") == b"hi"


def test_a_server_with_so_reuseport_does_not_get_in(launch: Launch) -> None:
    """Nor does one that has it keep us from saying so."""
    port = int(launch().connect().address.rpartition(":")[2])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError):
            other.bind(("127.0.0.1", port))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = "127.0.0.1:%d" % other.getsockname()[1]
        code, errors = launch(address=taken).end()
    assert code == 1
    assert errors.startswith("snakepitd.grpc: cannot listen on %s: " % taken)


def test_second_worker_on_the_unix_socket(launch: Launch, tmp_path: Path) -> None:
    """grpcio alone would take the first one's socket file away."""
    address = "unix:%s" % (tmp_path / "worker.sock")
    first = launch(address=address).connect()
    assert launch(address=address).end() == (
        1,
        "snakepitd.grpc: cannot listen on %s: another process listens there\n"
        % address,
    )
    assert first.unary("Echo")(b"hi") == b"hi"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_successor_of_a_killed_worker(
    kind: str, launch: Launch, tmp_path: Path
) -> None:
    unix = "unix:%s" % (tmp_path / "worker.sock")
    first = launch(address=unix if kind == "unix" else "127.0.0.1:0").connect()
    assert first.unary("Echo")(b"hi") == b"hi"
    first.process.kill()
    first.process.wait(PATIENCE)
    second = launch(address=first.address).connect()
    assert second.address == first.address
    assert second.unary("Echo")(b"hi", timeout=PATIENCE) == b"hi"


@pytest.mark.parametrize(
    "address, reason",
    [
        ("127.0.0.1", "not HOST:PORT or unix:PATH"),
        ("127.0.0.1:x", "not HOST:PORT or unix:PATH"),
        ("127.0.0.1:70000", "not HOST:PORT or unix:PATH"),
        ("unix:/does/not/exist/s", "no such directory: /does/not/exist"),
        ("unix:/tmp/" + "x" * 103, "the path is longer than 107 bytes"),
        ("unix:///" + "x" * 107, "the path is longer than 107 bytes"),
        ("192.0.2.1:5000", "cannot assign requested address"),
    ],
)
def test_obstacles(address: str, reason: str) -> None:
    assert obstacle(address) == reason


def test_no_obstacle(tmp_path: Path) -> None:
    assert obstacle("127.0.0.1:0") is None
    assert obstacle("unix:%s" % (tmp_path / "s")) is None
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stale))
        listener.listen()
        assert obstacle("unix:%s" % stale) == "another process listens there"
    assert obstacle("unix:%s" % stale) is None
    (tmp_path / "file").write_text("precious")
    assert (
        obstacle("unix:%s" % (tmp_path / "file"))
        == "a file that is not a socket is in the way"
    )


@pytest.mark.parametrize(
    "env, settings, text",
    [
        ({}, {"address": None}, "no address: SNAKEPIT_ADDRESS is not set"),
        ({"SNAKEPIT_CONCURRENCY": "many"}, {}, "SNAKEPIT_CONCURRENCY must be"),
        ({}, {"concurrency": 0}, "concurrency must be a whole number from 1"),
        ({"SNAKEPIT_MAX_MESSAGE": "3000000000"}, {}, "SNAKEPIT_MAX_MESSAGE must be"),
        ({"SNAKEPIT_STOP_TIMEOUT": "nan"}, {}, "SNAKEPIT_STOP_TIMEOUT must be seconds"),
        ({}, {"stop_timeout": -1}, "stop_timeout must be seconds, not -1"),
    ],
)
def test_bad_settings(
    env: Dict[str, str], settings: Dict[str, Any], text: str, launch: Launch
) -> None:
    code, errors = launch(env=env, **settings).end()
    assert code == 1
    assert errors.startswith("snakepitd.grpc: " + text)
    assert errors.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_the_running_call_end(
    number: int, launch: Launch, fifo: Path
) -> None:
    worker = launch(stop_timeout=PATIENCE).connect()
    call = worker.hold("c1", fifo)
    call.initial_metadata()
    worker.process.send_signal(number)
    assert worker.notify.receive() == {"STOPPING": "1"}
    release(fifo)
    assert list(call) == [b"held"]
    output, errors = worker.process.communicate(timeout=PATIENCE)
    assert (worker.process.returncode, output, errors) == (
        0,
        "returned from serve\n",
        "",
    )
    assert worker.notify.received() == []


def test_a_stop_waits_until_the_answer_is_out(launch: Launch) -> None:
    """The handler has long returned, but its client reads slowly."""
    worker = launch(stop_timeout=PATIENCE).connect()
    repeat = worker.channel.unary_stream("/test.v1.Test/Repeat")
    call = repeat(b"%d" % (40 << 20), timeout=PATIENCE)
    call.initial_metadata()
    worker.terminate()
    assert worker.notify.receive() == {"STOPPING": "1"}
    assert [len(answer) for answer in call] == [40 << 20]
    assert call.code() == grpc.StatusCode.OK
    assert worker.end() == (0, "")


def test_a_stop_without_calls_is_silent_and_ends_with_0(launch: Launch) -> None:
    worker = launch().connect()
    worker.terminate()
    assert worker.notify.receive() == {"STOPPING": "1"}
    assert worker.end() == (0, "")


def test_a_stop_does_not_wait_for_ever(launch: Launch, fifo: Path) -> None:
    worker = launch(env={"SNAKEPIT_STOP_TIMEOUT": "0.1"}, stop_timeout=900).connect()
    call = worker.hold("c1", fifo)
    call.initial_metadata()
    worker.terminate()
    assert worker.end() == (0, "snakepitd.grpc: stopped; calls still running: 1\n")
    assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_the_second_signal_ends_at_once(launch: Launch, fifo: Path) -> None:
    worker = launch(stop_timeout=PATIENCE).connect()
    call = worker.hold("c1", fifo)  # one that is dropped is cancelled
    call.initial_metadata()
    worker.terminate()
    assert worker.notify.receive() == {"STOPPING": "1"}
    worker.terminate()
    assert worker.end()[0] == -signal.SIGTERM


def test_watchdog(launch: Launch, fifo: Path) -> None:
    worker = launch(env={"WATCHDOG_USEC": "100000"}).connect()
    assert worker.notify.receive() == {"WATCHDOG": "1"}
    call = worker.hold("c1", fifo)
    call.initial_metadata()
    worker.notify.received()
    for _ in range(3):  # also while the only thread for calls is busy
        assert worker.notify.receive() == {"WATCHDOG": "1"}
    release(fifo)


def test_no_watchdog_for_another_process(launch: Launch) -> None:
    env = {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid())}
    worker = launch(env=env).connect()
    worker.unary("Mark")(b"", timeout=PATIENCE)
    assert worker.notify.receive() == {"STATUS": "mark"}


def test_works_without_a_daemon(launch: Launch, tmp_path: Path) -> None:
    address = "unix:%s" % (tmp_path / "worker.sock")
    worker = launch(env={"NOTIFY_SOCKET": "/does/not/exist"}, address=address)
    with grpc.insecure_channel(address) as channel:
        echo = channel.unary_unary("/test.v1.Test/Echo")
        assert echo(b"hi", wait_for_ready=True, timeout=PATIENCE) == b"hi"
    worker.terminate()
    assert worker.end() == (0, "")


def test_only_in_the_main_thread() -> None:
    with futures.ThreadPoolExecutor(1) as other:
        with pytest.raises(RuntimeError, match="main thread"):
            other.submit(snakepitd.grpc.serve, [], address="127.0.0.1:0").result()


def test_add_only_registers() -> None:
    registrar = _Registrar(None, set())
    with pytest.raises(RuntimeError, match="listens on 127.0.0.1:0 itself"):
        registrar.add_insecure_port("127.0.0.1:0")
    with pytest.raises(RuntimeError, match="listens on 127.0.0.1:0 itself"):
        registrar.add_secure_port("127.0.0.1:0", None)
    with pytest.raises(RuntimeError, match="starts the server itself"):
        registrar.start()
    with pytest.raises(RuntimeError, match="stops the server itself"):
        registrar.stop(None)
    with pytest.raises(RuntimeError, match="waits for the end itself"):
        registrar.wait_for_termination()

"""grpc.health.v1 as a client sees it, and its hand-written messages."""

from pathlib import Path

import grpc
import pytest
from conftest import PATIENCE, Launch, release

from snakepitd.grpc._health import decode_request

SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def test_check(launch: Launch) -> None:
    worker = launch().connect()
    for service in (b"", b"test.v1.Test", b"test.v1.Other"):
        assert worker.check(service)[0] == SERVING
    with pytest.raises(grpc.RpcError) as unknown:
        worker.check(b"test.v1.Nothing")
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


def test_check_never_queues_behind_calls(launch: Launch, fifo: Path) -> None:
    worker = launch(concurrency=1).connect()
    held = [worker.hold("c%d" % i, fifo) for i in range(20)]
    assert worker.check(timeout=10)[0] == SERVING
    for call in held:
        call.cancel()


def test_many_watchers_never_hold_a_check_up(launch: Launch) -> None:
    worker = launch(concurrency=1).connect()
    watch = worker.channel.unary_stream("/grpc.health.v1.Health/Watch")
    watches = [watch(b"", timeout=PATIENCE) for _ in range(20)]
    for watching in watches:
        assert next(watching) == SERVING
    assert worker.check(timeout=10)[0] == SERVING
    assert worker.unary("Echo")(b"hi", timeout=10) == b"hi"
    for watching in watches:
        watching.cancel()


def test_watch_ends_with_the_worker(launch: Launch) -> None:
    worker = launch(stop_timeout=PATIENCE).connect()
    watch = worker.channel.unary_stream("/grpc.health.v1.Health/Watch")
    known = watch(b"\x0a\x0ctest.v1.Test", timeout=PATIENCE)
    unknown = watch(b"\x0a\x01x", timeout=PATIENCE)
    assert next(known) == SERVING
    assert next(unknown) == SERVICE_UNKNOWN
    worker.terminate()
    assert next(known) == NOT_SERVING
    for watching in (known, unknown):
        with pytest.raises(grpc.RpcError) as ended:
            for _ in watching:
                pass
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    assert worker.end()[0] == 0  # long before stop_timeout


def test_health_passes_no_interceptor_of_the_worker(launch: Launch) -> None:
    worker = launch(refuse=True).connect()
    assert worker.check()[0] == SERVING
    with pytest.raises(grpc.RpcError) as refused:
        worker.unary("Echo")(b"")
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_the_workers_own_health_is_left_to_it(launch: Launch) -> None:
    assert launch(own_health=True).connect().check()[0] == b"own"


def test_a_malformed_request_is_an_error(launch: Launch) -> None:
    worker = launch().connect()
    check = worker.channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.RpcError) as malformed:
        check(b"\x0a\x05x", timeout=PATIENCE)
    assert malformed.value.code() == grpc.StatusCode.INTERNAL
    assert worker.check()[0] == SERVING


@pytest.mark.parametrize(
    "data, service",
    [
        (b"", ""),
        (b"\x0a\x00", ""),
        (b"\x0a\x03a.b", "a.b"),
        (b"\x0a\x01a\x0a\x01b", "b"),  # the last one counts
        (b"\x10\xff\x01\x0a\x01a", "a"),  # an unknown number
        (b"\x12\x02zz\x0a\x01a", "a"),  # unknown bytes
        (b"\x19" + 8 * b"z" + b"\x0a\x01a", "a"),
        (b"\x1d" + 4 * b"z" + b"\x0a\x01a", "a"),
        (b"\x0a\x80\x01" + 128 * b"s", 128 * "s"),
    ],
)
def test_decode(data: bytes, service: str) -> None:
    assert decode_request(data) == service


@pytest.mark.parametrize(
    "data",
    [b"\x0a", b"\x0a\x02x", b"\x0b", b"\x1d\x00", b"\x0a\x01\xff", 11 * b"\xff"],
)
def test_decode_malformed(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_request(data)


def test_what_debian_writes_is_read() -> None:
    """Against protobuf itself, with a message of the same shape."""
    wrappers = pytest.importorskip("google.protobuf.wrappers_pb2")
    message = wrappers.StringValue(value="textpool.v1.Text")
    assert decode_request(message.SerializeToString()) == "textpool.v1.Text"


def test_held_call_survives_checks(launch: Launch, fifo: Path) -> None:
    worker = launch().connect()
    call = worker.hold("c1", fifo)
    call.initial_metadata()
    for _ in range(50):
        assert worker.check()[0] == SERVING
    release(fifo)
    assert list(call) == [b"held"]

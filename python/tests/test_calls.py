"""What a worker reports about its calls, and how many it runs at a time."""

import os
import queue
from pathlib import Path
from typing import Any, Dict

import grpc
import pytest
from conftest import PATIENCE, Launch, Worker, release

SERVING = b"\x08\x01"


def over(call: str) -> Dict[str, str]:
    return {"X_SNAKEPIT_CALL_OVER": call}


def metadata(call: str, fifo: Path) -> Any:
    return (("snakepit-call", call), ("fifo", str(fifo)))


def assert_silent(worker: Worker) -> None:
    """Nothing was sent before the mark."""
    worker.unary("Mark")(b"", timeout=PATIENCE)
    assert worker.notify.receive() == {"STATUS": "mark"}


def test_ready_says_that_calls_are_reported(launch: Launch) -> None:
    worker = launch().connect()
    assert worker.ready == {
        "READY": "1",
        "STATUS": "serving on " + worker.address,
        "X_SNAKEPIT_SDK": "1",
    }


def test_undisturbed_calls_of_all_kinds_send_nothing(launch: Launch) -> None:
    worker = launch().connect()
    given: Dict[str, Any] = {
        "timeout": PATIENCE,
        "metadata": (("snakepit-call", "c1"),),
    }
    channel = worker.channel
    assert worker.unary("Echo")(b"hi", **given) == b"hi"
    flow = channel.unary_stream("/test.v1.Test/Flow")
    assert list(flow(b"3", **given)) == [b"0", b"1", b"2"]
    gather = channel.stream_unary("/test.v1.Test/Gather")
    assert gather(iter([b"a", b"b"]), **given) == b"ab"
    chat = channel.stream_stream("/test.v1.Test/Chat")
    assert list(chat(iter([b"a", b"b"]), **given)) == [b"a", b"b"]
    with pytest.raises(grpc.RpcError) as failed:
        worker.unary("Fail")(b"", **given)
    assert failed.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.RpcError) as unknown:
        worker.unary("Nothing")(b"", **given)
    assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert_silent(worker)


def test_cancelled_unary(launch: Launch, fifo: Path) -> None:
    worker = launch().connect()
    call = worker.hold("c1", fifo)
    assert call.initial_metadata()[0] == ("started", "1")
    call.cancel()
    assert worker.notify.receive() == {"STATUS": "left c1"}
    release(fifo)  # nothing was sent before: the handler still ran
    assert worker.notify.receive() == over("c1")
    assert_silent(worker)


def test_deadline_passed(launch: Launch, fifo: Path) -> None:
    worker = launch().connect()
    call = worker.hold("c1", fifo, timeout=1)
    assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert worker.notify.receive() == {"STATUS": "left c1"}
    release(fifo)
    assert worker.notify.receive() == over("c1")


def test_a_call_that_is_not_the_daemons_is_not_reported(
    launch: Launch, fifo: Path
) -> None:
    worker = launch().connect()
    hold = worker.channel.unary_stream("/test.v1.Test/Hold")
    call = hold(b"", timeout=PATIENCE, metadata=(("fifo", str(fifo)),))
    call.initial_metadata()
    call.cancel()
    assert worker.notify.receive() == {"STATUS": "left"}
    release(fifo)
    assert_silent(worker)


def test_cancelled_generator_is_closed_before_its_end_is_reported(
    launch: Launch, fifo: Path
) -> None:
    worker = launch().connect()
    flow = worker.channel.unary_stream("/test.v1.Test/Flow")
    call = flow(b"1000000000", metadata=metadata("c1", fifo))
    assert next(call) == b"0"
    call.cancel()
    assert worker.notify.receive() == {"STATUS": "left c1"}
    release(fifo)  # its finally block waits for this
    assert worker.notify.receive() == over("c1")
    assert_silent(worker)


@pytest.mark.parametrize("kind", ["Gather", "Chat"])
def test_cancelled_while_it_reads_requests(
    kind: str, launch: Launch, fifo: Path
) -> None:
    worker = launch().connect()
    requests = Requests()
    given = metadata("c1", fifo)
    if kind == "Gather":
        call = worker.channel.stream_unary("/test.v1.Test/Gather").future(
            requests, metadata=given
        )
        call.initial_metadata()
    else:
        call = worker.channel.stream_stream("/test.v1.Test/Chat")(
            requests, metadata=given
        )
        assert next(call) == b"a"
    call.cancel()
    assert worker.notify.receive() == {"STATUS": "left c1"}
    release(fifo)
    assert worker.notify.receive() == over("c1")
    requests.end()
    assert_silent(worker)


def test_cancelled_before_its_handler_began(launch: Launch, fifo: Path) -> None:
    worker = launch(concurrency=1).connect()
    first = worker.hold("c1", fifo)
    first.initial_metadata()
    second = worker.hold("c2", fifo)
    assert worker.check()[0] == SERVING  # so the second has arrived
    second.cancel()
    assert worker.check()[0] == SERVING  # so its cancellation has, too
    release(fifo)
    assert list(first) == [b"held"]
    assert worker.notify.receive() == over("c2")
    assert_silent(worker)


def test_running_counts_the_others(launch: Launch, tmp_path: Path) -> None:
    worker = launch(concurrency=2).connect()
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        os.mkfifo(path)
    held = [worker.hold("c%d" % i, path) for i, path in enumerate(paths)]
    for call in held:
        call.initial_metadata()
    held[0].cancel()
    assert worker.notify.receive() == {"STATUS": "left c0"}
    release(paths[0])
    assert worker.notify.receive() == over("c0")
    release(paths[1])
    assert list(held[1]) == [b"held"]
    assert_silent(worker)


def test_asked_whether_a_call_runs(launch: Launch, fifo: Path) -> None:
    worker = launch().connect()

    def runs(call: str) -> str:
        _, check = worker.check(metadata=(("snakepit-call", call),))
        return str(dict(check.trailing_metadata())["snakepit-running"])

    call = worker.hold("c1", fifo)
    call.initial_metadata()
    assert runs("c2") == "0"
    assert runs("c1") == "1"
    release(fifo)
    assert list(call) == [b"held"]
    # Promised by the answer "1", although nothing disturbed the call.
    assert worker.notify.receive() == over("c1")
    assert runs("c1") == "0"
    assert_silent(worker)


def test_concurrency_is_kept_to(launch: Launch, tmp_path: Path) -> None:
    worker = launch(env={"SNAKEPIT_CONCURRENCY": "2"}, concurrency=7).connect()
    paths = [tmp_path / str(i) for i in range(3)]
    for path in paths:
        os.mkfifo(path)
    held = [worker.hold("c0", paths[0])]
    held[0].initial_metadata()
    held.append(worker.hold("c1", paths[1]))
    held[1].initial_metadata()
    held.append(worker.hold("c2", paths[2]))
    assert worker.check()[0] == SERVING  # so the third has arrived
    for call, path in zip(held, paths):
        release(path)
        assert list(call) == [b"held"]
    assert worker.unary("Mark")(b"") == b"2"


def test_largest_message(launch: Launch) -> None:
    worker = launch(env={"SNAKEPIT_MAX_MESSAGE": "1000"}).connect()
    assert len(worker.unary("Echo")(b"x" * 1000)) == 1000
    with pytest.raises(grpc.RpcError) as received:
        worker.unary("Echo")(b"x" * 1001)
    assert received.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1001 vs. 1000" in received.value.details()
    with pytest.raises(grpc.RpcError) as sent:
        worker.unary("Repeat")(b"1001")
    assert sent.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_64_mib_pass_by_default(launch: Launch) -> None:
    worker = launch().connect()
    assert worker.unary("Echo")(b"x" * (5 << 20)) == b"x" * (5 << 20)


class Requests:
    """A stream of one request that stays open until end()."""

    def __init__(self) -> None:
        self._queue: "queue.SimpleQueue[bytes | None]" = queue.SimpleQueue()
        self._queue.put(b"a")

    def __iter__(self) -> "Requests":
        return self

    def __next__(self) -> bytes:
        request = self._queue.get()
        if request is None:
            raise StopIteration
        return request

    def end(self) -> None:
        self._queue.put(None)

"""The example pool's worker, and that its generated code is fresh."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import grpc
import pytest
from conftest import PATIENCE, PYTHON, NotifySocket, environment

import analysis
import text_pb2
import text_pb2_grpc

EXAMPLE = PYTHON / "examples" / "text"
LICENCES = Path("/usr/share/common-licenses")

# What the committed code was made with; other versions write it differently.
PROTOC = "libprotoc 3.21.12"


@pytest.fixture
def channel(tmp_path: Path, notify_socket: NotifySocket) -> Iterator[Any]:
    address = "unix:%s" % (tmp_path / "text.sock")
    worker = subprocess.Popen(
        [sys.executable, "server.py"],
        cwd=EXAMPLE,
        env=environment(
            SNAKEPIT_ADDRESS=address,
            SNAKEPIT_WORKER="text-0-7",
            NOTIFY_SOCKET=notify_socket.path,
        ),
    )
    try:
        assert notify_socket.receive()["READY"] == "1"
        with grpc.insecure_channel(address) as opened:
            yield opened
        worker.terminate()
        assert worker.wait(PATIENCE) == 0
    finally:
        worker.kill()
        worker.wait()


def test_analyze(channel: Any) -> None:
    text = "The cat sat on the mat. The cat is warm! Is the mat it sat on?"
    request = text_pb2.AnalyzeRequest(name="cat", text=text, id="r1")
    reply = text_pb2_grpc.TextStub(channel).Analyze(request, timeout=PATIENCE)
    assert (reply.name, reply.id, reply.worker) == ("cat", "r1", "text-0-7")
    assert (reply.words, reply.sentences, reply.unique_words) == (16, 3, 8)
    assert [(top.word, top.count) for top in reply.top_words] == [
        ("cat", 2),
        ("mat", 2),
        ("sat", 2),
        ("warm", 1),
    ]
    assert (reply.language, reply.licence) == ("en", "")
    assert reply.pid > 0


def test_streams(channel: Any) -> None:
    stub = text_pb2_grpc.TextStub(channel)
    words = stub.Words(text_pb2.WordsRequest(text="Don't panic, Zoë", id="r1"))
    assert [(w.position, w.word, w.id) for w in words] == [
        (0, "Don't", "r1"),
        (1, "panic", "r1"),
        (2, "Zoë", "r1"),
    ]
    chunks = [
        text_pb2.Chunk(text="one two ", id="r1"),
        text_pb2.Chunk(text="three", id="r2"),
    ]
    count = stub.Count(iter(chunks))
    assert (count.chunks, count.words, count.characters, count.id) == (2, 3, 13, "r2")
    upper = stub.Upper(iter(chunks))
    assert [(c.text, c.id) for c in upper] == [("ONE TWO ", "r1"), ("THREE", "r2")]


def test_nap_with_a_grandchild(channel: Any) -> None:
    # As a stream: see Worker.hold.
    nap = channel.unary_stream(
        "/textpool.v1.Text/Nap",
        request_serializer=text_pb2.NapRequest.SerializeToString,
        response_deserializer=text_pb2.NapReply.FromString,
    )
    call = nap(text_pb2.NapRequest(seconds=3600, spawn_grandchild=True, id="r1"))
    first = dict(call.initial_metadata())  # comes while it sleeps
    grandchild = int(first["grandchild-pid"])
    worker = int(first["worker-pid"])
    try:
        assert first["worker"] == "text-0-7"
        assert Path("/proc/%d/comm" % grandchild).read_text() == "sleep\n"
        assert os.getsid(grandchild) != os.getsid(worker)
        assert os.getpgid(grandchild) != os.getpgid(worker)
        parent = Path("/proc/%d/stat" % grandchild).read_text().split()[3]
        assert int(parent) != worker
    finally:
        os.kill(grandchild, signal.SIGKILL)
    call.cancel()  # wakes it: the fixture's stop does not have to wait


@pytest.mark.skipif(not LICENCES.is_dir(), reason="no %s" % LICENCES)
def test_every_licence_is_recognised() -> None:
    families = {"Apache-2.0": "Apache", "CC0-1.0": "CC0"}
    for path in sorted(LICENCES.iterdir()):
        found = analysis.analyze(path.read_text(errors="replace"))
        family = families.get(path.name, path.name.split("-")[0])
        assert found.language == "en", path
        assert found.licence == family, path


@pytest.mark.parametrize(
    "text, language",
    [
        ("", ""),
        ("1 2 3", ""),
        ("xyzzy plugh", ""),
        ("Der Hund ist nicht auf dem Dach, und das ist gut.", "de"),
        ("Le chat est dans la maison et il ne sort pas.", "fr"),
        ("El perro no es de la casa, es del vecino.", "es"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert analysis.analyze(text).language == language


def test_nothing_is_analyzed_as_nothing() -> None:
    assert analysis.analyze("") == (0, 0, 0, [], 0.0, "", "")


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    for tool in ("protoc", "grpc_python_plugin"):
        if shutil.which(tool) is None:
            pytest.skip("no %s: apt-get install protobuf-compiler-grpc" % tool)
    version = subprocess.check_output(["protoc", "--version"], text=True).strip()
    if version != PROTOC:
        pytest.skip("%s here, the code is of %s" % (version, PROTOC))
    subprocess.run([str(EXAMPLE / "generate.sh"), str(tmp_path)], check=True)
    for name in ("text_pb2.py", "text_pb2_grpc.py"):
        fresh = (tmp_path / name).read_text()
        assert fresh == (EXAMPLE / name).read_text(), "run examples/text/generate.sh"

"""The example worker: the Text service of text.proto.

By hand:   PYTHONPATH=../.. python3 server.py --port 50051
In a pool: pool.toml beside this file.
"""

import argparse
import os
import subprocess
import threading
import time
from typing import Any, Iterator

import snakepitd.grpc

import analysis
import text_pb2
import text_pb2_grpc

WORKER = os.environ.get("SNAKEPIT_WORKER", "")


class Text(text_pb2_grpc.TextServicer):
    def Analyze(self, request: Any, context: Any) -> Any:
        found = analysis.analyze(request.text)
        return text_pb2.AnalyzeReply(
            name=request.name,
            id=request.id,
            words=found.words,
            sentences=found.sentences,
            unique_words=found.unique_words,
            top_words=[
                text_pb2.WordCount(word=word, count=count)
                for word, count in found.top_words
            ],
            reading_grade=found.reading_grade,
            language=found.language,
            licence=found.licence,
            worker=WORKER,
            pid=os.getpid(),
        )

    def Words(self, request: Any, context: Any) -> Iterator[Any]:
        for position, word in enumerate(analysis.words_of(request.text)):
            yield text_pb2.Word(word=word, position=position, id=request.id)

    def Count(self, chunks: Iterator[Any], context: Any) -> Any:
        reply = text_pb2.CountReply(worker=WORKER, pid=os.getpid())
        for chunk in chunks:
            reply.chunks += 1
            reply.words += len(analysis.words_of(chunk.text))
            reply.characters += len(chunk.text)
            reply.id = chunk.id
        return reply

    def Upper(self, chunks: Iterator[Any], context: Any) -> Iterator[Any]:
        for chunk in chunks:
            yield text_pb2.Chunk(text=chunk.text.upper(), id=chunk.id)

    def Nap(self, request: Any, context: Any) -> Any:
        grandchild = start_grandchild() if request.spawn_grandchild else 0
        # Before the nap: who calls may want to know whom to kill during it.
        first = [("worker", WORKER), ("worker-pid", str(os.getpid()))]
        if grandchild:
            first.append(("grandchild-pid", str(grandchild)))
        context.send_initial_metadata(first)
        begin = time.monotonic()
        woken = threading.Event()
        # add_callback says False when the caller has left already.
        if not request.stubborn and not context.add_callback(woken.set):
            woken.set()
        woken.wait(request.seconds)
        return text_pb2.NapReply(
            id=request.id,
            slept=time.monotonic() - begin,
            worker=WORKER,
            pid=os.getpid(),
            grandchild_pid=grandchild,
        )


def start_grandchild() -> int:
    """Start a process that has left our session and process group, and whose
    parent has gone: the kind that outlives its worker unless somebody looks."""
    shell = subprocess.run(
        ["/bin/sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        check=True,
    )
    return int(shell.stdout)


def add(server: Any) -> None:
    text_pb2_grpc.add_TextServicer_to_server(Text(), server)


def main() -> None:
    parser = argparse.ArgumentParser(description="the example worker of snakepitd")
    parser.add_argument("--port", type=int, default=50051)
    port = parser.parse_args().port
    # In a pool SNAKEPIT_ADDRESS counts, which has the same port.
    snakepitd.grpc.serve(add, address="127.0.0.1:%d" % port)


if __name__ == "__main__":
    main()

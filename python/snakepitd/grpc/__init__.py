"""Run an ordinary grpcio server as a worker of snakepitd.

::

    import snakepitd.grpc

    def add(server):
        text_pb2_grpc.add_TextServicer_to_server(Text(), server)

    snakepitd.grpc.serve(add, address="127.0.0.1:50051")

In a pool the daemon says where to listen and how many calls to run at a time;
the arguments are what holds without a daemon.
"""

from snakepitd.grpc._serve import serve

__all__ = ["serve"]

"""Why an address cannot be listened on, in words.

grpcio only says "failed to bind", after several lines of its own; and it takes
over a Unix socket that another process serves without a word.
"""

import os
import socket
import stat
from typing import Optional

# sizeof(sockaddr_un.sun_path) less the final zero byte.
_LONGEST_PATH = 107


def obstacle(address: str) -> Optional[str]:
    """The reason that nobody can listen on address now, None if there is none.

    Nothing is left behind, and nothing ever listens: a caller that waits for
    the port must not meet this look.
    """
    if address.startswith("unix:"):
        return _unix_obstacle(address[len("unix:") :])
    if address.startswith("unix-abstract:"):
        return "abstract sockets have no file permissions; use unix:PATH"
    return _tcp_obstacle(address)


def _unix_obstacle(path: str) -> Optional[str]:
    if path.startswith("//"):  # unix:///path is the same as unix:/path
        path = path[2:]
    if len(os.fsencode(path)) > _LONGEST_PATH:
        return "the path is longer than %d bytes" % _LONGEST_PATH
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        return "no such directory: %s" % folder
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        writable = os.access(folder, os.W_OK | os.X_OK)
        return None if writable else "the directory is not writable"
    except OSError as error:
        return _words(error)
    if not stat.S_ISSOCK(mode):
        return "a file that is not a socket is in the way"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as look:
        look.setblocking(False)
        try:
            look.connect(path)
        except BlockingIOError:
            pass  # its backlog is full: somebody listens
        except OSError:
            return None  # left by a process that has gone: grpcio replaces it
    return "another process listens there"


def _tcp_obstacle(address: str) -> Optional[str]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        return "not HOST:PORT or unix:PATH"
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM
        )
        for family, kind, protocol, _, where in found:
            with socket.socket(family, kind, protocol) as look:
                # As grpcio binds, so that closed connections of a former
                # incarnation (TIME_WAIT) are no obstacle.
                look.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                look.bind(where)
    except OSError as error:
        return _words(error)
    return None


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()

package registry

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Probe tells whether a server could listen on 127.0.0.1:port now; nil means free.
//
// It binds as a server would, with SO_REUSEADDR, so that connections in TIME_WAIT of a
// server that set it too do not count, and without SO_REUSEPORT, with which the port
// of a like-minded server (grpcio's default) would look free. It listens too, because
// a bind alone succeeds beside another that does not listen yet. A server on the
// wildcard address, IPv4 or both, holds the port as well. net.Listen would do nearly
// the same, but over Multipath TCP and with GODEBUG's say in it.
func Probe(port int) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("cannot probe port %d: not in 1-65535", port)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot probe port %d: %w", port, err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("cannot probe port %d: %w", port, err)
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		return fmt.Errorf("cannot listen on port %d: %w", port, err)
	}
	return nil
}

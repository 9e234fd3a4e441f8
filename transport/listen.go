package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// maxSocketPath is what fits into sockaddr_un with its final zero, in bytes.
const maxSocketPath = 107

// Listen listens on unix:PATH or on HOST:PORT (tcp: may stand before it), which
// must be loopback: callers are not authenticated. A socket gets mode 0660; the
// file of a dead daemon is replaced, a live one is an error.
func Listen(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		where := strings.TrimPrefix(address, "tcp:")
		if err := checkLoopback(where); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
		}
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", where)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
		}
		return l, nil
	}
	l, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	return l, nil
}

func listenUnix(path string) (net.Listener, error) {
	if err := checkSocketPath(path); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes the socket of a daemon that is gone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is not a socket")
	}
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "unix", path)
	if err == nil {
		conn.Close()
		return errors.New("another daemon is listening there")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

func checkSocketPath(path string) error {
	if path == "" {
		return errors.New("the path of the socket is empty")
	}
	if len(path) > maxSocketPath {
		return fmt.Errorf("the path of the socket has %d bytes, at most %d are possible: %s", len(path), maxSocketPath, path)
	}
	return nil
}

func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%q is not a loopback address", host)
}

// DialControl prepares a connection to a daemon (unix:PATH or loopback HOST:PORT);
// nothing is dialled before the first call.
func DialControl(address string) (*grpc.ClientConn, error) {
	network, where, err := splitAddress(address)
	if err != nil {
		return nil, fmt.Errorf("cannot use the address %s: %w", address, err)
	}
	conn, err := grpc.NewClient("passthrough:///snakepitd",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithAuthority("localhost"),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, where)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("cannot use the address %s: %w", address, err)
	}
	return conn, nil
}

package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// listen returns a listener with socket options of its own, and its port.
func listen(t *testing.T, network, address string, options ...int) (net.Listener, int) {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			for _, option := range options {
				if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 1); err != nil {
					t.Errorf("cannot set option %d: %v", option, err)
				}
			}
		})
	}}
	l, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		t.Skipf("cannot listen on %s %s: %v", network, address, err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

func TestProbeSeesListeners(t *testing.T) {
	for _, c := range []struct {
		name, network, address string
		options                []int
	}{
		{"loopback", "tcp4", "127.0.0.1:0", nil},
		{"SO_REUSEPORT, as grpcio's", "tcp4", "127.0.0.1:0", []int{unix.SO_REUSEPORT}},
		{"a stranger's on all IPv4", "tcp4", "0.0.0.0:0", nil},
		{"a stranger's on all IPv4 with SO_REUSEPORT", "tcp4", "0.0.0.0:0", []int{unix.SO_REUSEPORT}},
		{"a stranger's on everything", "tcp", "[::]:0", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, port := listen(t, c.network, c.address, c.options...)
			if err := Probe(port); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("Probe(%d) = %v; want EADDRINUSE", port, err)
			}
			l.Close()
			if err := Probe(port); err != nil {
				t.Errorf("after the listener: %v", err)
			}
			if err := Probe(port); err != nil {
				t.Errorf("the probe itself left the port busy: %v", err)
			}
		})
	}
}

func TestProbeIgnoresTimeWait(t *testing.T) {
	l, port := listen(t, "tcp4", "127.0.0.1:0")
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server.Close() // the side that closes first keeps TIME_WAIT
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("Read = %v; want EOF", err)
	}
	client.Close()
	l.Close()

	if err := plainBind(port); !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("a plain bind says %v: there is no TIME_WAIT to test with", err)
	}
	if err := Probe(port); err != nil {
		t.Error(err)
	}
}

func plainBind(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

func TestProbeRefusesWhatIsNoPort(t *testing.T) {
	for _, port := range []int{-1, 0, 65536, 1 << 20} {
		if Probe(port) == nil {
			t.Error("free: port " + strconv.Itoa(port))
		}
	}
}

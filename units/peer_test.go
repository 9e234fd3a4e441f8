package units

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serveScript listens as its arguments say and accepts.
const serveScript = `
import socket, sys
kind, where = sys.argv[1], sys.argv[2]
if kind == "v4":
    s = socket.socket(); s.bind(("127.0.0.1", 0)); at = s.getsockname()[1]
elif kind == "mapped":
    s = socket.socket(socket.AF_INET6); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::ffff:127.0.0.1", 0)); at = s.getsockname()[1]
else:
    s = socket.socket(socket.AF_UNIX); s.bind(where); at = 0
s.listen()
print(at, flush=True)
keep = []
while kind != "deaf":
    keep.append(s.accept())
`

func TestOwnsConn(t *testing.T) {
	inModes(t, func(t *testing.T, d *Direct) {
		for _, kind := range []string{"v4", "mapped", "unix"} {
			t.Run(kind, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "s")
				run := func(name string) (*Process, net.Conn) {
					p, l := opened(t, d, spec(name, d.runID, python, "-c", serveScript, kind, path))
					network, addr := "tcp", fmt.Sprintf("127.0.0.1:%d", l.pid(t))
					if kind == "unix" {
						network, addr = "unix", path
						path += "x"
					}
					c, err := net.Dial(network, addr)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = c.Close() })
					return p, c
				}
				one, toOne := run("text-0-1")
				two, toTwo := run("text-1-1")
				for p, c := range map[*Process]net.Conn{one: toOne, two: toTwo} {
					if err := p.OwnsConn(c); err != nil {
						t.Error(err)
					}
				}
				err := one.OwnsConn(toTwo)
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("belongs to process %d python3", two.id.pid)) {
					t.Errorf("the other worker's connection: %v", err)
				}
			})
		}
		t.Run("stranger", func(t *testing.T) {
			p, _ := opened(t, d, spec("text-0-1", d.runID, "/bin/sleep", "1000"))
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if err := p.OwnsConn(c); err == nil || !strings.Contains(err.Error(), "has not accepted it") {
				t.Errorf("not accepted: %v", err)
			}
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			if err := p.OwnsConn(c); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("belongs to process %d", os.Getpid())) {
				t.Errorf("a stranger's: %v", err)
			}
		})
	})
}

// Where descriptors may not be read, the socket's cgroup decides.
func TestOwnsConnByCGroup(t *testing.T) {
	d := direct(t, "auto")
	for _, kind := range []string{"v4", "mapped"} {
		one, l := opened(t, d, spec("text-0-"+kind, d.runID, python, "-c", serveScript, kind, ""))
		two, _ := opened(t, d, spec("text-1-"+kind, d.runID, "/bin/sleep", "1000"))
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", l.pid(t)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		server, client := c.RemoteAddr().(*net.TCPAddr).AddrPort(), c.LocalAddr().(*net.TCPAddr).AddrPort()
		if err := one.checkHidden(server, client); err != nil {
			t.Error(err)
		}
		if err := two.checkHidden(server, client); err == nil || !strings.Contains(err.Error(), "another cgroup") {
			t.Error(err)
		}
	}
}

func TestParseHexAddr(t *testing.T) {
	for in, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"0000000000000000FFFF00000100007F:0050": "127.0.0.1:80",
		"00000000000000000000000001000000:0050": "[::1]:80",
		"zz:1":                                  "",
	} {
		a, ok := parseHexAddr(in)
		if ok != (want != "") || ok && a.String() != want {
			t.Errorf("%s: %v %v", in, a, ok)
		}
	}
}

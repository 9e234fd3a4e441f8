package units

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNotifySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	var log Tail
	n, err := ListenNotify(path, testLog(&log))
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", st, err)
	}
	got, done := make(chan Message, 10), make(chan error, 1)
	go func() { done <- n.Serve(func(m Message) { got <- m }) }()
	c, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"garbage", strings.Repeat("A=1\n", 2000), "\xff=1", "=x", "READY=1\nSTATUS=a=b\n"} {
		if _, err := c.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
	want := Message{PID: os.Getpid(), UID: os.Getuid(), Fields: map[string]string{"READY": "1", "STATUS": "a=b"}}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Error(diff)
	}
	// A worker's datagram has the worker's pid.
	d := direct(t, "off")
	s := spec("text-0-1", d.runID, python, "-c", `
import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])`)
	s.Env = append(s.Env, "NOTIFY_SOCKET="+path)
	p, _ := opened(t, d, s)
	if m := <-got; m.PID != p.id.pid || m.Fields["READY"] != "1" {
		t.Errorf("%+v", m)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "notification dropped") {
		t.Error("no warning")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket file is left")
	}
	long := "/" + strings.Repeat("x", 107)
	if _, err := ListenNotify(long, nil); err == nil || !strings.Contains(err.Error(), "at most 107 bytes") {
		t.Error(err)
	}
}

func FuzzNotify(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=x=y"))
	f.Add([]byte("\n\n=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, err := parseNotify(b)
		if (err == nil) != (len(fields) > 0) {
			t.Errorf("%q: %v, %v", b, fields, err)
		}
		for k := range fields {
			if k == "" || strings.ContainsAny(k, "=\n") {
				t.Errorf("%q: key %q", b, k)
			}
		}
	})
}

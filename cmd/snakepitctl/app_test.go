package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

func testWorld(stdout, stderr io.Writer) world {
	return world{
		stdin: strings.NewReader(""), stdout: stdout, stderr: stderr, uid: 1000,
		getenv: func(string) string { return "" }, now: clock,
	}
}

// TestFollowEndsByInterrupt: Ctrl-C is how following ends, not a failure.
func TestFollowEndsByInterrupt(t *testing.T) {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	fake := &fakeControl{following: make(chan struct{}, 1)}
	s := grpc.NewServer()
	pb.RegisterControlServer(s, fake)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() { s.Stop(); <-served }()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"events", "-f", "--control", "unix:" + socket}, testWorld(&stdout, &stderr))
	}()
	select {
	case <-fake.following:
	case c := <-code:
		t.Fatalf("ended with %d: %s", c, &stderr)
	}
	cancel()
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d: %s", c, &stderr)
	}
}

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	var stderr bytes.Buffer
	if c := run(t.Context(), []string{"version"}, testWorld(full, &stderr)); c != exitFailed || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("exit code %d: %s", c, &stderr)
	}
}

func TestPermissionHint(t *testing.T) {
	err := fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
	f := unreachable("snakepitd", "unix:/x", "--control", err)
	if f.exit != exitNoDaemon || !strings.Contains(f.hint, "group") || !errors.Is(f, syscall.EACCES) {
		t.Errorf("%d %v, hint %q", f.exit, f, f.hint)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0ms", 90 * time.Millisecond: "90ms", time.Second: "1s", 61 * time.Second: "1min 1s",
		time.Hour: "1h", 25 * time.Hour: "1d 1h", 24*time.Hour + time.Minute: "1d",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestDefaultControl(t *testing.T) {
	root := &app{}
	root.getenv = func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": "/run/user/0"}[name] }
	if a, err := root.controlAddress(); err != nil || a.String() != "unix:/run/snakepit/control.sock" {
		t.Errorf("root: %v, %v", a, err)
	}
	root.uid = 1000
	if a, err := root.controlAddress(); err != nil || a.String() != "unix:/run/user/0/snakepit/control.sock" {
		t.Errorf("user: %v, %v", a, err)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31m\xff\u009b\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range clean(s) {
			if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
				t.Fatalf("%q keeps %q", s, r)
			}
		}
	})
}

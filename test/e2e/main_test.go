// Package e2e runs the real daemon with real Python workers, as a user would.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/snakepitd/snakepitd/test/daemontest"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// bin is where TestMain built the programs.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if out, err := exec.Command(daemontest.Python, "-c", "import grpc, google.protobuf").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			fmt.Printf("%s cannot import grpc and protobuf: %s\n", daemontest.Python, out)
			return 1
		}
		fmt.Printf("SKIP: type `sudo apt-get install python3-grpcio python3-protobuf`: %s\n", out)
		return 0
	}
	dir, err := os.MkdirTemp("", "snakepitd-e2e-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir, "./cmd/...")
	build.Dir = repo()
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("cannot build: %v\n%s", err, out)
		return 1
	}
	bin = dir
	return m.Run()
}

// repo is the root of the checkout.
func repo() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// long says whether the long tests run (make test-all).
func long() bool { return os.Getenv("SNAKEPIT_LONG") != "" }

// start runs a daemon for one test. When the test ends the daemon is stopped, and
// nothing of it may be left.
func start(t *testing.T, conf string) *daemontest.Daemon {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d, err := daemontest.Start(ctx, bin, shortDir(t), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop(t, d)
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", d.Log)
		}
	})
	return d
}

// shortDir is a temporary directory whose path leaves room for socket names.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spit")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func stop(t *testing.T, d *daemontest.Daemon) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := d.Stop(ctx); err != nil && !strings.Contains(err.Error(), "already") {
		t.Errorf("stop: %v", err)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, d *daemontest.Daemon) *grpc.ClientConn {
	t.Helper()
	conn, err := d.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func awaitPool(t *testing.T, d *daemontest.Daemon, name string, fits func(*snakepitv1.Pool) bool) *snakepitv1.Pool {
	t.Helper()
	p, err := d.AwaitPool(within(t, 60*time.Second), name, fits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reason is the ErrorInfo reason of an error of ours; "" for anybody else's.
func reason(err error) string {
	if info := info(err); info != nil && info.GetDomain() == "snakepitd" {
		return info.GetReason()
	}
	return ""
}

func info(err error) *errdetails.ErrorInfo {
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i
		}
	}
	return nil
}

// alive says whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// eventually asks until it holds: for what no event tells.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		}
	}
}

package registry

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"
)

// childEnv tells the test binary that it is the other process of a test.
const childEnv = "REGISTRY_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "hold":
		holdChild(os.Args[1])
	case "full-disk":
		fullDiskChild(os.Args[1], mountTiny)
	case "file-limit":
		fullDiskChild(os.Args[1], limitFiles)
	}
}

func child(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, dir)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	return cmd
}

// holdChild opens dir, puts a record, says so, and stays until its input ends.
func holdChild(dir string) {
	r, err := Open(dir, "childrun", discard())
	if err == nil {
		err = r.Put(record(r.NextWorker("text", 0)))
	}
	fmt.Println("open", err)
	io.Copy(io.Discard, os.Stdin)
}

// holder starts holdChild and waits until it has the lock.
func holder(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := child(t, "hold", dir)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "open <nil>\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	return cmd
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func mustOpen(t testing.TB, dir string) *Registry {
	t.Helper()
	r, err := Open(dir, NewRunID(), discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func record(id WorkerID) Record {
	return Record{
		Worker: id, RunID: "abcdefgh", State: StateRunning, PID: 4711, StartTime: 99, CGroup: "/sys/fs/cgroup/x",
		Port: 21000, Created: time.Date(2026, time.March, 1, 2, 3, 4, 5, time.UTC),
	}
}

package units

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// gateEnv names a ready gate binary, for runs of the compiled test binary
// where there is no Go.
const (
	gateEnv   = "SNAKEPIT_TEST_GATE"
	helperEnv = "SNAKEPIT_TEST_HELPER"
	python    = "/usr/bin/python3"
	patience  = 20 * time.Second
)

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		daemonHelper()
		return
	}
	done := func() {}
	if os.Getenv(gateEnv) == "" {
		dir, err := os.MkdirTemp("", "units-test-")
		if err != nil {
			panic(err)
		}
		done = func() { _ = os.RemoveAll(dir) }
		gate := filepath.Join(dir, "snakepit-gate")
		build := exec.Command("go", "build", "-buildvcs=false", "-o", gate, "github.com/snakepitd/snakepitd/cmd/snakepit-gate")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			done()
			panic(fmt.Sprintf("cannot build the gate: %v\n%s", err, out))
		}
		_ = os.Setenv(gateEnv, gate)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		done()
		os.Exit(code)
	}))
}

// daemonHelper is a daemon that starts one worker, says its pids and waits to
// be killed.
func daemonHelper() {
	d, err := NewDirect(DirectOptions{Gate: os.Getenv(gateEnv), RunID: os.Getenv("HELPER_RUN"), CGroup: os.Getenv(helperEnv)})
	if err != nil {
		panic(err)
	}
	s := spec("text-0-1", d.runID, python, "-c", plantScript, "1", "marked")
	s.Output = os.Stdout
	p, err := d.Start(context.Background(), s)
	if err != nil {
		panic(err)
	}
	fmt.Printf("main %d %d %s\n", p.id.pid, p.id.start, p.Identity().CGroup)
	if err := p.Open(); err != nil {
		panic(err)
	}
	<-p.Exited()
}

// inModes runs a test with a cgroup and without.
func inModes(t *testing.T, f func(t *testing.T, d *Direct)) {
	for _, mode := range []string{"auto", "off"} {
		t.Run(mode, func(t *testing.T) { f(t, direct(t, mode)) })
	}
}

var runs int // tests of this package do not run in parallel

func direct(t testing.TB, mode string) *Direct {
	t.Helper()
	runs++
	d, err := NewDirect(DirectOptions{Gate: os.Getenv(gateEnv), Instance: "test", RunID: fmt.Sprintf("r%d-%d", os.Getpid(), runs), CGroup: mode})
	if err != nil {
		t.Fatal(err)
	}
	if mode == "auto" && !d.grouped {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		t.Log(d.noGroup)
		t.Skip("no writable cgroup here")
	}
	t.Cleanup(func() {
		if _, err := d.Orphans(within(t)); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(d.base.dir); d.grouped && err == nil {
			t.Errorf("cgroup %s is still there", d.base.dir)
		}
	})
	return d
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func spec(name, run, path string, args ...string) Spec {
	return Spec{
		Name: name, Path: path, Argv: append([]string{path}, args...), Umask: 0o22,
		Env: []string{"PATH=/usr/bin:/bin", envWorker + "=" + name, envRunID + "=" + run},
	}
}

// started gives a process that is held and that the test's end releases.
func started(t testing.TB, d *Direct, s Spec) *Process {
	t.Helper()
	p, err := d.Start(within(t), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := p.Release(within(t)); err != nil {
			t.Error(err)
		}
	})
	return p
}

func opened(t testing.TB, d *Direct, s Spec) (*Process, *lines) {
	t.Helper()
	l := newLines()
	t.Cleanup(func() { l.rest() }) // after Release, which started registers
	s.Output = l
	p := started(t, d, s)
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	return p, l
}

func await(t testing.TB, p *Process) Exit {
	t.Helper()
	select {
	case <-p.Exited():
		return p.Exit()
	case <-time.After(patience):
		t.Fatalf("process %d has not ended", p.id.pid)
		return Exit{}
	}
}

// lines is an Output whose lines a test awaits.
type lines struct {
	w  *io.PipeWriter
	ch chan string
}

func newLines() *lines {
	r, w := io.Pipe()
	l := &lines{w: w, ch: make(chan string, 1000)}
	go func() {
		defer close(l.ch)
		for s := bufio.NewScanner(r); s.Scan(); {
			l.ch <- s.Text()
		}
	}()
	return l
}

func (l *lines) Write(b []byte) (int, error) { return l.w.Write(b) }

// next awaits one line.
func (l *lines) next(t testing.TB) string {
	t.Helper()
	select {
	case s := <-l.ch:
		return s
	case <-time.After(patience):
		t.Fatal("no line of output")
		return ""
	}
}

func (l *lines) pid(t testing.TB) int {
	t.Helper()
	f := strings.Fields(l.next(t))
	n, err := strconv.Atoi(f[len(f)-1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// rest gives what comes after Release, when there is no more to come.
func (l *lines) rest() []string {
	_ = l.w.Close()
	var all []string
	for s := range l.ch {
		all = append(all, s)
	}
	return all
}

// awaitTrue polls where there is no event.
func awaitTrue(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !f() {
		select {
		case <-deadline:
			t.Fatal("not within the deadline: " + what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func alive(pid int) bool {
	s, err := readStat(pid)
	return err == nil && !s.dead()
}

// plantScript leaves double-forked session leaders and waits: its arguments are
// their number and "marked" or "bare" (with a cleared environment).
const plantScript = `
import os, signal, sys
env = dict(os.environ) if sys.argv[2] == "marked" else {}
for _ in range(int(sys.argv[1])):
    r, w = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.write(w, b"%d" % os.getpid())
            os.execve("/bin/sleep", ["sleep", "1000"], env)
        os._exit(0)
    os.wait()
    print("planted", os.read(r, 20).decode(), flush=True)
print("ready", flush=True)
signal.pause()
`

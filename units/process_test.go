package units

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestRunsExactlyTheSpec(t *testing.T) {
	inModes(t, func(t *testing.T, d *Direct) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s := spec("text-0-1", d.runID, python, "-c", `
import os, sys
print(os.getcwd()); print(oct(os.umask(0))); print(sys.argv[1:]); print(open("/proc/self/environ", "rb").read())
print(os.getsid(0) == os.getpid(), sorted(os.listdir("/proc/self/fd"))[:4])
print([l.split()[1] for l in open("/proc/self/status") if l.startswith("NoNewPrivs")])
sys.exit(3)`, "a b", "", "\xff")
		s.Env = []string{"B=\xfe", "A="}
		s.Dir, s.Umask = dir, 0o27
		p, l := opened(t, d, s)
		if got := await(t, p); got.Code != 3 || got.Signal != 0 || got.MaxRSS < 1<<20 || got.String() != "exit status 3" {
			t.Errorf("exit is %+v", got)
		}
		if left, err := p.Release(within(t)); left != 0 || err != nil {
			t.Errorf("Release: %d, %v", left, err)
		}
		want := []string{dir, "0o27", `['a b', '', '\udcff']`, `b'B=\xfe\x00A=\x00'`, "True ['0', '1', '2', '3']", "['1']"}
		if diff := cmp.Diff(want, l.rest()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestHeldGateShowsNothing(t *testing.T) {
	inModes(t, func(t *testing.T, d *Direct) {
		s := spec("text-0-1", d.runID, "/bin/sleep", "1000")
		s.Env = append(s.Env, "SECRET=hush")
		p := started(t, d, s)
		for _, f := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.id.pid, f))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), "hush") || strings.Contains(string(b), "sleep") {
				t.Errorf("%s of a held gate is %q", f, b)
			}
		}
		if i := p.Identity(); i.PID != p.id.pid || i.StartTime == 0 || d.grouped != (i.CGroup != "") {
			t.Errorf("identity is %+v", i)
		}
		if !p.Owns(p.id.pid) || p.Owns(os.Getpid()) || p.Owns(1) {
			t.Error("Owns is wrong about the main process, ourselves or init")
		}
	})
}

func TestHangUpRunsNothing(t *testing.T) {
	d := direct(t, "off")
	file := filepath.Join(t.TempDir(), "ran")
	p := started(t, d, spec("text-0-1", d.runID, "/bin/touch", file))
	if err := p.sock.Close(); err != nil {
		t.Fatal(err)
	}
	if e := await(t, p); e.Code != 125 {
		t.Errorf("exit is %s", e)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the program was run")
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return f
	}
	noInterp := write("nointerp", "#!/no/such\n", 0o755)
	noExec := write("noexec", "hello\n", 0o755)
	plain := write("plain", "", 0o644)
	missing := filepath.Join(dir, "missing")
	for path, want := range map[string]string{
		missing:  "cannot run " + missing + ": no such file or directory",
		noInterp: "cannot run " + noInterp + ": its interpreter (the #! line or the loader) does not exist: no such file or directory",
		noExec:   "cannot run " + noExec + ": exec format error (a script without a #! line?)",
		plain:    "cannot run " + plain + ": permission denied",
	} {
		inModes(t, func(t *testing.T, d *Direct) {
			p := started(t, d, spec("text-0-1", d.runID, path))
			if err := p.Open(); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			select {
			case <-p.Exited():
			default:
				t.Error("the process has not gone")
			}
		})
	}
	d := direct(t, "off")
	s := spec("text-0-2", d.runID, "/bin/true")
	s.Dir = missing
	if err := started(t, d, s).Open(); err == nil || err.Error() != "cannot enter the working directory of text-0-2: no such file or directory" {
		t.Error(err)
	}
	s = spec("text-0-3", d.runID, "/bin/true", strings.Repeat("x", 1<<20))
	if err := started(t, d, s).Open(); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Error(err)
	}
	killed := started(t, d, spec("text-0-4", d.runID, "/bin/true"))
	if err := killed.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, killed)
	if err := killed.Open(); err == nil || !strings.Contains(err.Error(), "the gate ended before: killed by SIGKILL") {
		t.Error(err)
	}
}

func TestCredential(t *testing.T) {
	if os.Getuid() != 0 {
		d := direct(t, "off")
		s := spec("text-0-1", d.runID, "/bin/true")
		s.Credential = &Credential{}
		if err := started(t, d, s).Open(); err == nil || !strings.Contains(err.Error(), "cannot take the user and groups of text-0-1: operation not permitted") {
			t.Error(err)
		}
		return
	}
	inModes(t, func(t *testing.T, d *Direct) {
		s := spec("text-0-1", d.runID, "/bin/sh", "-c", `id -u; id -g; id -G; read x < /proc/self/cgroup; exec sleep 1000`)
		s.Credential = &Credential{UID: 65534, GID: 65533, Groups: []uint32{65532}}
		p, l := opened(t, d, s)
		for _, want := range []string{"65534", "65533", "65533 65532"} {
			if got := l.next(t); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		if err := p.Terminate(); err != nil {
			t.Error(err)
		}
		if e := await(t, p); e.Signal != syscall.SIGTERM || e.String() != "killed by SIGTERM" {
			t.Errorf("exit is %s", e)
		}
	})
}

func TestStartRefuses(t *testing.T) {
	d := direct(t, "off")
	p := started(t, d, spec("text-0-1", d.runID, "/bin/true"))
	for want, s := range map[string]Spec{
		"cannot start text-0-1: a worker of this name is not released yet": spec("text-0-1", d.runID, "/bin/true"),
		`cannot start ../x: worker name "../x" is not of the form`:         spec("../x", d.runID, "/bin/true"),
		`cannot start a: program "true" is not an absolute path`:           spec("a", d.runID, "true"),
		"cannot start a: a NUL byte":                                       spec("a", d.runID, "/bin/true", "\x00"),
	} {
		if _, err := d.Start(within(t), s); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.Start(ctx, spec("b", d.runID, "/bin/true")); err == nil {
		t.Error("Start with a cancelled context succeeded")
	}
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "1 workers are not released") {
		t.Errorf("Close: %v", err)
	}
	if err := p.Open(); err != nil {
		t.Error(err)
	}
}

func TestGateMissing(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "snakepit-gate")
	if _, err := NewDirect(DirectOptions{Gate: missing, RunID: "x"}); err == nil || err.Error() != "cannot open the gate binary "+missing+": no such file or directory" {
		t.Error(err)
	}
	if _, err := NewDirect(DirectOptions{Gate: "/bin/true", RunID: "x", CGroup: "off"}); err == nil || !strings.Contains(err.Error(), "it is not a gate") {
		t.Error(err)
	}
}

func TestGateSwapped(t *testing.T) {
	b, err := os.ReadFile(os.Getenv(gateEnv))
	if err != nil {
		t.Fatal(err)
	}
	gate := filepath.Join(t.TempDir(), "gate")
	if err := os.WriteFile(gate, b, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := NewDirect(DirectOptions{Gate: gate, RunID: "swapped", CGroup: "off"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	p, err := d.Start(within(t), spec("text-0-1", d.runID, "/bin/true"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Open(); err != nil {
		t.Error(err)
	}
	if _, err := p.Release(within(t)); err != nil {
		t.Error(err)
	}
}

// Output that was written before the death arrives, and a stranger that holds
// the pipe does not keep it open.
func TestOutputOfTheDead(t *testing.T) {
	d := direct(t, "off")
	p, l := opened(t, d, spec("text-0-1", d.runID, "/bin/sh", "-c", "echo first; read x; i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; kill -9 $$"))
	if got := l.next(t); got != "first" { // stdin is /dev/null: read returns
		t.Error(got)
	}
	// This process is the stranger.
	hold, err := os.OpenFile("/proc/"+strconv.Itoa(p.id.pid)+"/fd/1", os.O_WRONLY, 0)
	if err == nil {
		defer func() { _ = hold.Close() }()
	}
	if e := await(t, p); e.Signal != syscall.SIGKILL {
		t.Errorf("exit is %s", e)
	}
	if _, err := p.Release(within(t)); err != nil {
		t.Fatal(err)
	}
	if got := l.rest(); len(got) != 500 || got[499] != "line 499" {
		t.Errorf("%d lines", len(got))
	}
}

func TestStartsLeaveNothing(t *testing.T) {
	inModes(t, func(t *testing.T, d *Direct) {
		run := func(i int) {
			p, err := d.Start(within(t), spec(fmt.Sprintf("text-0-%d", i), d.runID, "/bin/sh", "-c", "sleep 0 & exit 0"))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Open(); err != nil {
				t.Fatal(err)
			}
			await(t, p)
			if _, err := p.Release(within(t)); err != nil {
				t.Fatal(err)
			}
		}
		count := func() int {
			fds, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			return len(fds)
		}
		run(0)
		before := count()
		n := 200
		if testing.Short() {
			n = 20
		}
		for i := 1; i <= n; i++ {
			run(i)
		}
		awaitTrue(t, "no more descriptors than before", func() bool { return count() <= before })
		awaitTrue(t, "no children are left", func() bool { return len(d.children()) == 0 })
		if g := d.groupDirs(); len(g) != 0 {
			t.Errorf("cgroups left: %v", g)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.procs)+len(d.adopted) != 0 {
			t.Errorf("kept: %v, %v", d.procs, d.adopted)
		}
	})
}

func BenchmarkSpawn(b *testing.B) {
	for _, mode := range []string{"auto", "off"} {
		b.Run(mode, func(b *testing.B) {
			d := direct(b, mode)
			s := spec("text-0-1", d.runID, "/bin/true")
			ctx := context.Background()
			for b.Loop() {
				p, err := d.Start(ctx, s)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.Open(); err != nil {
					b.Fatal(err)
				}
				<-p.Exited()
				if _, err := p.Release(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGate is the start of the gate alone: fork, exec, hang-up, exit.
func BenchmarkGate(b *testing.B) {
	d := direct(b, "off")
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_CHILDREN, &before)
	for b.Loop() {
		if err := d.probe(nil); err != nil {
			b.Fatal(err)
		}
	}
	_ = unix.Getrusage(unix.RUSAGE_CHILDREN, &after)
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/snakepitd/snakepitd/test/daemontest"
	"github.com/snakepitd/snakepitd/test/textpool"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

func restart(t *testing.T, d *daemontest.Daemon, target string, now bool) []string {
	t.Helper()
	stream, err := d.Control.Restart(within(t, 30*time.Second), &snakepitv1.RestartRequest{Target: target, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for {
		ev, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return kinds
		}
		if err != nil {
			t.Fatalf("restart %s: %v", target, err)
		}
		kinds = append(kinds, ev.GetKind()+" "+ev.GetWorker())
	}
}

// TestRestartWaitsForRelease is the founding test: a restarted worker gets the same
// port, another pid, and is started only after the old one is released.
func TestRestartWaitsForRelease(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 2, ""))
	before := awaitPool(t, d, "text", daemontest.AllReady)
	for _, now := range []bool{true, false} {
		kinds := restart(t, d, "text", now)
		after := awaitPool(t, d, "text", daemontest.AllReady)
		for i, s := range after.GetSlots() {
			old := before.GetSlots()[i]
			if s.GetPort() != old.GetPort() || s.GetPid() == old.GetPid() || s.GetWorker() == old.GetWorker() {
				t.Errorf("now=%v: slot %d: %s pid %d port %d became %s pid %d port %d", now, i, old.GetWorker(), old.GetPid(), old.GetPort(), s.GetWorker(), s.GetPid(), s.GetPort())
			}
			if released, ready := index(kinds, "released "+old.GetWorker()), index(kinds, "ready "+s.GetWorker()); released < 0 || ready < released {
				t.Errorf("now=%v: %s was ready before %s was released: %v", now, s.GetWorker(), old.GetWorker(), kinds)
			}
		}
		if after.GetDeaths() != 0 {
			t.Errorf("a restart that a person asked for counts as %d deaths", after.GetDeaths())
		}
		before = after
	}
}

func index(list []string, s string) int {
	for i, e := range list {
		if e == s {
			return i
		}
	}
	return -1
}

// TestStopFindsNoOrphans, and the ones that were planted on purpose.
func TestStopFindsNoOrphans(t *testing.T) {
	for _, planted := range []int{0, 3} {
		t.Run(fmt.Sprint(planted), func(t *testing.T) {
			d := start(t, daemontest.TextPool(repo(), 2, ""))
			awaitPool(t, d, "text", daemontest.AllReady)
			client := textpool.NewTextClient(dial(t, d))
			var pids []int
			descendants := planted
			if planted > 0 {
				if stranger := plantInGroup(t, d); stranger != 0 {
					pids = append(pids, stranger)
					descendants--
				}
			}
			for range descendants {
				r, err := client.Nap(within(t, 20*time.Second), &textpool.NapRequest{SpawnGrandchild: true})
				if err != nil {
					t.Fatal(err)
				}
				if !alive(int(r.GetGrandchildPid())) {
					t.Fatalf("the planted process %d does not run", r.GetGrandchildPid())
				}
				pids = append(pids, int(r.GetGrandchildPid()))
			}
			stop(t, d)
			if want := fmt.Sprintf("orphans=%d ", planted); !strings.Contains(d.Log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
			for _, pid := range pids {
				if alive(pid) {
					t.Errorf("planted process %d is still there", pid)
				}
			}
		})
	}
}

// plantInGroup puts a process that no worker started into the daemon's own cgroup,
// where there is a writable one; else it returns 0.
func plantInGroup(t *testing.T, d *daemontest.Daemon) int {
	t.Helper()
	p, err := d.Pool(t.Context(), "text")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.GetSlots()[0].GetPid()))
	if err != nil {
		t.Fatal(err)
	}
	_, group, _ := strings.Cut(string(file), "0::")
	group = filepath.Dir(strings.TrimSpace(group))
	if !strings.Contains(group, "snakepit-") {
		return 0 // no writable cgroup here
	}
	stranger := exec.Command("sleep", "600")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stranger.Process.Kill()
		stranger.Wait()
	})
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		procs := filepath.Join(mount, group, "cgroup.procs")
		if os.WriteFile(procs, fmt.Append(nil, stranger.Process.Pid), 0) == nil {
			return stranger.Process.Pid
		}
	}
	t.Fatalf("cannot put a process into the group %s", group)
	return 0
}

// TestStrangerGrabsThePort: the moment a worker dies somebody else listens on its
// port. The slot waits, quarantines the port and moves; it never proceeds anyway.
func TestStrangerGrabsThePort(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 1, `release_timeout = "500ms"`))
	p := awaitPool(t, d, "text", daemontest.AllReady)
	old := p.GetSlots()[0]
	if err := syscall.Kill(int(old.GetPid()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var stranger net.Listener
	eventually(t, "grab the port", func() bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", old.GetPort()))
		stranger = l
		return err == nil
	})
	defer stranger.Close()
	p = awaitPool(t, d, "text", func(p *snakepitv1.Pool) bool {
		return daemontest.AllReady(p) && p.GetSlots()[0].GetWorker() != old.GetWorker()
	})
	if got := p.GetSlots()[0].GetPort(); got == old.GetPort() || got == 0 {
		t.Errorf("the slot is on port %d, the stranger holds %d", got, old.GetPort())
	}
	if q := p.GetQuarantined(); len(q) != 1 || q[0].GetPort() != old.GetPort() || q[0].GetSlot() != "text-0" {
		t.Errorf("quarantined: %v", q)
	}
	if _, err := textpool.NewTextClient(dial(t, d)).Analyze(within(t, 10*time.Second), &textpool.AnalyzeRequest{Text: "x"}); err != nil {
		t.Error(err)
	}
}

// TestStrangerOnThePortGetsNoData: somebody listens on the worker's port between
// the daemon's probe and the worker's bind. He is not the worker, so he gets nothing.
func TestStrangerOnThePortGetsNoData(t *testing.T) {
	dir := shortDir(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	// A worker that runs and never listens: the stranger has all the time he wants.
	conf := fmt.Sprintf(`ports = "%d-%d"
[pool.text]
exec = ["/bin/sh", "-c", "echo {port} > %s/started; exec sleep 60"]
working_directory = "/"
start_timeout = "2s"
release_timeout = "500ms"
`, port, port, dir)
	d := start(t, conf)
	eventually(t, "the worker runs", func() bool {
		_, err := os.Stat(dir + "/started")
		return err == nil
	})
	lis, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan string, 16)
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(s)
		reached <- method
		return nil
	}))
	go server.Serve(lis)
	defer server.Stop()
	_, err = textpool.NewTextClient(dial(t, d)).Analyze(metadata.AppendToOutgoingContext(within(t, 10*time.Second), "secret", "s"), &textpool.AnalyzeRequest{Text: "secret"})
	if reason(err) != "NO_WORKER" {
		t.Errorf("the caller got %v", err)
	}
	select {
	case m := <-reached:
		t.Errorf("the stranger was called: %s", m)
	default:
	}
	awaitPool(t, d, "text", func(p *snakepitv1.Pool) bool { return len(p.GetQuarantined()) == 1 })
}

// TestWhyItDied shows causes of death as an operator sees them.
func TestWhyItDied(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 1, ""))
	p := awaitPool(t, d, "text", daemontest.AllReady)
	old := p.GetSlots()[0]
	if err := syscall.Kill(int(old.GetPid()), syscall.SIGSEGV); err != nil {
		t.Fatal(err)
	}
	awaitPool(t, d, "text", func(p *snakepitv1.Pool) bool {
		return daemontest.AllReady(p) && p.GetSlots()[0].GetWorker() != old.GetWorker()
	})
	why, err := d.Control.Why(context.Background(), &snakepitv1.WhyRequest{Target: old.GetWorker()})
	if err != nil || len(why.GetDeaths()) != 1 {
		t.Fatalf("why: %v, %v", why, err)
	}
	if w := why.GetDeaths()[0]; w.GetCause() != "signal" || w.GetSignal() != "SIGSEGV" || w.GetPid() != old.GetPid() {
		t.Errorf("why: %v", w)
	}
}

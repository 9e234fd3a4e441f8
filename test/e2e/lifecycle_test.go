package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/snakepitd/snakepitd/test/daemontest"
	"github.com/snakepitd/snakepitd/test/textpool"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// TestStopFinishesCallsInFlight, and a second signal does not wait for them.
func TestStopFinishesCallsInFlight(t *testing.T) {
	for _, twice := range []bool{false, true} {
		t.Run(fmt.Sprintf("twice=%v", twice), func(t *testing.T) {
			d := start(t, daemontest.TextPool(repo(), 2, `stop_timeout = "1s"`))
			awaitPool(t, d, "text", daemontest.AllReady)
			client := textpool.NewTextClient(dial(t, d))
			seconds := 1.0
			if twice {
				seconds = 60
			}
			result := make(chan error, 1)
			go func() {
				_, err := client.Nap(t.Context(), &textpool.NapRequest{Seconds: seconds, Stubborn: true})
				result <- err
			}()
			awaitBusy(t, d)
			began := time.Now()
			if err := d.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			eventually(t, "new calls are refused", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := client.Analyze(ctx, &textpool.AnalyzeRequest{})
				return reason(err) == "STOPPING"
			})
			if twice {
				if err := d.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			err := <-result
			if !twice && err != nil {
				t.Errorf("the call in flight: %v", err)
			}
			if twice && reason(err) == "" {
				t.Errorf("the call in flight: %v, want a typed error", err)
			}
			if err := d.Wait(within(t, 20*time.Second)); err != nil {
				t.Errorf("the daemon's exit: %v", err)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %s", took)
			}
			if !strings.Contains(d.Log.String(), "orphans=0 records=0") {
				t.Error("the log does not end with no orphans and no records")
			}
		})
	}
}

// awaitBusy waits until a worker has a call. No event tells of calls.
func awaitBusy(t *testing.T, d *daemontest.Daemon) *snakepitv1.Slot {
	t.Helper()
	var busy *snakepitv1.Slot
	eventually(t, "a worker is busy", func() bool {
		p, err := d.Pool(t.Context(), "text")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.GetSlots() {
			if s.GetInFlight() > 0 {
				busy = s
			}
		}
		return busy != nil
	})
	return busy
}

// TestDaemonKilled: workers die with it; the next daemon on the same directory
// releases what it left, a descendant that had run away included, and serves.
func TestDaemonKilled(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 2, ""))
	before := awaitPool(t, d, "text", daemontest.AllReady)
	r, err := textpool.NewTextClient(dial(t, d)).Nap(within(t, 10*time.Second), &textpool.NapRequest{SpawnGrandchild: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(within(t, 10*time.Second)); err == nil {
		t.Error("a killed daemon ended with success")
	}
	for _, s := range before.GetSlots() {
		eventually(t, "the workers die with the daemon", func() bool { return !alive(int(s.GetPid())) })
	}
	if err := d.Run(within(t, 20*time.Second), exec.Command(filepath.Join(bin, "snakepitd"), "--config", d.Config)); err != nil {
		t.Fatal(err)
	}
	after := awaitPool(t, d, "text", daemontest.AllReady)
	for i, s := range after.GetSlots() {
		if s.GetWorker() == before.GetSlots()[i].GetWorker() {
			t.Errorf("the name %s was given twice", s.GetWorker())
		}
	}
	if alive(int(r.GetGrandchildPid())) {
		t.Errorf("the grandchild %d of a worker of the killed daemon is still there", r.GetGrandchildPid())
	}
	if _, err := textpool.NewTextClient(dial(t, d)).Analyze(within(t, 10*time.Second), &textpool.AnalyzeRequest{}); err != nil {
		t.Error(err)
	}
}

// plainServer is an ordinary grpcio server that knows nothing of snakepitd.
const plainServer = `
import sys, time
from concurrent import futures
import grpc
import text_pb2, text_pb2_grpc

class Text(text_pb2_grpc.TextServicer):
    def Analyze(self, request, context):
        return text_pb2.AnalyzeReply(id=request.id, name=request.name)

print("hello from", sys.argv[1], flush=True)
server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
text_pb2_grpc.add_TextServicer_to_server(Text(), server)
server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()
`

// TestOrdinaryServerIsAWorker runs an unchanged grpcio server, over a port and over
// a Unix socket; its output is in the log with its name.
func TestOrdinaryServerIsAWorker(t *testing.T) {
	for name, argument := range map[string]string{"port": "127.0.0.1:{port}", "socket": "{address}"} {
		t.Run(name, func(t *testing.T) {
			dir := shortDir(t)
			program := filepath.Join(dir, "plain.py")
			if err := os.WriteFile(program, []byte(plainServer), 0o644); err != nil {
				t.Fatal(err)
			}
			d := start(t, fmt.Sprintf("[pool.plain]\nexec = [\"{python}\", %q, %q]\npython = %q\nworkers = 2\nenvironment = { PYTHONPATH = %q }\n",
				program, argument, daemontest.Python, filepath.Join(repo(), "python", "examples", "text")))
			p := awaitPool(t, d, "plain", daemontest.AllReady)
			for i := range 20 {
				id := fmt.Sprint(i)
				r, err := textpool.NewTextClient(dial(t, d)).Analyze(within(t, 10*time.Second), &textpool.AnalyzeRequest{Id: id})
				if err != nil || r.GetId() != id {
					t.Errorf("%v, %v", r, err)
				}
			}
			for _, s := range p.GetSlots() {
				want := s.GetWorker() + " | hello from " + strings.Replace(s.GetAddress(), "unix:", "unix:", 1)
				if !strings.Contains(d.Log.String(), want) {
					t.Errorf("the log does not say %q", want)
				}
			}
		})
	}
}

// TestOperatorsView drives snakepitctl against a running daemon.
func TestOperatorsView(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 2, ""))
	p := awaitPool(t, d, "text", daemontest.AllReady)
	ctl := func(code int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(within(t, 30*time.Second), filepath.Join(bin, "snakepitctl"), args...)
		cmd.Env = append(os.Environ(), "SNAKEPIT_CONTROL=unix:"+filepath.Join(d.Dir, "control.sock"))
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
			t.Errorf("snakepitctl %v: %v, want exit code %d\n%s", args, err, code, out)
		}
		return string(out)
	}
	says := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("it does not say %q:\n%s", w, out)
			}
		}
	}
	slot := p.GetSlots()[0]
	says(ctl(0, "status"), "text", slot.GetWorker(), fmt.Sprint(slot.GetPid()), fmt.Sprint(slot.GetPort()), "ready")
	says(ctl(0, "status", "--json"), `"worker"`, slot.GetWorker())
	says(ctl(0, "restart", "text-0", "--now"), "ready")
	says(ctl(0, "why", slot.GetWorker()), "restart", slot.GetWorker())
	says(ctl(0, "events"), "released", slot.GetWorker())
	says(ctl(4, "restart", "nope"), "nope", "text")
	proto := filepath.Join(repo(), "python", "examples", "text", "text.proto")
	says(ctl(0, "call", "textpool.v1.Text/Analyze", "--proto", proto, "-d", `{"id": "from the shell", "text": "One. Two."}`), `"from the shell"`, `"sentences": 2`)
	stop(t, d)
	says(ctl(3, "status"), "hint:")
}

// TestWorkerRunsAsItsUser: a root daemon gives the pool's user what it needs and
// nothing more. The checkout may be in a place that other users cannot enter, so
// the worker's files are copied.
func TestWorkerRunsAsItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start workers as another user")
	}
	dir := shortDir(t)
	if out, err := exec.Command("cp", "-r", filepath.Join(repo(), "python"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("chmod", "-R", "a+rX", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, argument := range map[string]string{"port": `, "--port", "{port}"`, "socket": ""} {
		t.Run(name, func(t *testing.T) {
			d := start(t, fmt.Sprintf("[pool.text]\nexec = [\"{python}\", \"server.py\"%s]\nworking_directory = %q\npython = %q\nready = \"health\"\nuser = \"nobody\"\nenvironment = { PYTHONPATH = %q }\n",
				argument, filepath.Join(dir, "python", "examples", "text"), daemontest.Python, filepath.Join(dir, "python")))
			pid := awaitPool(t, d, "text", daemontest.AllReady).GetSlots()[0].GetPid()
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"} {
				if !strings.Contains(string(status), want) {
					t.Errorf("/proc/%d/status does not say %q:\n%s", pid, want, status)
				}
			}
			for _, sub := range []string{"home", "cache", "tmp"} {
				info, err := os.Stat(filepath.Join(d.Dir, "pools", "text", sub))
				if err != nil || info.Sys().(*syscall.Stat_t).Uid != 65534 {
					t.Errorf("%s: %v, %v", sub, info, err)
				}
			}
			if _, err := textpool.NewTextClient(dial(t, d)).Analyze(within(t, 10*time.Second), &textpool.AnalyzeRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNobodyReadsTheLog: the daemon does not depend on whoever reads its stderr,
// whether he has gone or only stopped reading.
func TestNobodyReadsTheLog(t *testing.T) {
	for _, gone := range []bool{true, false} {
		t.Run(fmt.Sprintf("gone=%v", gone), func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			dir := shortDir(t)
			d := &daemontest.Daemon{Dir: filepath.Join(dir, "run"), Config: filepath.Join(dir, "snakepitd.toml"), Log: &daemontest.Log{}}
			conf := fmt.Sprintf("[daemon]\nruntime_dir = %q\n%s", d.Dir, daemontest.TextPool(repo(), 1, ""))
			conf += "[pool.loud]\nexec = [\"/bin/sh\", \"-c\", \"yes loud\"]\nworking_directory = \"/\"\n"
			if err := os.WriteFile(d.Config, []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			if gone {
				r.Close()
			}
			cmd := exec.Command(filepath.Join(bin, "snakepitd"), "--config", d.Config)
			cmd.Stderr = w
			err = d.Run(within(t, 20*time.Second), cmd)
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			old := awaitPool(t, d, "text", daemontest.AllReady).GetSlots()[0]
			if err := syscall.Kill(int(old.GetPid()), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			awaitPool(t, d, "text", func(p *snakepitv1.Pool) bool {
				return daemontest.AllReady(p) && p.GetSlots()[0].GetWorker() != old.GetWorker()
			})
			if _, err := textpool.NewTextClient(dial(t, d)).Analyze(within(t, 10*time.Second), &textpool.AnalyzeRequest{}); err != nil {
				t.Error(err)
			}
			stop(t, d)
		})
	}
}

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/snakepitd/snakepitd/test/daemontest"
	"github.com/snakepitd/snakepitd/test/textpool"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// TestBadConfigurationIsRefused: the daemon does not start, its exit code is 5, and
// the message names the place, the rule and what to do. verify says the same.
func TestBadConfigurationIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		want       []string
	}{
		{"malformed", "[pool.text\nexec = 1\n", []string{"snakepitd.toml:1:", "^"}},
		{"unknown key", "[pool.text]\nexec = [\"/bin/true\"]\nworkrs = 4\n", []string{"snakepitd.toml:3:1", "workrs", "workers", "^"}},
		{"a dash in a name", "[pool.my-pool]\nexec = [\"/bin/true\"]\n", []string{"my-pool", "dash", "slice"}},
		{"duplicate pool", "[pool.a]\nexec = [\"/bin/true\"]\n[pool.a]\nexec = [\"/bin/true\"]\n", []string{"snakepitd.toml:3", "pool.a"}},
		{"port range too small", "[daemon]\nports = \"21000-21001\"\n[pool.a]\nworkers = 4\nexec = [\"/bin/true\", \"{port}\"]\n", []string{"2", "4", "ports"}},
		{"missing executable", "[pool.a]\nexec = [\"no-such-program\"]\n", []string{"no-such-program", "cannot find"}},
		{"no pool", "[daemon]\n", []string{"pool"}},
		{"tools", "[pool.a]\napp = \"myapp:fn\"\n", []string{"app"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := shortDir(t)
			file := filepath.Join(dir, "snakepitd.toml")
			if err := os.WriteFile(file, []byte(c.conf), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, argv := range [][]string{{"snakepitd", "--config", file}, {"snakepitctl", "verify", file}} {
				var stderr bytes.Buffer
				cmd := exec.Command(filepath.Join(bin, argv[0]), argv[1:]...)
				cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
				cmd.Stderr = &stderr
				err := cmd.Run()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != 5 {
					t.Errorf("%s: %v, want exit code 5\n%s", argv[0], err, &stderr)
				}
				for _, w := range c.want {
					if !strings.Contains(stderr.String(), w) {
						t.Errorf("%s does not say %q:\n%s", argv[0], w, &stderr)
					}
				}
			}
		})
	}
}

// TestWorkersThatCannotServe: what is wrong with a worker reaches the caller at
// once, and the operator in the status.
func TestWorkersThatCannotServe(t *testing.T) {
	python := fmt.Sprintf("%q", daemontest.Python)
	garbage := `import socket, sys, os
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen()
while True:
    c, _ = s.accept(); c.sendall(b"HTTP/1.0 400 what\\r\\n\\r\\n"); c.close()`
	for _, c := range []struct {
		name, exec, more string
		want             []string
	}{
		{"exits at once", `[` + python + `, "-c", "import no_such_module"]`, "", []string{"ModuleNotFoundError", "no_such_module", "failed to start"}},
		{"never gets ready", `["/bin/sleep", "600"]`, `start_timeout = "500ms"`, []string{"not ready within start_timeout"}},
		{"answers garbage", `[` + python + `, "-c", """` + garbage + `""", "{port}"]`, `start_timeout = "1s"`, []string{"not ready within start_timeout"}},
		{"vanishes after verify", `["./gone"]`, "", []string{"gone"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := shortDir(t)
			program := filepath.Join(dir, "gone")
			if err := os.WriteFile(program, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			d := start(t, fmt.Sprintf("[pool.a]\nexec = %s\nworking_directory = %q\n%s\n", c.exec, dir, c.more))
			client := textpool.NewTextClient(dial(t, d))
			_, err := client.Analyze(within(t, 20*time.Second), &textpool.AnalyzeRequest{})
			if status.Code(err) != codes.Unavailable || reason(err) != "NO_WORKER" {
				t.Errorf("the caller got %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(status.Convert(err).Message(), w) {
					t.Errorf("the caller's error does not say %q: %v", w, err)
				}
			}
			p, err := d.Pool(within(t, 5*time.Second), "a")
			if err != nil || p.GetReady() != 0 || p.GetDeaths() == 0 || p.GetReason() == "" {
				t.Errorf("status: %v, %v", p, err)
			}
		})
	}
}

// TestTwoDaemonsOnOneDirectory: the second one touches nothing and says who is there.
func TestTwoDaemonsOnOneDirectory(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 1, ""))
	awaitPool(t, d, "text", daemontest.AllReady)
	out, err := exec.Command(filepath.Join(bin, "snakepitd"), "--config", d.Config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), d.Dir) || !strings.Contains(string(out), fmt.Sprint(d.Cmd.Process.Pid)) {
		t.Errorf("the second daemon: %v\n%s", err, out)
	}
	if _, err := textpool.NewTextClient(dial(t, d)).Analyze(within(t, 10*time.Second), &textpool.AnalyzeRequest{}); err != nil {
		t.Errorf("the first daemon after that: %v", err)
	}
}

// TestFullDisk: with no room for the run state nothing is started or forgotten, and
// callers learn why at once; when there is room again the pool recovers by itself.
// The full disk is a tiny tmpfs in a mount namespace of the daemon's own.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a small file system to fill needs root")
	}
	dir := shortDir(t)
	small := filepath.Join(dir, "small")
	if err := os.Mkdir(small, 0o711); err != nil {
		t.Fatal(err)
	}
	d := &daemontest.Daemon{Dir: dir, Config: filepath.Join(dir, "snakepitd.toml"), Log: &daemontest.Log{}}
	conf := fmt.Sprintf("[daemon]\nruntime_dir = %q\nlisten = \"unix:%s/snakepitd.sock\"\ncontrol = \"unix:%s/control.sock\"\n%s",
		filepath.Join(small, "run"), dir, dir, daemontest.TextPool(repo(), 1, `release_timeout = "300ms"`))
	if err := os.WriteFile(d.Config, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	err := d.Run(within(t, 20*time.Second), exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c",
		`mount -t tmpfs -o size=256k none "$1" && exec "$2" --config "$3"`, "sh", small, filepath.Join(bin, "snakepitd"), d.Config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, d) })
	p := awaitPool(t, d, "text", daemontest.AllReady)
	inside := fmt.Sprintf("/proc/%d/root%s/filler", d.Cmd.Process.Pid, small)
	if err := os.WriteFile(inside, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	client := textpool.NewTextClient(dial(t, d))
	if _, err := client.Analyze(within(t, 10*time.Second), &textpool.AnalyzeRequest{}); err != nil {
		t.Errorf("a ready worker while the disk is full: %v", err)
	}
	if err := syscall.Kill(int(p.GetSlots()[0].GetPid()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p = awaitPool(t, d, "text", func(p *snakepitv1.Pool) bool {
		return strings.Contains(p.GetReason(), "no space left on device")
	})
	if s := p.GetSlots()[0].GetState(); s == "ready" {
		t.Errorf("a worker was started without a record: %v", p)
	}
	_, err = client.Analyze(within(t, 10*time.Second), &textpool.AnalyzeRequest{})
	if reason(err) != "NO_WORKER" || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("the caller while the disk is full: %v", err)
	}
	if err := os.Remove(inside); err != nil {
		t.Fatal(err)
	}
	awaitPool(t, d, "text", daemontest.AllReady)
	if _, err := client.Analyze(within(t, 10*time.Second), &textpool.AnalyzeRequest{}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

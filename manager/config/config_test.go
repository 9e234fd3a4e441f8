package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestLoadValues(t *testing.T) {
	c := mustLoad(t, example)
	wantDaemon := Daemon{
		Listen: "tcp:127.0.0.1:50051", Control: "unix:/run/user/1000/snakepit/control.sock",
		RuntimeDir: "/run/user/1000/snakepit", Ports: PortRange{21000, 21999},
	}
	if diff := cmp.Diff(wantDaemon, c.Daemon); diff != "" {
		t.Errorf("daemon: -want +got:\n%s", diff)
	}
	image := Pool{
		Name: "image", Directory: "/run/user/1000/snakepit/pools/image", Kind: "grpc", Exec: []string{"imaged", "--listen", "{address}"},
		WorkingDirectory: "/srv", EnvironmentFile: []string{"/srv/secrets", "/etc/more"}, User: "12", Umask: 0o007, Workers: 1, Concurrency: 1,
		Ready: "health", MaxQueue: 1000, MaxMessage: 3 << 19, StartTimeout: time.Minute, StopTimeout: 10 * time.Second,
		DrainTimeout: 90 * time.Minute, ReleaseTimeout: 10 * time.Second, QueueTimeout: 10 * time.Second, OverrunTimeout: 5 * time.Second,
	}
	if len(c.Pools) != 2 {
		t.Fatalf("%d pools", len(c.Pools))
	}
	if diff := cmp.Diff(image, c.Pools[0]); diff != "" {
		t.Errorf("pool image: -want +got:\n%s", diff)
	}
	text, ok := c.Pool("text")
	if !ok || text.Name != "text" || !text.UsesPort() || c.Pools[0].UsesPort() {
		t.Errorf("pool text: %+v", text)
	}
	if text.CallTimeout != 300*time.Second {
		t.Errorf("call_timeout %v", text.CallTimeout)
	}
	if _, ok := c.Pool("none"); ok {
		t.Error("a pool that is not there")
	}
	if network, address := c.Daemon.ListenAddress(); network != "tcp" || address != "127.0.0.1:50051" {
		t.Error(network, address)
	}
	if network, address := c.Daemon.ControlAddress(); network != "unix" || address != "/run/user/1000/snakepit/control.sock" {
		t.Error(network, address)
	}
}

func TestSeat(t *testing.T) {
	const pool = "[pool.text]\nexec = [\"{python}\", \"{port}\"]\n"
	tests := []struct {
		name, text string
		seat       seat
		runtimeDir string
		warnings   []string
		problem    string
	}{
		{name: "root", text: pool, runtimeDir: "/run/snakepit", warnings: []string{"the workers of pool text run as root: write user = \"NAME\" in [pool.text]"}},
		{name: "root with a user", text: pool + "user = \"nobody\"\n", runtimeDir: "/run/snakepit"},
		{name: "no XDG_RUNTIME_DIR", text: pool, seat: seat{uid: 7}, problem: "runtime_dir has no default here"},
		{name: "XDG_RUNTIME_DIR is relative", text: pool, seat: seat{uid: 7, runtimeDir: "x"}, problem: "runtime_dir has no default here"},
		{name: "ephemeral", text: "[daemon]\nports = \"40000-40010\"\n" + pool, seat: testSeat(), runtimeDir: "/run/user/1000/snakepit", warnings: []string{
			"ports 40000-40010 overlaps 32768-60999, from which the kernel gives ports to clients (net.ipv4.ip_local_port_range): a worker's port may be taken",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load("x.toml", "/srv/x.toml", []byte(tt.text), tt.seat)
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Fatalf("got %v, want %s", err, tt.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Daemon.RuntimeDir != tt.runtimeDir || c.Daemon.DefaultPool != "text" {
				t.Errorf("daemon %+v", c.Daemon)
			}
			if diff := cmp.Diff(tt.warnings, c.Warnings); diff != "" {
				t.Errorf("warnings: -want +got:\n%s", diff)
			}
		})
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	file := filepath.Join(dir, "snakepitd.toml")
	for _, missing := range []string{file, dir} {
		if _, err := Load(missing); err == nil || !strings.HasPrefix(err.Error(), "cannot read the configuration: ") {
			t.Errorf("%s: %v", missing, err)
		}
	}
	write(t, file, "[daemon]\nruntime_dir = \"/run/x\"\n[pool.text]\nexec = [\"{python}\"]\n", 0o644)
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Path != file || c.Pools[0].WorkingDirectory != dir {
		t.Errorf("%+v", c)
	}
	write(t, file, strings.Repeat("#\n", maxFile), 0o644)
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "longer than 1M") {
		t.Errorf("a long file: %v", err)
	}
}

// TestNested: what looks like an attack on the parser is only a syntax error.
func TestNested(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", maxFile), "a = " + strings.Repeat("[", maxFile/2), "a = " + strings.Repeat("{a=", maxFile/8), strings.Repeat("a.", maxFile/2-3) + "a = 1", strings.Repeat("é = 1\n", 100)} {
		if _, err := load("x.toml", "/x.toml", []byte(text), testSeat()); err == nil {
			t.Errorf("accepted %.20s", text)
		}
	}
}

func write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, "30s": 30 * time.Second, "1.5": 1500 * time.Millisecond, "5min": 5 * time.Minute, "1h 30min": 90 * time.Minute,
		"1h30min": 90 * time.Minute, "500ms": 500 * time.Millisecond, " 2 d ": 48 * time.Hour, "0": 0, "1week": 0, "1min 5": 65 * time.Second,
	} {
		got, err := ParseDuration(text)
		if text == "1week" {
			want = 7 * 24 * time.Hour
		}
		if err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", " ", "s", "-1", "1x", "1..2s", "infinity", "1e3", "99999999999999999999w", "5 S"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q gave %v", text, got)
		}
	}
	for text, want := range map[string]Size{"64M": 64 << 20, "1K": 1024, "2G": 2 << 30, "7": 7, "1.5K": 1536, "0": 0, "12B": 12, "1 M": 1 << 20} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "M", "-1", "1.3", "1T", "1MB", "99999999G", "1e3"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q gave %v", text, got)
		}
	}
}

// TestQuantityRoundTrip: what is shown can be written.
func TestQuantityRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(1000*time.Hour/time.Microsecond)).Draw(t, "us")) * time.Microsecond
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%v is shown as %q, read as %v, %v", d, FormatDuration(d), got, err)
		}
		s := Size(rapid.Int64Range(0, 1<<45).Draw(t, "bytes"))
		if got, err := ParseSize(s.String()); err != nil || got != s {
			t.Fatalf("%d is shown as %q, read as %v, %v", s, s, got, err)
		}
		u := Umask(rapid.IntRange(0, 0o777).Draw(t, "umask"))
		if got, err := parseUmask(u.String()); err != nil || got != u {
			t.Fatalf("%d is shown as %q, read as %v, %v", u, u, got, err)
		}
	})
}

func TestExpand(t *testing.T) {
	tcp := Values{Port: 21000, Slot: 3, Worker: "text-3-7"}
	unix := Values{Socket: "/run/x.sock"}
	for _, tt := range []struct {
		values         Values
		template, want string
	}{
		{tcp, "--listen={host}:{port}", "--listen=127.0.0.1:21000"},
		{tcp, "{address} {slot} {worker}", "127.0.0.1:21000 3 text-3-7"},
		{unix, "{address}|{socket}", "unix:/run/x.sock|/run/x.sock"},
		{tcp, "{{port}", "{port}"},
		{tcp, "{{{port}", "{21000"},
		{tcp, `{"a": {}} { } {1x} {`, `{"a": {}} { } {1x} {`},
		{tcp, "{python} -c", "/p/python -c"},
		{tcp, "", ""},
	} {
		if got := tt.values.expand(tt.template, "/p/python"); got != tt.want {
			t.Errorf("%q gave %q, want %q", tt.template, got, tt.want)
		}
	}
}

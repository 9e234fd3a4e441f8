// Package config reads the configuration of snakepitd: strict TOML, every
// problem with file, line, column and a caret, as many at once as can be found.
// TOML never leaves this package; docs/configuration.md is its reference and a
// test compares the two.
package config

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Config is one valid configuration. Load is the only way to get one.
type Config struct {
	Path     string   // absolute path of the file
	Daemon   Daemon   // the table [daemon]
	Pools    []Pool   // sorted by name, at least one
	Warnings []string // legal, but probably not what was meant; one sentence each

	src *source
}

// Pool returns the pool with that name.
func (c *Config) Pool(name string) (Pool, bool) {
	for _, p := range c.Pools {
		if p.Name == name {
			return p, true
		}
	}
	return Pool{}, false
}

// Daemon is the table [daemon]. After Load every field has its value, computed
// defaults included; only Instance may be empty, and DefaultPool when there are
// several pools.
type Daemon struct {
	// Listen is where clients call: "unix:PATH" or "tcp:HOST:PORT" with a loopback address.
	Listen string `toml:"listen" computed:"unix:<runtime_dir>/snakepitd.sock" example:"\"127.0.0.1:50051\""`
	// Control is the operator's socket, "unix:PATH".
	Control string `toml:"control" computed:"unix:<runtime_dir>/control.sock" example:"\"unix:/run/snakepit/control.sock\""`
	// RuntimeDir is the absolute directory of all run-time data.
	RuntimeDir string `toml:"runtime_dir" computed:"/run/snakepit as root, else $XDG_RUNTIME_DIR/snakepit" example:"\"/run/snakepit\""`
	// Instance tells several daemons on one machine apart; named like a pool, or empty.
	Instance string `toml:"instance" default:"" example:"\"blue\""`
	// Ports are what pools with {port} take their ports from.
	Ports PortRange `toml:"ports" default:"21000-21999" example:"\"21000-21999\""`
	// DefaultPool answers calls that no other rule gives a pool; "" = none.
	DefaultPool string `toml:"default_pool" computed:"the only pool, if there is one" example:"\"text\""`
}

// ListenAddress returns Listen as net.Listen takes it.
func (d Daemon) ListenAddress() (network, address string) { return splitAddress(d.Listen) }

// ControlAddress returns Control as net.Listen takes it.
func (d Daemon) ControlAddress() (network, address string) { return splitAddress(d.Control) }

// Pool is one table [pool.NAME]. After Load all paths in it are absolute, but
// for Exec and a Python without a slash, which Resolve looks up.
type Pool struct {
	// Name is [a-z][a-z0-9_]{0,30}: a dash would be hierarchy in slice names.
	Name string
	// Directory is the pool's own directory below runtime_dir; the daemon makes it.
	Directory string

	// Kind is "grpc": a program that serves gRPC on the address it is given.
	Kind string `toml:"kind" default:"grpc" example:"\"grpc\""`
	// Exec is the program and its arguments with placeholders; no shell is involved.
	Exec []string `toml:"exec" computed:"required" example:"[\"{python}\", \"server.py\", \"--port\", \"{port}\"]"`
	// WorkingDirectory is where workers start.
	WorkingDirectory string `toml:"working_directory" computed:"the directory of the configuration file" example:"\"/srv/myapp/current\""`
	// Python is the interpreter behind {python}; "" = Resolve chooses it.
	Python string `toml:"python" computed:".venv/bin/python in working_directory, else /usr/bin/python3" example:"\"/srv/myapp/venv/bin/python\""`
	// Environment has variables for the workers; values may have placeholders.
	Environment map[string]string `toml:"environment" computed:"none" example:"{ MODEL_DIR = \"/srv/models\" }"`
	// EnvironmentFile are files of variables, read whenever a worker starts and never shown.
	EnvironmentFile []string `toml:"environment_file" computed:"none" example:"\"/etc/myapp/secrets\"" accepts:"string"`
	// User is whose rights workers have, by name or number; "" = the daemon's.
	User string `toml:"user" computed:"the user of the daemon" example:"\"myapp\"" accepts:"integer"`
	// Umask is the file mode creation mask of the workers.
	Umask Umask `toml:"umask" default:"0022" example:"\"0027\""`
	// Workers is the number of slots, 1 to 1000.
	Workers int `toml:"workers" default:"1" example:"4"`
	// Concurrency is how many calls one worker gets at a time, 1 to 10000.
	Concurrency int `toml:"concurrency" default:"1" example:"8"`
	// Services are the full names of the gRPC services whose calls go to this pool.
	Services []string `toml:"services" computed:"none" example:"[\"text.v1.Analyzer\"]"`
	// Ready is how a worker shows that it is ready: "listen", "notify" or "health".
	Ready string `toml:"ready" default:"listen" example:"\"health\""`
	// MaxQueue is how many calls may wait for a worker; 0 = none waits.
	MaxQueue int `toml:"max_queue" default:"1000" example:"100"`
	// MaxMessage is the longest message in bytes, in either direction.
	MaxMessage Size `toml:"max_message" default:"64M" example:"\"16M\""`
	// StartTimeout is how long a worker may take to become ready.
	StartTimeout time.Duration `toml:"start_timeout" default:"60s" example:"\"2min\""`
	// StopTimeout is the time between SIGTERM and SIGKILL.
	StopTimeout time.Duration `toml:"stop_timeout" default:"10s" example:"\"30s\""`
	// DrainTimeout is how long a planned stop waits for running calls.
	DrainTimeout time.Duration `toml:"drain_timeout" default:"5min" example:"\"1h 30min\""`
	// ReleaseTimeout is how long everything of a dead worker may take to be gone.
	ReleaseTimeout time.Duration `toml:"release_timeout" default:"10s" example:"\"10s\""`
	// QueueTimeout is how long a call may wait for a worker.
	QueueTimeout time.Duration `toml:"queue_timeout" default:"10s" example:"\"500ms\""`
	// CallTimeout is how long a call may run; 0 = no limit.
	CallTimeout time.Duration `toml:"call_timeout" default:"5min" example:"0"`
	// OverrunTimeout is how long a worker may go on with an abandoned call.
	OverrunTimeout time.Duration `toml:"overrun_timeout" default:"5s" example:"\"5s\""`
}

// UsesPort says whether workers listen on a TCP port: exec or environment has
// {port}. Otherwise they listen on a Unix socket.
func (p Pool) UsesPort() bool { return p.uses("port") }

// Socket is the path of a worker's Unix socket.
func (p Pool) Socket(worker string) string {
	return filepath.Join(p.Directory, worker+".sock")
}

func (p Pool) uses(word string) bool {
	for _, t := range p.Exec {
		if hasPlaceholder(t, word) {
			return true
		}
	}
	for _, t := range p.Environment {
		if hasPlaceholder(t, word) {
			return true
		}
	}
	return false
}

// PortRange is First to Last, both included.
type PortRange struct{ First, Last int }

// Count is the number of ports in the range.
func (r PortRange) Count() int { return r.Last - r.First + 1 }

// Contains says whether the port is in the range.
func (r PortRange) Contains(port int) bool { return port >= r.First && port <= r.Last }

// String returns the range as the configuration writes it.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

func parsePortRange(text string) (PortRange, error) {
	first, last, found := strings.Cut(text, "-")
	a, errA := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	b, errB := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if !found || errA != nil || errB != nil {
		return PortRange{}, fmt.Errorf("cannot read %q as a port range: write FIRST-LAST with ports up to 65535, for example \"21000-21999\"", text)
	}
	return PortRange{First: int(a), Last: int(b)}, nil
}

// Umask is a file mode creation mask, 0 to 0777.
type Umask int

// String returns the mask in octal, as the configuration writes it.
func (u Umask) String() string { return fmt.Sprintf("%04o", int(u)) }

func parseUmask(text string) (Umask, error) {
	n, err := strconv.ParseUint(text, 8, 16)
	if err != nil || n > 0o777 || len(text) < 3 || len(text) > 4 {
		return 0, fmt.Errorf("cannot read %q as a umask: write three or four octal digits, for example \"0022\"", text)
	}
	return Umask(n), nil
}

// splitAddress expects an address that normalizeListen made.
func splitAddress(a string) (network, address string) {
	network, address, _ = strings.Cut(a, ":")
	return network, address
}

// normalizeListen gives the two forms "unix:/PATH" and "tcp:HOST:PORT"; the
// front has no authentication of its own yet, so TCP is loopback only.
func normalizeListen(text string) (string, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return normalizeSocket(path)
	}
	if strings.HasPrefix(text, "/") {
		return "", fmt.Errorf("%q has no kind: write %q", text, "unix:"+text)
	}
	hostport := strings.TrimPrefix(text, "tcp:")
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", fmt.Errorf("cannot read the address %q: write \"unix:/PATH\" or \"127.0.0.1:PORT\"", text)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("cannot read the port of %q: it is a number from 1 to 65535", text)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip := net.ParseIP(host)
	if ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("%q is not a loopback address: callers are not authenticated, so snakepitd listens only on this machine; write \"127.0.0.1:%d\" or \"unix:/PATH\"", text, n)
	}
	return "tcp:" + net.JoinHostPort(ip.String(), strconv.FormatUint(n, 10)), nil
}

// normalizeControl allows Unix sockets only: the rights on the socket are what
// decides who may operate the daemon.
func normalizeControl(text string) (string, error) {
	path, ok := strings.CutPrefix(text, "unix:")
	if !ok {
		return "", fmt.Errorf("%q is not a Unix socket: the rights on the socket decide who may operate snakepitd; write \"unix:/PATH\"", text)
	}
	return normalizeSocket(path)
}

// maxSocketPath is sizeof(sun_path) without the final NUL.
const maxSocketPath = 107

func normalizeSocket(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("the socket path %q is not absolute: write \"unix:/PATH\"", path)
	}
	path = filepath.Clean(path)
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("the socket path has %d bytes, Linux allows %d: choose a shorter one (%s)", len(path), maxSocketPath, path)
	}
	return "unix:" + path, nil
}

package manager

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/snakepitd/snakepitd/manager/config"
	"github.com/snakepitd/snakepitd/registry"
	"github.com/snakepitd/snakepitd/transport"
	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// bed is a manager over a fake launcher and a real registry.
type bed struct {
	*Manager
	t        *testing.T
	operator Operator
	launcher *fakeLauncher
	registry *registry.Registry
	dir      string // the registry's
	conf     *config.Config
	pools    []config.Resolved
}

// patience bounds every wait: it is never reached but by a failure.
const patience = 20 * time.Second

// newPoolConfig is a pool of the given number of workers on Unix sockets.
func newPoolConfig(name string, workers int, with ...func(*config.Pool)) config.Pool {
	p := config.Pool{
		Name: name, Kind: "grpc", Exec: []string{"server"}, Workers: workers, Concurrency: 1, Ready: "listen", MaxQueue: 10,
		MaxMessage: 1 << 20, StartTimeout: patience, StopTimeout: patience, DrainTimeout: patience,
		ReleaseTimeout: patience, QueueTimeout: patience, CallTimeout: patience, OverrunTimeout: patience,
	}
	for _, f := range with {
		f(&p)
	}
	return p
}

// onPorts makes the workers of a pool listen on ports.
func onPorts(p *config.Pool) { p.Exec = append(p.Exec, "{port}") }

// prepare makes a bed; nothing runs before start.
func prepare(t *testing.T, pools ...config.Pool) *bed {
	t.Helper()
	root, err := os.MkdirTemp("", "pit") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	b := &bed{t: t, launcher: newFakeLauncher(), dir: filepath.Join(t.TempDir(), "run")}
	b.conf = &config.Config{Pools: pools, Daemon: config.Daemon{RuntimeDir: b.dir, DefaultPool: pools[0].Name}}
	b.conf.Daemon.Ports.First, b.conf.Daemon.Ports.Last = freePorts(t, 10)
	for _, p := range pools {
		p.Directory = filepath.Join(root, p.Name)
		if err := os.Mkdir(p.Directory, 0o700); err != nil {
			t.Fatal(err)
		}
		b.pools = append(b.pools, config.Resolved{Pool: p, Program: "/bin/server", WorkingDirectory: "/"})
	}
	return b
}

// start runs the manager until the test ends, and then holds it to what every
// stop must leave: no process, no record, no event that the table does not know.
func (b *bed) start() *bed {
	b.t.Helper()
	log := slog.New(slog.NewTextHandler(b.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if b.registry, err = registry.Open(b.dir, "aaaaaaaa", log); err != nil {
		b.t.Fatal(err)
	}
	b.Manager = New(Options{
		Version: "test", RunID: "aaaaaaaa", Config: b.conf, Pools: b.pools, Registry: b.registry, Launcher: b.launcher,
		Health: transport.NewHealth(nil), Output: func(string) Flusher { return nowhere{io.Discard} }, Log: log, NotifyPath: "/notify",
	})
	b.operator = Operator{b.Manager}
	b.t.Cleanup(b.end)
	b.Start()
	return b
}

func (b *bed) end() {
	b.launcher.obey()
	now := make(chan struct{})
	close(now)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := b.Stop(ctx, now); err != nil {
		b.t.Errorf("at the end: %v", err)
		return
	}
	for _, p := range b.launcher.living() {
		b.t.Errorf("at the end: %s (pid %d) was not released", p.spec.Name, p.id.PID)
	}
	for _, rec := range b.registry.Records() {
		b.t.Errorf("at the end: there is a record of %s", rec.Worker)
	}
	for _, p := range b.byName {
		if p.unexpected != 0 { // its loop has ended
			b.t.Errorf("at the end: pool %s met %d unexpected events", p.conf.Name, p.unexpected)
		}
	}
	if err := b.registry.Close(); err != nil {
		b.t.Error(err)
	}
}

type nowhere struct{ io.Writer }

func (nowhere) Flush() error { return nil }

// freePorts finds n free ports in a row, elsewhere for every test.
func freePorts(t *testing.T, n int) (first, last int) {
	t.Helper()
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %d", t.Name(), os.Getpid())
	for try := range 500 {
		first = 22000 + (int(h.Sum32()%500)+try)%500*20
		free := true
		for port := first; port < first+n && free; port++ {
			free = registry.Probe(port) == nil
		}
		if free {
			return first, first + n - 1
		}
	}
	t.Fatal("no free ports")
	return 0, 0
}

// occupy listens on a port until the test ends or stop is called.
func occupy(t *testing.T, port int) (stop func()) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return func() { l.Close() }
}

var errFound = errors.New("found")

// await returns the first event of this kind about a worker ("" = its pool) whose
// message has all parts.
func (b *bed) await(kind, worker string, parts ...string) *pb.Event {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var found *pb.Event
	err := b.operator.Events(ctx, &pb.EventsRequest{Follow: true}, func(ev *pb.Event) error {
		if ev.GetKind() != kind || ev.GetWorker() != worker {
			return nil
		}
		for _, part := range parts {
			if !strings.Contains(ev.GetMessage(), part) {
				return nil
			}
		}
		found = ev
		return errFound
	})
	if !errors.Is(err, errFound) {
		b.t.Fatalf("no event %q of %q with %q: %v; there were\n%s", kind, worker, parts, err, strings.Join(b.told(""), "\n"))
	}
	return found
}

// told lists the kinds of events about a worker so far, and all events for "".
func (b *bed) told(worker string) (out []string) {
	b.t.Helper()
	err := b.operator.Events(b.t.Context(), &pb.EventsRequest{}, func(ev *pb.Event) error {
		switch worker {
		case "":
			out = append(out, fmt.Sprintf("%d %s %s: %s", ev.GetSequence(), ev.GetWorker(), ev.GetKind(), ev.GetMessage()))
		case ev.GetWorker():
			out = append(out, ev.GetKind())
		}
		return nil
	})
	if err != nil {
		b.t.Error(err)
	}
	return out
}

// until polls, for what no event tells.
func (b *bed) until(what string, holds func() bool) {
	b.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-deadline.C:
			b.t.Fatalf("not %s within %s; events:\n%s", what, patience, strings.Join(b.told(""), "\n"))
		}
	}
}

func (b *bed) status(pool string) *pb.Pool {
	b.t.Helper()
	reply, err := b.operator.Status(b.t.Context(), &pb.StatusRequest{Target: pool})
	if err != nil {
		b.t.Fatal(err)
	}
	return reply.GetPools()[0]
}

func (b *bed) slot(pool string, n int) *pb.Slot { return b.status(pool).GetSlots()[n] }

// inState waits until a slot is in a state.
func (b *bed) inState(pool string, n int, state State) {
	b.t.Helper()
	b.until(fmt.Sprintf("%s-%d %s", pool, n, state), func() bool { return b.slot(pool, n).GetState() == string(state) })
}

// acquire takes a lease or returns the refusal of the pool.
func (b *bed) acquire(pool, call string) (transport.Lease, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	p, err := b.Route(pool, "")
	if err != nil {
		b.t.Fatal(err)
	}
	return p.Acquire(ctx, transport.Call{ID: call})
}

// lease takes a lease that has to be had.
func (b *bed) lease(pool, call string) transport.Lease {
	b.t.Helper()
	le, err := b.acquire(pool, call)
	if err != nil {
		b.t.Fatalf("call %s got no worker of %s: %v", call, pool, err)
	}
	return le
}

// refused returns the refusal that a call gets at once.
func (b *bed) refused(pool string, want transport.Reason) *transport.Refusal {
	b.t.Helper()
	began := time.Now()
	le, err := b.acquire(pool, "refused")
	if err == nil {
		le.Release(transport.Outcome{})
		b.t.Fatalf("the call got %s; want %s", le.Worker().Name(), want)
	}
	r, ok := errors.AsType[*transport.Refusal](err)
	if !ok || r.Reason != want {
		b.t.Fatalf("the call got %v; want %s", err, want)
	}
	if took := time.Since(began); took > time.Second {
		b.t.Errorf("the refusal took %s", took)
	}
	return r
}

// stop runs Stop beside the test.
func (b *bed) stop(ctx context.Context, now <-chan struct{}) <-chan stopped {
	out := make(chan stopped, 1)
	go func() {
		n, err := b.Stop(ctx, now)
		out <- stopped{n, err}
	}()
	return out
}

type stopped struct {
	orphans int
	err     error
}

func (b *bed) why(target string, limit int) []*pb.Death {
	b.t.Helper()
	reply, err := b.operator.Why(b.t.Context(), &pb.WhyRequest{Target: target, Limit: int32(limit)})
	if err != nil {
		b.t.Fatal(err)
	}
	return reply.GetDeaths()
}

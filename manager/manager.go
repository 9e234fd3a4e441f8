package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/snakepitd/snakepitd/manager/config"
	"github.com/snakepitd/snakepitd/registry"
	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/units"
)

// Options is what a Manager is made of.
type Options struct {
	Version  string
	RunID    string
	Config   *config.Config
	Pools    []config.Resolved
	Registry *registry.Registry
	Launcher Launcher
	Health   Health
	Output   Output
	Log      *slog.Logger
	// NotifyPath is the socket that workers report to (NOTIFY_SOCKET).
	NotifyPath string
}

// Health learns which pools serve.
type Health interface {
	SetHealth(pool string, serving bool)
}

// Manager runs all pools of one daemon.
type Manager struct {
	shared    *shared
	opts      Options
	pools     map[string]*pool
	byName    []*pool          // in the order of their names
	service   map[string]*pool // by full gRPC service name
	started   time.Time
	strangers strangers
	strays    sync.WaitGroup // releases of leftovers without a slot
}

// shared is what all pools use. Every part of it is safe for concurrent use.
type shared struct {
	runID      string
	registry   *registry.Registry
	ports      *registry.Ports
	launcher   Launcher
	health     Health
	output     Output
	events     *events
	boots      *boots
	log        *slog.Logger
	notifyPath string

	mu   sync.Mutex
	live map[*worker]Process // guarded by mu: who a datagram may come from
}

func (s *shared) remember(w *worker, p Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[w] = p
}

func (s *shared) forget(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, w)
}

// New makes a manager; nothing is started.
func New(o Options) *Manager {
	m := &Manager{opts: o, started: time.Now(), pools: map[string]*pool{}, service: map[string]*pool{}}
	m.shared = &shared{
		runID: o.RunID, registry: o.Registry, launcher: o.Launcher, health: o.Health, output: o.Output, log: o.Log,
		ports:  registry.NewPorts(o.Config.Daemon.Ports.First, o.Config.Daemon.Ports.Last),
		events: newEvents(o.Log), boots: newBoots(max(2, runtime.NumCPU())),
		notifyPath: o.NotifyPath, live: map[*worker]Process{},
	}
	for _, found := range o.Pools {
		p := newPool(found, m.shared)
		conf := found.Pool
		m.pools[conf.Name] = p
		m.byName = append(m.byName, p)
		for _, s := range conf.Services {
			m.service[s] = p
		}
	}
	return m
}

// Start releases what a former daemon left and starts all pools. It does not wait
// for workers to become ready.
func (m *Manager) Start() {
	m.takeLeftovers()
	m.leasePorts()
	for _, p := range m.byName {
		p.start()
	}
}

// leasePorts gives every slot its port in the order of the slots, so that people
// find them where they look. A lease that fails is tried again at launch, which
// tells why.
func (m *Manager) leasePorts() {
	for _, p := range m.byName {
		for _, s := range p.slots {
			if p.conf.UsesPort() {
				_, _ = m.shared.ports.Lease(s.name(p.conf.Name))
			}
		}
	}
}

// takeLeftovers puts what a former daemon left into the slots it belongs to, so
// that they start only after it is released. What belongs to no slot of today's
// configuration is released beside them.
func (m *Manager) takeLeftovers() {
	for _, rec := range m.shared.registry.Leftovers() {
		w := &worker{
			id: rec.Worker, port: rec.Port, socket: rec.Socket, adopted: true, aborted: make(chan struct{}),
			boots: func() {}, tail: &units.Tail{}, leftover: units.Identity{PID: rec.PID, StartTime: rec.StartTime, CGroup: rec.CGroup, Worker: rec.Worker.String(), RunID: rec.RunID},
		}
		m.shared.events.add(slog.LevelWarn, "leftover", rec.Worker.Pool, rec.Worker.String(), "a former daemon (run "+rec.RunID+") left its record; it is released first")
		p := m.pools[rec.Worker.Pool]
		if p != nil && rec.Worker.Slot < len(p.slots) && p.slots[rec.Worker.Slot].worker == nil {
			s := p.slots[rec.Worker.Slot]
			s.worker, s.state, s.reason = w, Releasing, "a former daemon left it"
			m.shared.ports.Reserve(s.name(p.conf.Name), rec.Port)
			continue
		}
		m.releaseStray(w)
	}
}

// releaseStray releases a leftover without a slot.
func (m *Manager) releaseStray(w *worker) {
	p := &pool{shared: m.shared}
	w.port = 0 // no slot of ours wants its port
	m.strays.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), leftoverTimeout)
		defer cancel()
		if _, _, err := p.releaseAll(ctx, w); err != nil {
			m.shared.events.add(slog.LevelError, "not-released", w.id.Pool, w.id.String(), err.Error())
			return
		}
		m.shared.events.add(slog.LevelInfo, "released", w.id.Pool, w.id.String(), "what a former daemon left is gone")
	})
}

// Stop ends all pools: no new calls, calls in flight finish up to drain_timeout
// (not at all once now is closed), every worker is released. Then it looks for
// orphans, which normally finds none. ctx only bounds the waiting.
func (m *Manager) Stop(ctx context.Context, now <-chan struct{}) (orphans int, err error) {
	for _, p := range m.byName {
		p.stop(false)
	}
	for _, p := range m.byName {
		for stopped := false; !stopped; {
			select {
			case <-p.done:
				stopped = true
			case <-now:
				now = nil
				for _, q := range m.byName {
					q.stop(true)
				}
			case <-ctx.Done():
				return 0, fmt.Errorf("cannot stop pool %s: %w", p.conf.Name, ctx.Err())
			}
		}
	}
	m.strays.Wait() // bounded by leftoverTimeout
	return m.sweep(ctx)
}

// Route implements transport.Router: the pool that is named, else the one that
// lists the service, else the default pool.
func (m *Manager) Route(name, method string) (transport.Pool, error) {
	if name != "" {
		if p := m.pools[name]; p != nil {
			return p, nil
		}
		return nil, &transport.Refusal{Reason: transport.PoolUnknown, Pool: name, Detail: "the configuration has no such pool"}
	}
	if p := m.service[serviceOf(method)]; p != nil {
		return p, nil
	}
	if p := m.pools[m.opts.Config.Daemon.DefaultPool]; p != nil {
		return p, nil
	}
	return nil, &transport.Refusal{Reason: transport.NoPool, Detail: "no pool lists the service " + serviceOf(method) + " and there is no default_pool: name one in the metadata snakepit-pool"}
}

// serviceOf is `pkg.Service` of `/pkg.Service/Method`.
func serviceOf(method string) string {
	for i := len(method) - 1; i > 0; i-- {
		if method[i] == '/' {
			return method[1:i]
		}
	}
	return ""
}

// Notified takes in what a worker reports. The sender is a worker when the kernel
// says that its process belongs to one; others are dropped.
func (m *Manager) Notified(msg units.Message) {
	w := m.shared.owner(msg.PID)
	if w == nil {
		m.strangers.warn(m.shared.log, msg)
		return
	}
	p := m.pools[w.id.Pool]
	if call := w.notices.heard(msg); call != "" {
		p.over(w, call)
	}
	if msg.Fields["STOPPING"] == "1" {
		p.leaving(w)
	}
}

// owner finds the worker that a process belongs to. The lock is not held while the
// kernel is asked.
func (s *shared) owner(pid int) *worker {
	s.mu.Lock()
	others := make(map[*worker]Process, len(s.live))
	for w, p := range s.live {
		if p.Identity().PID == pid {
			s.mu.Unlock()
			return w
		}
		others[w] = p
	}
	s.mu.Unlock()
	for w, p := range others {
		if p.Owns(pid) {
			return w
		}
	}
	return nil
}

// over passes on that an abandoned call has ended in a worker.
func (p *pool) over(w *worker, call string) {
	p.inbox.put(event{do: func() {
		if w.member != nil {
			p.leases.over(w.member, call)
		}
	}})
}

// leaving takes a worker that says that it stops out of the choice.
func (p *pool) leaving(w *worker) {
	p.inbox.put(event{do: func() {
		if w.member != nil {
			p.leases.leave(w.member)
		}
	}})
}

// ErrNotFound says that a target names no pool, slot or worker.
var ErrNotFound = errors.New("not found")

// leftoverTimeout bounds the release of a leftover that belongs to no pool, whose
// own release_timeout nobody knows any more.
const leftoverTimeout = 10 * time.Second

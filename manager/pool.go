package manager

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/snakepitd/snakepitd/manager/config"
	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/units"
)

// pool runs the workers of one pool: one event loop that owns the states of all
// its slots (ADR-003), and the lease table that calls use beside it.
type pool struct {
	conf   config.Pool
	found  config.Resolved // conf on this machine
	shared *shared
	leases *leases
	inbox  *inbox
	// bootPlace is the pool's own place among the starting workers.
	bootPlace chan struct{}

	// What follows belongs to the loop.
	slots      []*slot
	policy     restarts
	deaths     []*Death // the last ones, oldest first
	died       uint64
	orphans    uint64
	unexpected uint64
	cause      string // why no worker is coming
	serving    bool
	stopping   bool

	done chan struct{} // closed when the loop has ended: every slot is down
}

// event is what the loop reacts to: something that happened to a slot, or a
// function to run in the loop.
type event struct {
	kind     eventKind
	slot     int
	worker   *worker // the incarnation it is about; another one in the slot makes it stale
	timerSeq uint64
	process  Process
	conn     *transport.Worker
	cause    string
	exit     units.Exit
	left     int
	moved    int // the port that went to quarantine
	do       func()
}

// inbox is the loop's unbounded queue of events: no effect ever blocks on a loop.
type inbox struct {
	mu     sync.Mutex
	events []event       // guarded by mu
	wake   chan struct{} // capacity 1
}

func (i *inbox) put(ev event) {
	i.mu.Lock()
	i.events = append(i.events, ev)
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func (i *inbox) take() []event {
	i.mu.Lock()
	defer i.mu.Unlock()
	evs := i.events
	i.events = nil
	return evs
}

func newPool(found config.Resolved, s *shared) *pool {
	conf := found.Pool
	p := &pool{
		conf: found.Pool, found: found, shared: s,
		leases:    newLeases(conf.Name, conf.MaxQueue, conf.QueueTimeout, conf.OverrunTimeout),
		bootPlace: make(chan struct{}, 1),
		inbox:     &inbox{wake: make(chan struct{}, 1)},
		policy:    restarts{workers: conf.Workers},
		cause:     "no worker was ready yet",
		done:      make(chan struct{}),
	}
	for n := range conf.Workers {
		p.slots = append(p.slots, &slot{number: n, state: Down, since: time.Now()})
	}
	return p
}

// run is the loop. It ends when the pool is stopping and every slot is down.
func (p *pool) run() {
	defer close(p.done)
	for range p.inbox.wake {
		for _, ev := range p.inbox.take() {
			if ev.do != nil {
				ev.do()
			} else {
				p.handle(ev)
			}
		}
		p.publishOutlook()
		if p.stopping && p.allDown() {
			return
		}
	}
}

// call runs f in the loop and waits for it; false when the loop has ended.
func (p *pool) call(ctx context.Context, f func()) bool {
	ran := make(chan struct{})
	p.inbox.put(event{do: func() { f(); close(ran) }})
	select {
	case <-ran:
		return true
	case <-p.done:
		return false
	case <-ctx.Done():
		return false
	}
}

// start wants every slot up.
func (p *pool) start() {
	go p.run()
	p.inbox.put(event{do: func() {
		for _, s := range p.slots {
			s.wanted = true
			if s.worker == nil {
				p.handle(event{kind: evWantUp, slot: s.number})
			} else {
				p.perform(s, s.worker, doRelease) // what a former daemon left comes first
			}
		}
	}})
}

// stop wants every slot down: calls in flight finish up to drain_timeout, or not
// at all when now is true. It may be called again with now.
func (p *pool) stop(now bool) {
	p.inbox.put(event{do: func() {
		p.stopping = true
		p.leases.stop()
		for _, s := range p.slots {
			s.wanted = false
			p.handle(event{kind: evWantDown, slot: s.number})
			if now {
				p.handle(event{kind: evRestartNow, slot: s.number})
			}
		}
	}})
}

func (p *pool) allDown() bool {
	for _, s := range p.slots {
		if s.state != Down {
			return false
		}
	}
	return true
}

// ready counts slots whose worker takes calls.
func (p *pool) ready() (n int) {
	for _, s := range p.slots {
		if s.state == Ready {
			n++
		}
	}
	return n
}

// publishOutlook tells the lease table and the health service what callers may
// expect now.
func (p *pool) publishOutlook() {
	coming := false
	var until time.Time
	for _, s := range p.slots {
		coming = coming || s.coming(p.conf.QueueTimeout)
		if (s.state == Backoff || s.state == Failed) && (until.IsZero() || s.next.Before(until)) {
			until = s.next
		}
	}
	p.leases.expect(coming, p.cause, until)
	if serving := p.ready() > 0 && !p.stopping; serving != p.serving {
		p.serving = serving
		p.shared.health.SetHealth(p.conf.Name, serving)
	}
}

func (p *pool) event(level slog.Level, kind string, w *worker, message string) {
	name := ""
	if w != nil {
		name = w.id.String()
	}
	p.shared.events.add(level, kind, p.conf.Name, name, message)
}

var _ transport.Pool = (*pool)(nil)

// Name implements transport.Pool.
func (p *pool) Name() string { return p.conf.Name }

// MaxMessage implements transport.Pool: bytes.
func (p *pool) MaxMessage() int { return int(p.conf.MaxMessage) }

// CallTimeout implements transport.Pool: what a call without a deadline gets.
func (p *pool) CallTimeout() time.Duration { return p.conf.CallTimeout }

// Acquire implements transport.Pool.
func (p *pool) Acquire(ctx context.Context, c transport.Call) (transport.Lease, error) {
	return p.leases.acquire(ctx, c)
}

package manager

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/snakepitd/snakepitd/registry"
	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/units"
)

func (p *pool) newWorker(s *slot) *worker {
	return &worker{
		id:      p.shared.registry.NextWorker(p.conf.Name, s.number),
		tail:    &units.Tail{},
		notices: newNotices(),
		aborted: make(chan struct{}),
		boots:   func() {},
	}
}

// launch brings a worker to the gate: port, record, held process. It answers
// spawned, withheld or no-process.
func (p *pool) launch(slot int, w *worker) {
	process, err := p.bringToGate(w)
	ev := event{kind: evSpawned, slot: slot, worker: w, process: process}
	if err != nil {
		w.boots()
		ev.kind, ev.cause = evWithheld, err.Error()
		if process == nil {
			ev.kind = evNoProcess
		}
	}
	p.inbox.put(ev)
}

// bringToGate returns the held process. With an error beside it the process must not
// run: it is ended like any other.
func (p *pool) bringToGate(w *worker) (Process, error) {
	if err := p.shared.boots.enter(w, p.bootPlace); err != nil {
		return nil, err
	}
	if err := p.assignAddress(w); err != nil {
		return nil, err
	}
	spec, err := p.spec(w)
	if err != nil {
		return nil, err
	}
	rec := registry.Record{
		Worker: w.id, RunID: p.shared.runID, State: registry.StateStarting,
		Port: w.port, Socket: w.socket, Created: time.Now(),
	}
	// The record is written before any process exists: whatever happens from here
	// on, the next daemon knows where to look.
	if err := p.shared.registry.Put(rec); err != nil {
		return nil, err
	}
	ctx, cancel := w.wanted(p.conf.StartTimeout)
	defer cancel()
	process, err := p.shared.launcher.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	id := process.Identity()
	rec.State, rec.PID, rec.StartTime, rec.CGroup = registry.StateRunning, id.PID, id.StartTime, id.CGroup
	p.shared.remember(w, process)
	return process, p.shared.registry.Put(rec)
}

// assignAddress gives the worker its slot's port, or a socket path of its own.
func (p *pool) assignAddress(w *worker) error {
	if !p.conf.UsesPort() {
		w.socket = p.conf.Socket(w.id.String())
		w.address = "unix:" + w.socket
		return nil
	}
	port, err := p.shared.ports.Lease(w.id.SlotName())
	if err != nil {
		return err
	}
	w.port = port
	w.address = fmt.Sprintf("127.0.0.1:%d", port)
	return nil
}

// boot opens the gate and waits until the worker is ready in the way its pool asks
// for. It answers ready, not-ready, or boot-ended when the process ended first.
func (p *pool) boot(slot int, w *worker) {
	defer close(w.booted)
	defer w.boots()
	ctx, cancel := w.while(p.conf.StartTimeout + time.Second) // the slot's timer is the judge
	defer cancel()
	if err := w.process.Open(); err != nil {
		p.inbox.put(event{kind: evNotReady, slot: slot, worker: w, cause: err.Error()})
		return
	}
	conn, err := transport.NewWorker(transport.WorkerOptions{
		Pool: p.conf.Name, Name: w.id.String(), Address: w.address,
		MaxMessage: int(p.conf.MaxMessage), Verify: w.process.OwnsConn,
	})
	if err != nil {
		p.inbox.put(event{kind: evNotReady, slot: slot, worker: w, cause: err.Error()})
		return
	}
	if err := p.awaitReady(ctx, w, conn); err != nil {
		conn.Close()
		p.inbox.put(event{kind: evBootEnded, slot: slot, worker: w, cause: err.Error()})
		return
	}
	p.inbox.put(event{kind: evReady, slot: slot, worker: w, conn: conn})
}

// awaitReady returns nil when the worker is ready. It tries again until ctx ends:
// a worker that does not listen yet, or does not say SERVING yet, is not wrong.
func (p *pool) awaitReady(ctx context.Context, w *worker, conn *transport.Worker) error {
	if p.conf.Ready == "notify" {
		select {
		case <-w.notices.ready:
		case <-ctx.Done():
			return w.endedBoot(errors.New("it did not send READY=1"))
		}
	}
	err := reach(ctx, w, func(ctx context.Context) error {
		if err := conn.Connect(ctx); err != nil || p.conf.Ready != "health" {
			return err
		}
		return conn.Check(ctx)
	})
	if err != nil {
		return w.endedBoot(err)
	}
	return nil
}

// reach tries until it succeeds or ctx ends; the error is the last try's. Nothing
// tells when somebody begins to listen, so it asks again; READY=1 does not wait.
func reach(ctx context.Context, w *worker, try func(context.Context) error) error {
	told := w.notices.ready
	var last error
	for pause := firstPoll; ; pause = min(2*pause, longestPoll) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // not merely that the time was over
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-told:
			told = nil // once
		case <-ctx.Done():
			again.Stop()
			return last
		}
		again.Stop()
	}
}

// How often a starting worker is tried, and how long one try may take.
const (
	firstPoll      = 10 * time.Millisecond
	longestPoll    = 100 * time.Millisecond
	attemptTimeout = 5 * time.Second
)

// endedBoot says what a boot waited for in vain; nothing when the process ended,
// for then its end is the cause.
func (w *worker) endedBoot(err error) error {
	select {
	case <-w.aborted:
		return err // the process may have been ended because of it
	default:
	}
	select {
	case <-w.process.Exited():
		return errors.New("")
	default:
		return err
	}
}

// wanted is a context that ends when the worker is not wanted any more, or after the
// timeout.
func (w *worker) wanted(timeout time.Duration) (context.Context, context.CancelFunc) {
	return w.until(nil, timeout)
}

// while is a context that ends with the worker: when its process ends, when it is
// not wanted any more, or after the timeout.
func (w *worker) while(timeout time.Duration) (context.Context, context.CancelFunc) {
	return w.until(w.process.Exited(), timeout)
}

func (w *worker) until(exited <-chan struct{}, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	go func() {
		select {
		case <-exited:
		case <-w.aborted:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, cancel
}

// boots bounds how many workers of all pools start at the same time: imports are
// all CPU. Every pool has one place of its own beside the common ones, so that no
// pool holds up another, and a worker holds its place until it is ready or gone, but
// not longer than bootShare.
type boots struct{ places chan struct{} }

const bootShare = 3 * time.Second

func newBoots(n int) *boots { return &boots{places: make(chan struct{}, n)} }

// enter waits for a place, a common one or the pool's own, and gives it to the
// worker; w.boots leaves it.
func (b *boots) enter(w *worker, own chan struct{}) error {
	taken := b.places
	select {
	case b.places <- struct{}{}:
	case own <- struct{}{}:
		taken = own
	case <-w.aborted:
		return errAborted
	}
	var once sync.Once
	leave := func() { once.Do(func() { <-taken }) }
	share := time.AfterFunc(bootShare, leave)
	w.boots = func() {
		share.Stop()
		leave()
	}
	return nil
}

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
// spawned or no-process.
func (p *pool) launch(slot int, w *worker) {
	process, err := p.bringToGate(w)
	if err != nil {
		w.boots()
		p.inbox.put(event{kind: evNoProcess, slot: slot, worker: w, cause: err.Error()})
		return
	}
	p.inbox.put(event{kind: evSpawned, slot: slot, worker: w, process: process})
}

func (p *pool) bringToGate(w *worker) (Process, error) {
	if err := p.shared.boots.enter(w); err != nil {
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
	ctx, cancel := context.WithTimeout(context.Background(), p.conf.StartTimeout)
	defer cancel()
	process, err := p.shared.launcher.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	id := process.Identity()
	rec.State, rec.PID, rec.StartTime, rec.CGroup = registry.StateRunning, id.PID, id.StartTime, id.CGroup
	if err := p.shared.registry.Put(rec); err != nil {
		// Still held at the gate: it has run nothing.
		return nil, errors.Join(err, p.discard(process))
	}
	p.shared.remember(w, process)
	return process, nil
}

// discard ends a process that never left the gate.
func (p *pool) discard(process Process) error {
	if err := process.Kill(); err != nil {
		return err
	}
	<-process.Exited()
	ctx, cancel := context.WithTimeout(context.Background(), p.conf.ReleaseTimeout)
	defer cancel()
	_, err := process.Release(ctx)
	return err
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
	for pause := firstPoll; ; pause = min(2*pause, longestPoll) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-told:
			told = nil // once
		case <-ctx.Done():
			again.Stop()
			return err
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
	case <-w.process.Exited():
		return errors.New("")
	default:
		return err
	}
}

// while is a context that ends with the worker: when its process ends, when it is
// not wanted any more, or after the timeout.
func (w *worker) while(timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	exited := w.process.Exited()
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
// all CPU. A worker holds its place until it is ready or gone, but not longer than
// bootShare, so that a pool whose workers never get ready does not hold up another.
type boots struct{ places chan struct{} }

const bootShare = 3 * time.Second

func newBoots(n int) *boots { return &boots{places: make(chan struct{}, n)} }

// enter waits for a place and gives it to the worker; w.boots leaves it.
func (b *boots) enter(w *worker) error {
	select {
	case b.places <- struct{}{}:
	case <-w.aborted:
		return errAborted
	}
	var once sync.Once
	leave := func() { once.Do(func() { <-b.places }) }
	share := time.AfterFunc(bootShare, leave)
	w.boots = func() {
		share.Stop()
		leave()
	}
	return nil
}

package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/snakepitd/snakepitd/registry"
)

// release verifies that nothing of a worker is left: its processes, its port or
// socket, its record, in this order (ADR-004). It answers released, or
// not-released with what is still there when release_timeout has passed; a port
// that stays busy then goes to quarantine, which is an answer too: the slot moves.
func (p *pool) release(slot int, w *worker) {
	w.boots()
	if w.booted != nil {
		<-w.booted // why it could not become ready comes before released
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.conf.ReleaseTimeout)
	defer cancel()
	left, moved, err := p.releaseAll(ctx, w)
	if err != nil {
		<-ctx.Done() // it was given all its time
		p.inbox.put(event{kind: evNotRelease, slot: slot, worker: w, cause: err.Error()})
		return
	}
	p.inbox.put(event{kind: evReleased, slot: slot, worker: w, left: left, moved: moved})
}

func (p *pool) releaseAll(ctx context.Context, w *worker) (left, moved int, err error) {
	if w.adopted {
		err = p.shared.launcher.Reap(ctx, w.leftover)
	} else if w.process != nil {
		left, err = w.process.Release(ctx)
		w.output.Flush()
	}
	if err != nil {
		return left, 0, fmt.Errorf("cannot end the processes of %s: %w", w.id, err)
	}
	if w.member != nil {
		w.member.worker.Close()
	}
	if w.socket != "" {
		if err := os.Remove(w.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return left, 0, fmt.Errorf("cannot remove the socket of %s: %w", w.id, err)
		}
	}
	if w.port != 0 && !w.portDone {
		if !portFreed(ctx, w.port) {
			w.moved = p.shared.ports.Quarantine(w.id.SlotName())
		}
		w.portDone = true
	}
	return left, w.moved, p.removeRecord(w)
}

// portFreed waits until the port can be bound again. No event tells, so it asks.
func portFreed(ctx context.Context, port int) bool {
	for pause := firstPoll; registry.Probe(port) != nil; pause = min(2*pause, longestPoll) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// removeRecord takes the worker out of the run state. A full disk can refuse that;
// the slot then stays in releasing and tries again.
func (p *pool) removeRecord(w *worker) error {
	if err := p.shared.registry.Remove(w.id); err != nil {
		return fmt.Errorf("cannot remove the record of %s: %w", w.id, err)
	}
	return nil
}

package manager

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// keptEvents is how many events are kept for those who ask later.
const keptEvents = 512

// Event is one thing that happened to a pool or a worker.
type Event struct {
	Sequence uint64 // from 1, without gaps
	At       time.Time
	Kind     string
	Pool     string
	Worker   string // empty for the pool itself
	Message  string
}

// events keeps the last events, writes each to the log, and wakes those who
// follow. The mutex is a leaf; the log is written outside it.
type events struct {
	log *slog.Logger

	mu    sync.Mutex
	kept  []Event       // guarded by mu
	last  uint64        // guarded by mu
	added chan struct{} // guarded by mu; closed and replaced by add
}

func newEvents(log *slog.Logger) *events {
	return &events{log: log, added: make(chan struct{})}
}

func (e *events) add(level slog.Level, kind, pool, worker, message string) {
	now := time.Now()
	e.mu.Lock()
	e.last++
	if len(e.kept) == keptEvents {
		e.kept = append(e.kept[:0], e.kept[1:]...)
	}
	e.kept = append(e.kept, Event{Sequence: e.last, At: now, Kind: kind, Pool: pool, Worker: worker, Message: message})
	close(e.added)
	e.added = make(chan struct{})
	e.mu.Unlock()

	attrs := []slog.Attr{slog.String("pool", pool)}
	if worker != "" {
		attrs = append(attrs, slog.String("worker", worker))
	}
	if message != "" {
		attrs = append(attrs, slog.String("message", message))
	}
	e.log.LogAttrs(context.Background(), level, kind, attrs...)
}

// after returns the kept events with a higher sequence, and a channel that is
// closed when there is another.
func (e *events) after(sequence uint64) ([]Event, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Event
	for _, ev := range e.kept {
		if ev.Sequence > sequence {
			out = append(out, ev)
		}
	}
	return out, e.added
}

// sequence is the number of the last event.
func (e *events) sequence() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

package manager

import (
	"context"
	"time"

	"github.com/snakepitd/snakepitd/transport"
)

var _ transport.Lease = (*lease)(nil)

// Worker is the worker that the call goes to.
func (le *lease) Worker() *transport.Worker { return le.member.worker }

// Release gives the place back. An abandoned call keeps it: Python cannot be
// interrupted, so the place is free only when the worker says that the call is
// over, or, where the worker does not report calls, after overrun_timeout.
func (le *lease) Release(out transport.Outcome) {
	l, m := le.table, le.member
	l.mu.Lock()
	if out.Abandoned && !out.Broken {
		if !m.over[le.call] { // else it was over before we knew that the caller had left
			m.abandoned[le.call] = time.Now()
			l.mu.Unlock()
			le.awaitOver()
			return
		}
	}
	delete(m.over, le.call)
	took := time.Since(le.began)
	l.average += (took - l.average) / 16
	suspected := out.Broken && !m.suspect
	m.suspect = m.suspect || out.Broken
	finished := l.freeLocked(m)
	l.mu.Unlock()
	if finished {
		m.drained()
	}
	if suspected {
		m.broken()
	}
}

// freeLocked gives one place of m back and says whether that was the last call of
// a withdrawn member.
func (l *leases) freeLocked(m *member) (finished bool) {
	m.inFlight--
	if m.withdrawn {
		return m.inFlight == 0
	}
	l.grantLocked()
	return false
}

// awaitOver asks about an abandoned call whenever overrun_timeout has passed. A
// worker that does not report calls is trusted to have ended it by then.
func (le *lease) awaitOver() {
	time.AfterFunc(le.table.overrun, func() {
		l, m := le.table, le.member
		l.mu.Lock()
		_, kept := m.abandoned[le.call]
		reports := m.reports
		l.mu.Unlock()
		if !kept {
			return
		}
		if reports && m.alive() {
			ctx, cancel := context.WithTimeout(context.Background(), le.table.overrun)
			defer cancel()
			running, err := m.worker.Running(ctx, le.call)
			if err != nil || running {
				le.awaitOver()
				return
			}
		}
		l.over(m, le.call)
	})
}

func (m *member) alive() bool {
	select {
	case <-m.dead:
		return false
	default:
		return true
	}
}

// over frees the place of an abandoned call: the worker says that it has ended.
func (l *leases) over(m *member, call string) {
	l.mu.Lock()
	if _, kept := m.abandoned[call]; !kept {
		// The worker was quicker than we: remember it until the call is released. A
		// worker cannot make us remember more calls than it can be running.
		if len(m.over) < m.inFlight {
			m.over[call] = true
		}
		l.mu.Unlock()
		return
	}
	delete(m.abandoned, call)
	finished := l.freeLocked(m)
	l.mu.Unlock()
	if finished {
		m.drained()
	}
}

// Death waits until it is known whether the worker died, or ctx ends.
func (le *lease) Death(ctx context.Context) (cause string, died bool) {
	select {
	case <-le.member.dead:
		return le.member.cause, true
	case <-ctx.Done():
		return "", false
	}
}

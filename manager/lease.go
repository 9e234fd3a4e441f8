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
		m.abandoned[le.call] = true
		le.left = time.Now()
		l.mu.Unlock()
		le.awaitOver()
		return
	}
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

// awaitOver finds out when an abandoned call has ended. A worker that reports calls
// is asked at once, because the call may have ended just before its caller left; when
// it says that the call runs on, its report is certain to come. A call that still
// runs after overrun_timeout costs the worker its life: nobody waits for the call, and
// its place would be lost for as long as it likes. A worker that does not report is
// trusted to have ended the call by then.
func (le *lease) awaitOver() {
	l, m := le.table, le.member
	if !m.reports() {
		time.AfterFunc(l.overrun, func() { l.over(m, le.call) })
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), l.overrun)
		running, err := m.running(ctx, le.call)
		cancel()
		if err == nil && !running {
			l.over(m, le.call)
			return
		}
		left := max(0, l.overrun-time.Since(le.left))
		time.AfterFunc(left, func() {
			if l.keeps(m, le.call) && m.alive() {
				m.overran(le.call)
			}
		})
	}()
}

// keeps says whether an abandoned call still has its place.
func (l *leases) keeps(m *member, call string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return m.abandoned[call]
}

func (m *member) alive() bool {
	select {
	case <-m.dead:
		return false
	default:
		return true
	}
}

// over frees the place of an abandoned call that has ended. A report that comes
// before the call is known to be abandoned needs no memory: the worker is asked then.
func (l *leases) over(m *member, call string) {
	l.mu.Lock()
	kept := m.abandoned[call]
	delete(m.abandoned, call)
	finished := kept && l.freeLocked(m)
	l.mu.Unlock()
	if finished {
		m.drained()
	}
}

// Leaving implements transport.Lease.
func (le *lease) Leaving(ctx context.Context) bool {
	l, m := le.table, le.member
	l.mu.Lock()
	leaving := m.withdrawn || m.suspect
	l.mu.Unlock()
	if leaving {
		return true
	}
	select {
	case <-m.dead:
		return true
	case <-ctx.Done():
		return false
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

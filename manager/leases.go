package manager

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/snakepitd/snakepitd/transport"
)

// leases is the table that calls take workers from, and the queue of those that
// wait. Only the pool's loop adds and withdraws members and says whether a worker
// is coming; calls pick and give back. The mutex is a leaf: no I/O and no other
// lock is taken under it.
type leases struct {
	pool         string
	maxQueue     int
	queueTimeout time.Duration
	overrun      time.Duration

	mu       sync.Mutex
	members  []*member // guarded by mu, as all below
	waiters  list.List // of *waiter, first come first served
	next     int       // where pick starts, so that equals take turns
	coming   bool      // a worker is on its way: waiting makes sense
	cause    string    // why none is coming
	until    time.Time // when one may be coming again
	stopping bool
	calls    uint64
	rejected uint64
	average  time.Duration // moving mean of a call's time, for RetryInfo
}

// member is a ready worker in the table.
type member struct {
	worker   *transport.Worker
	name     string
	capacity int
	dead     chan struct{}                                        // closed after cause is set; never by a call
	cause    string                                               // how it died: written before dead is closed
	reports  func() bool                                          // the worker tells when an abandoned call is over
	running  func(ctx context.Context, call string) (bool, error) // asks the worker whether a call runs
	drained  func()                                               // called once, without the lock, when the last call of a withdrawn member is over
	broken   func()                                               // a call found the connection broken
	overran  func(call string)                                    // an abandoned call still runs after overrun_timeout

	inFlight  int // guarded by leases.mu, as all below
	calls     uint64
	withdrawn bool
	suspect   bool            // its connection broke: no calls until it answers again
	abandoned map[string]bool // calls whose caller is gone and whose place is kept
}

// waiter is a call in the queue.
type waiter struct {
	avoid   string
	granted chan grant // capacity 1
}

type grant struct {
	lease *lease
	err   error
}

// lease is the right of one call to one place in one worker.
type lease struct {
	table  *leases
	member *member
	call   string
	began  time.Time
	left   time.Time // when its caller was known to be gone
}

func newLeases(pool string, maxQueue int, queueTimeout, overrun time.Duration) *leases {
	return &leases{pool: pool, maxQueue: maxQueue, queueTimeout: queueTimeout, overrun: overrun}
}

// acquire gives a call a place in a worker, at once or from the queue. It gives up
// when ctx ends, when the queue is full, when queue_timeout has passed while the
// pool had a ready worker, and at once when no worker is ready and none is coming.
func (l *leases) acquire(ctx context.Context, call transport.Call) (transport.Lease, error) {
	l.mu.Lock()
	if err := l.refusalLocked(); err != nil {
		l.rejected++
		l.mu.Unlock()
		return nil, err
	}
	if l.waiters.Len() == 0 {
		if m := l.pickLocked(call.Exclude); m != nil {
			le := l.takeLocked(m, call.ID)
			l.mu.Unlock()
			return le, nil
		}
	}
	if l.waiters.Len() >= l.maxQueue {
		l.rejected++
		after := l.retryAfterLocked()
		l.mu.Unlock()
		return nil, &transport.Refusal{
			Reason: transport.QueueFull, Pool: l.pool, RetryAfter: after,
			Limit: fmt.Sprintf("max_queue=%d", l.maxQueue), Detail: "the queue is full",
		}
	}
	w := &waiter{avoid: call.Exclude, granted: make(chan grant, 1)}
	place := l.waiters.PushBack(w)
	l.mu.Unlock()
	return l.wait(ctx, w, place, call.ID)
}

func (l *leases) wait(ctx context.Context, w *waiter, place *list.Element, call string) (transport.Lease, error) {
	timeout := time.NewTimer(l.queueTimeout)
	defer timeout.Stop()
	for {
		select {
		case g := <-w.granted:
			return g.claim(call)
		case <-ctx.Done():
			if g, ok := l.giveUp(w, place); ok {
				if g.lease != nil {
					g.lease.Release(transport.Outcome{})
				}
			}
			return nil, ctx.Err()
		case <-timeout.C:
			l.mu.Lock()
			warming := len(l.members) == 0
			l.mu.Unlock()
			if warming {
				timeout.Reset(l.queueTimeout) // while a pool warms up the caller's own deadline counts
				continue
			}
			if g, ok := l.giveUp(w, place); ok {
				return g.claim(call)
			}
			return nil, &transport.Refusal{
				Reason: transport.QueueTimeout, Pool: l.pool, RetryAfter: l.retryAfter(),
				Limit: "queue_timeout=" + l.queueTimeout.String(), Detail: "no worker became free in time",
			}
		}
	}
}

func (g grant) claim(call string) (transport.Lease, error) {
	if g.err != nil {
		return nil, g.err
	}
	g.lease.call = call
	return g.lease, nil
}

// giveUp takes a waiter out of the queue. ok is true when it was granted something
// in the meantime, which is then the waiter's to use or give back.
func (l *leases) giveUp(w *waiter, place *list.Element) (g grant, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case g = <-w.granted:
		return g, true
	default:
		l.waiters.Remove(place)
		l.rejected++
		return grant{}, false
	}
}

// refusalLocked says why a call need not even wait.
func (l *leases) refusalLocked() error {
	if l.stopping {
		return &transport.Refusal{Reason: transport.Stopping, Pool: l.pool, Detail: "the daemon is stopping"}
	}
	if len(l.members) == 0 && !l.coming {
		return &transport.Refusal{
			Reason: transport.NoWorker, Pool: l.pool, Detail: l.cause, RetryAfter: max(0, time.Until(l.until)),
		}
	}
	return nil
}

// pickLocked is the least loaded member with a free place. One to avoid is taken only
// when no other has room.
func (l *leases) pickLocked(avoid string) *member {
	var best, avoided *member
	n := len(l.members)
	for i := range n {
		m := l.members[(l.next+i)%n]
		if m.inFlight >= m.capacity || m.suspect {
			continue
		}
		if m.name == avoid {
			avoided = m
			continue
		}
		if best == nil || m.inFlight < best.inFlight {
			best = m
		}
	}
	if n > 0 {
		l.next = (l.next + 1) % n
	}
	if best == nil {
		return avoided
	}
	return best
}

func (l *leases) takeLocked(m *member, call string) *lease {
	m.inFlight++
	m.calls++
	l.calls++
	return &lease{table: l, member: m, call: call, began: time.Now()}
}

// grantLocked gives free places to those who wait, in their order.
func (l *leases) grantLocked() {
	for e := l.waiters.Front(); e != nil; e = l.waiters.Front() {
		w := e.Value.(*waiter)
		m := l.pickLocked(w.avoid)
		if m == nil {
			return
		}
		l.waiters.Remove(e)
		w.granted <- grant{lease: l.takeLocked(m, "")}
	}
}

// refuseAllLocked answers everybody in the queue.
func (l *leases) refuseAllLocked(err error) {
	for e := l.waiters.Front(); e != nil; e = l.waiters.Front() {
		l.waiters.Remove(e)
		l.rejected++
		e.Value.(*waiter).granted <- grant{err: err}
	}
}

func (l *leases) retryAfter() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retryAfterLocked()
}

// retryAfterLocked guesses when a place in the queue will be free.
func (l *leases) retryAfterLocked() time.Duration {
	places := 0
	for _, m := range l.members {
		places += m.capacity
	}
	guess := l.average * time.Duration(l.waiters.Len()) / time.Duration(2*max(places, 1))
	return min(max(guess, 50*time.Millisecond), 10*time.Second)
}

// publish adds a ready worker. Loop only.
func (l *leases) publish(m *member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members = append(l.members, m)
	l.grantLocked()
}

// withdraw takes a worker out; m.drained is called when its last call is over,
// perhaps before withdraw returns. Loop only.
func (l *leases) withdraw(m *member) {
	l.mu.Lock()
	for i, other := range l.members {
		if other == m {
			l.members = append(l.members[:i], l.members[i+1:]...)
			break
		}
	}
	m.withdrawn = true
	idle := m.inFlight == 0
	l.mu.Unlock()
	if idle {
		m.drained()
	}
}

// died tells the calls of a member how it ended. Loop only, once.
func (l *leases) died(m *member, cause string) {
	m.cause = cause
	close(m.dead)
}

// expect says whether a worker is on its way; when none is left and none is
// coming, everybody who waits is told so with the cause. Loop only.
func (l *leases) expect(coming bool, cause string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.coming, l.cause, l.until = coming, cause, until
	if err := l.refusalLocked(); err != nil {
		l.refuseAllLocked(err)
	}
}

// stop refuses what waits and what comes. Loop only.
func (l *leases) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	l.refuseAllLocked(l.refusalLocked())
}

// leave says that a worker is on its way out: no more calls for it.
func (l *leases) leave(m *member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.suspect = true
}

// trust ends the suspicion that a broken connection raised.
func (l *leases) trust(m *member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.suspect = false
	l.grantLocked()
}

// figures is a snapshot for status.
type figures struct {
	inFlight, queued int
	calls, rejected  uint64
}

func (l *leases) figures() figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := figures{queued: l.waiters.Len(), calls: l.calls, rejected: l.rejected}
	for _, m := range l.members {
		f.inFlight += m.inFlight
	}
	return f
}

// load is how many calls a member has now and has had.
func (l *leases) load(m *member) (inFlight int, calls uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return m.inFlight, m.calls
}

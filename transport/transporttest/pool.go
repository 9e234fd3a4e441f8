package transporttest

import (
	"context"
	"sync"
	"time"

	"github.com/snakepitd/snakepitd/transport"
)

// Pool is a pool in memory: any number of calls in every worker, round robin.
type Pool struct {
	PoolName string
	Max      int
	Timeout  time.Duration
	Dead     func(worker string) (cause string, died bool) // nil: nobody dies
	// Released, when set, gets every outcome.
	Released chan transport.Outcome

	mu      sync.Mutex
	workers []*transport.Worker // guarded by mu
	next    int                 // guarded by mu
	refuse  error               // guarded by mu
	calls   []transport.Call    // guarded by mu
}

// NewPool has these workers.
func NewPool(name string, workers ...*transport.Worker) *Pool {
	return &Pool{PoolName: name, workers: workers}
}

// Route implements transport.Router for one pool.
func (p *Pool) Route(name, _ string) (transport.Pool, error) {
	if name != "" && name != p.PoolName {
		return nil, &transport.Refusal{Reason: transport.PoolUnknown, Pool: name}
	}
	return p, nil
}

// Refuse answers every Acquire with err; nil ends that.
func (p *Pool) Refuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
}

// Calls are the calls that asked for a lease so far.
func (p *Pool) Calls() []transport.Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]transport.Call(nil), p.calls...)
}

// Name implements transport.Pool.
func (p *Pool) Name() string { return p.PoolName }

// MaxMessage implements transport.Pool.
func (p *Pool) MaxMessage() int { return p.Max }

// CallTimeout implements transport.Pool.
func (p *Pool) CallTimeout() time.Duration { return p.Timeout }

// Acquire implements transport.Pool.
func (p *Pool) Acquire(ctx context.Context, c transport.Call) (transport.Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Released != nil { // benchmarks do not want a list that grows
		p.calls = append(p.calls, c)
	}
	if p.refuse != nil {
		return nil, p.refuse
	}
	for range p.workers {
		w := p.workers[p.next%len(p.workers)]
		p.next++
		if w.Name() != c.Exclude || len(p.workers) == 1 {
			return &lease{p, w}, ctx.Err()
		}
	}
	return nil, &transport.Refusal{Reason: transport.NoWorker, Pool: p.PoolName, RetryAfter: time.Second}
}

type lease struct {
	pool   *Pool
	worker *transport.Worker
}

func (l *lease) Worker() *transport.Worker { return l.worker }

func (l *lease) Release(out transport.Outcome) {
	if l.pool.Released != nil {
		l.pool.Released <- out
	}
}

// Leaving is what Dead says.
func (l *lease) Leaving(ctx context.Context) bool {
	_, died := l.Death(ctx)
	return died
}

func (l *lease) Death(context.Context) (string, bool) {
	if l.pool.Dead == nil {
		return "", false
	}
	return l.pool.Dead(l.worker.Name())
}

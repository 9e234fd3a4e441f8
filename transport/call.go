package transport

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// call is one call of a client on its way through the front.
type call struct {
	stream  grpc.ServerStream
	ctx     context.Context // the client's, with metadata for the worker and call_timeout
	timeout time.Duration   // call_timeout where the client has no deadline, else 0
	pool    Pool
	method  string
	id      string
	req     request
	max     int // longest message, in bytes; 0 is no limit

	replay  *replay                 // nil unless the call is idempotent
	refused atomic.Pointer[Refusal] // why we ended the call while messages went to the worker
	replied bool                    // something went back to the client: no second attempt
}

// How often a call is tried, and how long it may wait for the cause of a death.
const (
	maxAttempts = 3
	causeWait   = time.Second
)

// attempt is what came of a call in one worker.
type attempt struct {
	err        error // nil: the worker answered OK
	outcome    Outcome
	notStarted bool // the worker never saw the call
}

// run finds a worker for the call, and another one where that is safe. What it
// returns is the one answer to the client.
func (c *call) run() error {
	if c.req.idempotent {
		c.replay = newReplay(c)
		defer c.replay.close()
	}
	exclude := ""
	var before func() error // the answer of the attempt before
	for n := 1; ; n++ {
		lease, err := c.pool.Acquire(c.ctx, Call{Method: c.method, ID: c.id, Exclude: exclude})
		if err != nil && before != nil {
			return before() // the call has been in a worker: its place in the queue is not what matters
		}
		if err != nil {
			return c.failure(err)
		}
		worker := lease.Worker()
		a := c.try(worker)
		if c.shutDown(a, lease) {
			a.outcome = Outcome{Broken: true}
		}
		a.outcome.Code = status.Code(a.err)
		lease.Release(a.outcome)
		if !a.outcome.Broken {
			return a.err
		}
		before = func() error { return c.lost(lease, worker, a) }
		if n < maxAttempts && c.ctx.Err() == nil && c.repeatable(a) {
			exclude = worker.Name()
			continue
		}
		return before()
	}
}

// shutDown says that the worker's server ended the call because it shuts down: it
// was cancelled, and neither the client nor we did that.
func (c *call) shutDown(a attempt, lease Lease) bool {
	if status.Code(a.err) != codes.Canceled || a.outcome.Abandoned || a.outcome.Broken || a.notStarted || c.ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(c.ctx, shutDownWait)
	defer cancel()
	return lease.Leaving(ctx)
}

// shutDownWait is how long it may take until it is known that a worker which cancels
// a call by itself is on its way out.
const shutDownWait = 250 * time.Millisecond

// repeatable: a call that no worker saw is safe to send to another one; one that a
// worker may have run is only when it is idempotent, nothing of an answer has gone
// out, and its messages are still here.
func (c *call) repeatable(a attempt) bool {
	if c.replied {
		return false
	}
	return a.notStarted || (c.replay != nil && c.replay.whole())
}

// lost is the answer to a call whose connection broke.
func (c *call) lost(lease Lease, worker *Worker, a attempt) error {
	if c.ctx.Err() != nil {
		return c.failure(c.ctx.Err())
	}
	ctx, cancel := context.WithTimeout(c.ctx, causeWait)
	defer cancel()
	r := &Refusal{Reason: WorkerLost, Pool: c.pool.Name(), Worker: worker.Name(), NotStarted: a.notStarted}
	cause, died := lease.Death(ctx)
	if died {
		r.Reason, r.Detail = WorkerDied, cause
	} else {
		r.Detail = status.Convert(a.err).Message()
	}
	return r
}

// failure is the answer where the call ended without a worker's word.
func (c *call) failure(err error) error {
	if c.timeout > 0 && errors.Is(err, context.DeadlineExceeded) {
		return &Refusal{Reason: CallTimeout, Pool: c.pool.Name(), Limit: fmt.Sprintf("call_timeout=%s", c.timeout)}
	}
	return failure(err)
}

// tooLarge ends the call: a message to or from the worker is longer than the pool
// allows. size is 0 where it is not known.
func (c *call) tooLarge(where string, size int) *Refusal {
	r := &Refusal{Reason: MessageTooLarge, Pool: c.pool.Name(), Limit: fmt.Sprintf("max_message=%d", c.max), Detail: where}
	if size > 0 {
		r.Detail = fmt.Sprintf("%s has %d bytes", where, size)
	}
	return r
}

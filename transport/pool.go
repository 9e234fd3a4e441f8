package transport

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
)

// Router finds the pool of a call.
type Router interface {
	// Route returns the pool for a full method name ("/pkg.Service/Method"). The
	// pool name is the metadata snakepit-pool, or "". A *Refusal as error is what
	// the caller gets.
	Route(pool, method string) (Pool, error)
}

// Pool hands out places in its workers.
type Pool interface {
	// Name of the pool, as in the configuration.
	Name() string
	// Acquire waits for a place in a worker. A *Refusal as error is what the caller
	// gets; the error of ctx means that the caller left or its time is over.
	Acquire(ctx context.Context, c Call) (Lease, error)
	// MaxMessage is the longest message in either direction, in bytes.
	MaxMessage() int
	// CallTimeout bounds a call without a deadline; 0 is no bound.
	CallTimeout() time.Duration
}

// Call is what the pool may know of a call.
type Call struct {
	// Method is the full method name.
	Method string
	// ID is unique in this daemon; the worker gets it as metadata snakepit-call.
	ID string
	// Exclude names a worker to avoid while another has room: the one where the call
	// failed before.
	Exclude string
}

// Lease is one place in one worker, for one call.
type Lease interface {
	// Worker is where the call goes.
	Worker() *Worker
	// Release gives the place back. It is called exactly once.
	Release(Outcome)
	// Leaving says whether the worker is being stopped, or dies before ctx ends: a
	// server that shuts down cancels its calls, and that is not the application's word.
	// It is called before Release.
	Leaving(ctx context.Context) bool
	// Death waits until it is known whether the worker died, bounded by ctx, and
	// says why. It is called after a broken connection and after Release.
	Death(ctx context.Context) (cause string, died bool)
}

// Outcome is how a call ended in its worker.
type Outcome struct {
	// Code is what the caller got.
	Code codes.Code
	// Abandoned: the caller left or its deadline passed while the worker may still
	// run the call.
	Abandoned bool
	// Broken: the connection to the worker broke under the call or was not there.
	Broken bool
}

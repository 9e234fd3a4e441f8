package transport

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
)

// replayLimit bounds what is kept of an idempotent call, in bytes; one message is
// kept whatever its size.
const replayLimit = 1 << 20

// replay reads the client's messages, keeps them within replayLimit, and sends them
// to every worker that the call is tried in. It reads only what a worker has room
// for. Only idempotent calls have one.
type replay struct {
	call *call
	ask  chan struct{} // capacity 1: the sender wants one more message

	mu     sync.Mutex
	kept   []message     // guarded by mu: from index first on
	first  int           // guarded by mu
	taken  int           // guarded by mu: how many messages were sent somewhere
	bytes  int           // guarded by mu: of all messages
	over   bool          // guarded by mu: past the limit, sent messages are dropped
	end    error         // guarded by mu: why there are no more; io.EOF for half-close
	closed bool          // guarded by mu
	more   chan struct{} // guarded by mu: closed at the next message or the end
}

func newReplay(c *call) *replay {
	r := &replay{call: c, ask: make(chan struct{}, 1), more: make(chan struct{})}
	go r.read()
	return r
}

// whole says whether the call can be sent again from its first message on.
func (r *replay) whole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.over && (r.end == nil || errors.Is(r.end, io.EOF))
}

// read runs as long as the call: a read from the client cannot be interrupted.
func (r *replay) read() {
	for {
		select {
		case <-r.ask:
		case <-r.call.stream.Context().Done():
			r.add(message{}, r.call.stream.Context().Err())
			return
		}
		var m message
		err := r.call.receive(&m)
		r.add(m, err)
		if err != nil {
			return
		}
	}
}

func (r *replay) add(m message, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.end = err
	} else if r.closed {
		m.free()
	} else {
		r.kept = append(r.kept, m)
		r.bytes += m.data.Len()
		r.over = r.over || (r.bytes > replayLimit && r.first+len(r.kept) > 1)
		r.dropLocked()
	}
	close(r.more)
	r.more = make(chan struct{})
}

func (r *replay) dropLocked() {
	for r.over && r.first < r.taken && len(r.kept) > 0 {
		r.kept[0].free()
		r.kept = r.kept[1:]
		r.first++
	}
}

// next is message i, which the caller frees.
func (r *replay) next(ctx context.Context, i int) (message, error) {
	for {
		r.mu.Lock()
		if at := i - r.first; at >= 0 && at < len(r.kept) {
			m := r.kept[at]
			m.data.Ref()
			r.taken = max(r.taken, i+1)
			r.dropLocked()
			r.mu.Unlock()
			return m, nil
		}
		end, more := r.end, r.more
		r.mu.Unlock()
		if end != nil {
			return message{}, end
		}
		select {
		case r.ask <- struct{}{}:
		default:
		}
		select {
		case <-more:
		case <-ctx.Done():
			return message{}, ctx.Err()
		}
	}
}

// upload sends all messages of the client to one worker. abort ends the attempt.
func (r *replay) upload(ctx context.Context, ws grpc.ClientStream, abort context.CancelFunc) {
	for i := 0; ; i++ {
		m, err := r.next(ctx, i)
		if errors.Is(err, io.EOF) {
			_ = ws.CloseSend() // its error is the stream's, which download gets
			return
		}
		if err != nil {
			abort()
			return
		}
		err = ws.SendMsg(&m)
		m.free()
		if err != nil {
			return
		}
	}
}

// close frees what is kept.
func (r *replay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for i := range r.kept {
		r.kept[i].free()
	}
	r.first += len(r.kept)
	r.kept = nil
}

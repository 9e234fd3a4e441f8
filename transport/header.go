package transport

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// headerWait is how long a worker's headers wait for its first message, so that both
// go to the client in one write. A client that waits for headers before it sends
// anything gets them so much later.
const headerWait = time.Millisecond

// header is a worker's headers on their way to the client. Those of an idempotent
// call wait for the first message however long that takes: until something is out,
// the call can be made again in another worker.
type header struct {
	stream grpc.ServerStream
	md     metadata.MD // nil: nothing to send, or settled
	timer  *time.Timer // nil: waits for the first message
	sent   chan error  // capacity 1: the timer sent them
}

func (c *call) hold(md metadata.MD) *header {
	h := &header{stream: c.stream}
	if md == nil {
		return h // an answer of trailers only, or an error
	}
	h.md = answer(md)
	if c.replay == nil {
		h.sent = make(chan error, 1)
		h.timer = time.AfterFunc(headerWait, func() { h.sent <- h.stream.SendHeader(h.md) })
	}
	return h
}

// settle ends the waiting: the headers are out, or go out with what is sent next.
func (h *header) settle() error {
	md, mine := h.end()
	if !mine {
		return nil
	}
	return h.stream.SetHeader(md)
}

// drop ends the waiting of headers that are not to be sent any more.
func (h *header) drop() { h.end() }

// end stops the timer, or waits until it has sent the headers; mine says that they
// are still to be sent.
func (h *header) end() (md metadata.MD, mine bool) {
	if h.md == nil {
		return nil, false
	}
	if h.timer != nil && !h.timer.Stop() {
		<-h.sent // its error is the stream's, which the next send gets
		h.md = nil
		return nil, false
	}
	md, h.md = h.md, nil
	return md, true
}

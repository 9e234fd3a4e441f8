package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errClientGone ends an attempt when the client does not take the answer.
var errClientGone = errors.New("the client left")

// try makes the call in one worker and passes everything both ways. Sending blocks
// while the other side does not read: nothing is buffered here.
func (c *call) try(w *Worker) attempt {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	desc := grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	var opts []grpc.CallOption
	if c.req.subtype != "" {
		opts = append(opts, grpc.CallContentSubtype(c.req.subtype))
	}
	ws, err := w.conn.NewStream(ctx, &desc, c.method, opts...)
	if err != nil {
		if c.ctx.Err() != nil {
			return attempt{err: c.failure(err), notStarted: true}
		}
		if r := headersTooLong(err); r != nil {
			r.Pool = c.pool.Name()
			return attempt{err: r, notStarted: true}
		}
		lost := status.Code(err) == codes.Unavailable || status.Code(err) == codes.Canceled // Canceled: closed
		return attempt{err: err, notStarted: true, outcome: Outcome{Broken: lost}}
	}
	if c.replay == nil {
		go c.upload(ws, cancel)
	} else {
		go c.replay.upload(ctx, ws, cancel)
	}
	err = c.download(ws)
	return c.ended(w, ws, err)
}

// upload passes what the client sends. It ends with the call: both streams fail
// when the handler returns.
func (c *call) upload(ws grpc.ClientStream, cancel context.CancelFunc) {
	var m message
	for {
		err := c.receive(&m)
		if errors.Is(err, io.EOF) {
			_ = ws.CloseSend() // its error is the stream's, which download gets
			return
		}
		if err != nil {
			cancel()
			return
		}
		err = ws.SendMsg(&m)
		m.free()
		if err != nil {
			return // the stream ended: download gets the reason
		}
	}
}

// receive takes one message of the client; a longer one than the pool allows ends
// the call.
func (c *call) receive(m *message) error {
	if err := c.stream.RecvMsg(m); err != nil {
		return err
	}
	if size := m.data.Len(); c.max > 0 && size > c.max {
		m.free()
		r := c.tooLarge("a message of the client", size)
		c.refused.Store(r)
		return r
	}
	return nil
}

// download passes the worker's answer and returns how its stream ended; nil for OK.
func (c *call) download(ws grpc.ClientStream) error {
	md, _ := ws.Header() // nil for an answer of trailers only, and on errors
	held := c.hold(md)
	defer held.drop()
	var m message
	for {
		err := ws.RecvMsg(&m)
		if err == nil || !c.unanswered(ws, err) {
			if held.settle() != nil {
				m.free()
				return errClientGone
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c.replied = true
		err = c.stream.SendMsg(&m)
		m.free()
		if err != nil {
			return errClientGone
		}
	}
}

// unanswered says that the end of the stream is no answer of the worker's: its
// connection broke.
func (c *call) unanswered(ws grpc.ClientStream, err error) bool {
	return !errors.Is(err, io.EOF) && brokenStream(err, ws.Trailer()) && brokeUnder(ws)
}

// ended tells apart who ended the stream to the worker, and makes the answer.
func (c *call) ended(w *Worker, ws grpc.ClientStream, err error) attempt {
	if errors.Is(err, errClientGone) {
		return attempt{err: c.failure(context.Canceled), outcome: Outcome{Abandoned: true}}
	}
	if r := c.refused.Load(); r != nil {
		return attempt{err: r, outcome: Outcome{Abandoned: true}}
	}
	trailer := ws.Trailer()
	code := status.Code(err)
	if gone := c.over(code); gone != nil {
		return attempt{err: c.failure(gone), outcome: Outcome{Abandoned: true}}
	}
	if err != nil && c.unanswered(ws, err) {
		return attempt{err: err, outcome: Outcome{Broken: true}}
	}
	if overLimit(err, trailer, w.opts.MaxMessage) {
		return attempt{err: c.tooLarge("a message of the worker", 0), outcome: Outcome{Abandoned: true}}
	}
	if len(trailer) > 0 {
		c.stream.SetTrailer(answer(trailer))
	}
	return attempt{err: err}
}

// over says whether the stream ended with code because the client left or the
// deadline passed. The worker's own word for that counts the same: Python goes on
// with a call whose deadline its server has already answered.
func (c *call) over(code codes.Code) error {
	if code != codes.Canceled && code != codes.DeadlineExceeded {
		return nil
	}
	deadline, has := c.ctx.Deadline()
	if has && code == codes.DeadlineExceeded && time.Until(deadline) < clockSlack {
		return context.DeadlineExceeded
	}
	return c.ctx.Err()
}

// clockSlack is how much earlier than our timer the worker's may fire.
const clockSlack = 20 * time.Millisecond

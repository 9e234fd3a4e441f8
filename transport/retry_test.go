package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/transport/transporttest"
)

// mortal is a backend whose first call never ends; began says that it is there.
func mortal(t *testing.T) (*transporttest.Backend, chan struct{}) {
	began := make(chan struct{}, 10)
	return transporttest.NewBackend(t, "tcp", func(_ string, s grpc.ServerStream) error {
		_ = s.RecvMsg(new([]byte))
		began <- struct{}{}
		<-s.Context().Done()
		return nil
	}), began
}

func TestWorkerDies(t *testing.T) {
	back, began := mortal(t)
	other := transporttest.NewBackend(t, "unix", transporttest.Echo)
	b := newBed(t, worker(t, "text-0-1", back.Address), worker(t, "text-1-1", other.Address))
	b.pool.Dead = func(string) (string, bool) { return "killed by SIGKILL", true }
	result := make(chan error, 1)
	go func() {
		_, err := unary(soon(t), b.ClientConn, []byte("x"))
		result <- err
	}()
	<-began
	back.Cut()
	err := <-result
	i := info(err)
	if status.Code(err) != codes.Unavailable || i.GetReason() != "WORKER_DIED" || i.GetMetadata()["worker"] != "text-0-1" ||
		i.GetMetadata()["pool"] != "text" || i.GetMetadata()["cause"] != "killed by SIGKILL" || i.GetMetadata()["started"] != "" {
		t.Fatal(err, i)
	}
	if out := <-b.pool.Released; !out.Broken || out.Abandoned {
		t.Errorf("outcome %+v", out)
	}
}

func TestIdempotentIsAnsweredByAnother(t *testing.T) {
	for _, size := range []int{1, 3 << 20} {
		back, began := mortal(t)
		other := transporttest.NewBackend(t, "unix", transporttest.Echo)
		b := newBed(t, worker(t, "text-0-1", back.Address), worker(t, "text-1-1", other.Address))
		go func() { <-began; back.Kill() }()
		want := bytes.Repeat([]byte("x"), size)
		got, err := unary(idempotent(soon(t)), b.ClientConn, want)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatal(err)
		}
		calls := b.pool.Calls()
		if len(calls) != 2 || calls[1].Exclude != "text-0-1" || calls[0].ID != calls[1].ID {
			t.Errorf("%+v", calls)
		}
	}
}

// TestNoSecondAttempt: an answer had begun, or the messages are not kept any more.
func TestNoSecondAttempt(t *testing.T) {
	t.Run("answer had begun", func(t *testing.T) {
		back := transporttest.NewBackend(t, "tcp", transporttest.Echo)
		b := newBed(t, worker(t, "text-0-1", back.Address), worker(t, "text-1-1", back.Address))
		s := bidi(idempotent(soon(t)), t, b.ClientConn)
		_ = s.SendMsg(&[]byte{1})
		if err := s.RecvMsg(new([]byte)); err != nil {
			t.Fatal(err)
		}
		back.Cut()
		if err := s.RecvMsg(new([]byte)); info(err).GetReason() != "WORKER_LOST" || len(b.pool.Calls()) != 1 {
			t.Fatal(err)
		}
	})
	t.Run("too many messages", func(t *testing.T) {
		enough := make(chan struct{})
		back := transporttest.NewBackend(t, "tcp", func(_ string, s grpc.ServerStream) error {
			for range 40 {
				_ = s.RecvMsg(new([]byte))
			}
			close(enough)
			<-s.Context().Done()
			return nil
		})
		b := newBed(t, worker(t, "text-0-1", back.Address), worker(t, "text-1-1", back.Address))
		s := bidi(idempotent(soon(t)), t, b.ClientConn)
		m := make([]byte, 64<<10)
		for range 40 {
			_ = s.SendMsg(&m)
		}
		<-enough
		back.Cut()
		if err := s.RecvMsg(new([]byte)); info(err).GetReason() != "WORKER_LOST" || len(b.pool.Calls()) != 1 {
			t.Fatal(err)
		}
	})
}

func TestNeverStartedIsTriedElsewhere(t *testing.T) {
	gone := transporttest.NewBackend(t, "tcp", transporttest.Echo)
	gone.Kill()
	other := transporttest.NewBackend(t, "unix", transporttest.Echo)
	b := newBed(t, worker(t, "text-0-1", gone.Address), worker(t, "text-1-1", other.Address))
	if got, err := unary(soon(t), b.ClientConn, []byte("x")); err != nil || string(got) != "x" {
		t.Fatal(err)
	}
	alone := newBed(t, worker(t, "text-0-1", gone.Address))
	_, err := unary(soon(t), alone.ClientConn, []byte("x"))
	if i := info(err); i.GetReason() != "WORKER_LOST" || i.GetMetadata()["started"] != "false" || len(alone.pool.Calls()) != 3 {
		t.Fatal(err, len(alone.pool.Calls()))
	}
}

// TestCutConnections: 64 callers while connections break; every caller gets one
// answer, its own.
func TestCutConnections(t *testing.T) {
	one := transporttest.NewBackend(t, "tcp", transporttest.Echo)
	two := transporttest.NewBackend(t, "unix", transporttest.Echo)
	b := newBed(t, worker(t, "text-0-1", one.Address), worker(t, "text-1-1", two.Address))
	var finished, failed atomic.Int64
	ctx := soon(t)
	cutting, stop := context.WithCancel(ctx)
	var cutter sync.WaitGroup
	cutter.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if rand.IntN(2) == 0 {
					one.Cut()
				} else {
					two.Cut()
				}
			case <-cutting.Done():
				return
			}
		}
	})
	var callers sync.WaitGroup
	for caller := range 64 {
		callers.Go(func() {
			for n := range 40 {
				id := fmt.Sprintf("%d-%d", caller, n)
				ctx := ctx
				if n%2 == 0 {
					ctx = idempotent(ctx)
				}
				var got []byte
				var err error
				if n%3 == 0 {
					s := bidi(ctx, t, b.ClientConn)
					m := []byte(id)
					_ = s.SendMsg(&m)
					_ = s.CloseSend()
					if err = s.RecvMsg(&got); err == nil {
						if end := s.RecvMsg(new([]byte)); !errors.Is(end, io.EOF) {
							err = end
						}
					}
				} else {
					got, err = unary(ctx, b.ClientConn, []byte(id))
				}
				switch {
				case err == nil && string(got) != id:
					t.Errorf("call %s got the answer of %q", id, got)
				case err != nil && info(err) == nil:
					t.Errorf("call %s: not typed: %v", id, err)
				case err != nil:
					failed.Add(1)
				}
				finished.Add(1)
			}
		})
	}
	callers.Wait()
	stop()
	cutter.Wait()
	t.Logf("%d calls, %d with an error of ours", finished.Load(), failed.Load())
}

func TestStrangerGetsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan []byte, 100)
	var readers sync.WaitGroup
	defer readers.Wait()
	readers.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			readers.Go(func() {
				all, _ := io.ReadAll(conn)
				conn.Close()
				got <- all
			})
		}
	})
	stranger := errors.New("the listener belongs to process 4711")
	w, err := transport.NewWorker(transport.WorkerOptions{
		Pool: "text", Name: "text-0-1", Address: l.Addr().String(),
		Verify: func(net.Conn) error { return stranger },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Connect(soon(t)); !errors.Is(err, stranger) {
		t.Fatal(err)
	}
	b := newBed(t, w)
	if _, err := unary(soon(t), b.ClientConn, []byte("secret")); info(err).GetReason() != "WORKER_LOST" {
		t.Fatal(err)
	}
	if b := <-got; len(b) > 0 {
		t.Errorf("the stranger read %q", b)
	}
	_ = w.Close()
	l.Close()
	readers.Wait()
	close(got)
	for b := range got {
		if len(b) > 0 {
			t.Errorf("the stranger read %q", b)
		}
	}
}

// TestHeadersOfAnIdempotentCallWait: a worker that sent its headers and died has not
// answered yet, so the call can be made again; the client sees the headers of the
// worker that answered.
func TestHeadersOfAnIdempotentCallWait(t *testing.T) {
	began := make(chan struct{}, 1)
	first := transporttest.NewBackend(t, "tcp", func(_ string, s grpc.ServerStream) error {
		_ = s.RecvMsg(new([]byte))
		_ = s.SendHeader(metadata.Pairs("from", "the dead one"))
		began <- struct{}{}
		<-s.Context().Done()
		return nil
	})
	second := transporttest.NewBackend(t, "tcp", func(_ string, s grpc.ServerStream) error {
		_ = s.RecvMsg(new([]byte))
		_ = s.SetHeader(metadata.Pairs("from", "the other"))
		return s.SendMsg(&[]byte{7})
	})
	b := newBed(t, worker(t, "text-0-1", first.Address), worker(t, "text-1-1", second.Address))
	go func() { <-began; first.Kill() }()
	s := bidi(idempotent(soon(t)), t, b.ClientConn)
	_ = s.SendMsg(&[]byte{1})
	_ = s.CloseSend()
	var got []byte
	if err := s.RecvMsg(&got); err != nil || len(got) != 1 || got[0] != 7 {
		t.Fatal(got, err)
	}
	if md, err := s.Header(); err != nil || fmt.Sprint(md.Get("from")) != "[the other]" {
		t.Errorf("headers %v, %v", md, err)
	}
}

// TestHeadersDoNotWaitForAMessage: a client may want the headers before it sends
// anything.
func TestHeadersDoNotWaitForAMessage(t *testing.T) {
	back := transporttest.NewBackend(t, "tcp", func(_ string, s grpc.ServerStream) error {
		_ = s.SendHeader(metadata.Pairs("from", "the worker"))
		return s.RecvMsg(new([]byte))
	})
	b := newBed(t, worker(t, "text-0-1", back.Address))
	s := bidi(soon(t), t, b.ClientConn)
	if md, err := s.Header(); err != nil || fmt.Sprint(md.Get("from")) != "[the worker]" {
		t.Errorf("headers %v, %v", md, err)
	}
	_ = s.SendMsg(&[]byte{1})
	if err := s.RecvMsg(new([]byte)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

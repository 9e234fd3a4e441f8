package transport_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestDeadlinePassesOn(t *testing.T) {
	left := make(chan time.Duration, 1)
	over := make(chan error, 1)
	b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
		d, _ := s.Context().Deadline()
		left <- time.Until(d)
		<-s.Context().Done()
		over <- s.Context().Err()
		return s.Context().Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := unary(ctx, b.ClientConn, nil); status.Code(err) != codes.DeadlineExceeded {
		t.Fatal(err)
	}
	if d := <-left; d <= 0 || d > 301*time.Millisecond {
		t.Errorf("the worker has %v", d)
	}
	<-over
	if out := <-b.pool.Released; !out.Abandoned || out.Broken {
		t.Errorf("outcome %+v", out)
	}
}

func TestCallTimeout(t *testing.T) {
	b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
		<-s.Context().Done()
		return s.Context().Err()
	})
	b.pool.Timeout = 50 * time.Millisecond
	_, err := unary(t.Context(), b.ClientConn, nil)
	if i := info(err); status.Code(err) != codes.DeadlineExceeded || i.GetReason() != "CALL_TIMEOUT" || i.GetMetadata()["limit"] != "call_timeout=50ms" {
		t.Fatal(err)
	}
	if out := <-b.pool.Released; !out.Abandoned || out.Code != codes.DeadlineExceeded {
		t.Errorf("outcome %+v", out)
	}
}

func TestCancelReachesTheWorker(t *testing.T) {
	for _, after := range []int{0, 3} { // messages that were answered before
		began, over := make(chan struct{}), make(chan struct{})
		b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
			defer close(over)
			for range after {
				var m []byte
				_ = s.RecvMsg(&m)
				_ = s.SendMsg(&m)
			}
			close(began)
			<-s.Context().Done()
			return nil
		})
		ctx, cancel := context.WithCancel(soon(t))
		s := bidi(ctx, t, b.ClientConn)
		for range after {
			_ = s.SendMsg(&[]byte{1})
			_ = s.RecvMsg(new([]byte))
		}
		<-began
		cancel()
		<-over
		if out := <-b.pool.Released; !out.Abandoned || out.Code != codes.Canceled {
			t.Errorf("outcome %+v", out)
		}
	}
}

// TestClientLeaves: in the middle of each type of call, also while it is sending
// more than the worker reads.
func TestClientLeaves(t *testing.T) {
	for name, desc := range map[string]grpc.StreamDesc{
		"unary": {}, "client stream": {ClientStreams: true}, "server stream": {ServerStreams: true}, "bidi": {ClientStreams: true, ServerStreams: true},
	} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s idempotent %v", name, again), func(t *testing.T) {
				began, over := make(chan struct{}), make(chan struct{})
				b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
					defer close(over)
					_ = s.RecvMsg(new([]byte))
					close(began)
					<-s.Context().Done()
					return nil
				})
				ctx, cancel := context.WithCancel(soon(t))
				if again {
					ctx = idempotent(ctx)
				}
				s, err := b.NewStream(ctx, &desc, "/any.Service/Any")
				if err != nil {
					t.Fatal(err)
				}
				m := make([]byte, 64<<10)
				_ = s.SendMsg(&m)
				sent := make(chan struct{})
				go func() { // until it blocks or the call ends
					defer close(sent)
					for desc.ClientStreams && s.SendMsg(&m) == nil {
					}
				}()
				<-began
				cancel()
				<-over
				<-sent
				if out := <-b.pool.Released; !out.Abandoned || out.Broken || out.Code != codes.Canceled {
					t.Errorf("outcome %+v", out)
				}
				if n := len(b.pool.Calls()); n != 1 {
					t.Errorf("tried %d times", n)
				}
			})
		}
	}
}

// TestDrain: a call that runs is finished; when ctx ends it is ended.
func TestDrain(t *testing.T) {
	for _, patient := range []bool{true, false} {
		began, finish := make(chan struct{}), make(chan struct{})
		b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
			var m []byte
			_ = s.RecvMsg(&m)
			close(began)
			select {
			case <-finish:
			case <-s.Context().Done():
			}
			return s.SendMsg(&m)
		})
		result := make(chan error, 1)
		go func() {
			_, err := unary(soon(t), b.ClientConn, []byte("x"))
			result <- err
		}()
		<-began
		ctx, cancel := context.WithCancel(soon(t))
		drained := make(chan struct{})
		go func() { b.front.Drain(ctx); close(drained) }()
		if patient {
			close(finish)
		} else {
			cancel()
		}
		<-drained
		cancel()
		if err := <-result; (err == nil) != patient {
			t.Errorf("patient %v: %v", patient, err)
		}
	}
}

// TestWorkerAnswersAtOnce: while messages of the client are still on their way.
func TestWorkerAnswersAtOnce(t *testing.T) {
	b, _ := backed(t, "tcp", func(string, grpc.ServerStream) error { return status.Error(codes.PermissionDenied, "no") })
	s := bidi(soon(t), t, b.ClientConn)
	m := make([]byte, 64<<10)
	for s.SendMsg(&m) == nil {
	}
	if err := s.RecvMsg(new([]byte)); status.Code(err) != codes.PermissionDenied || info(err) != nil {
		t.Fatal(err)
	}
}

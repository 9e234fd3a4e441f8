package transport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/transport/transporttest"
)

func TestCallTypes(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			b, _ := backed(t, network, transporttest.Echo)
			ctx := soon(t)
			for _, size := range []int{0, 1, 100, 70000, 5 << 20} {
				want := bytes.Repeat([]byte{byte(size)}, size)
				got, err := unary(ctx, b.ClientConn, want)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d bytes: got %d bytes, %v", size, len(got), err)
				}
			}
			s := bidi(ctx, t, b.ClientConn)
			for i := range 10 {
				want := []byte{byte(i)}
				if err := s.SendMsg(&want); err != nil {
					t.Fatal(err)
				}
				var got []byte
				if err := s.RecvMsg(&got); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("got %v, %v", got, err)
				}
			}
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if err := s.RecvMsg(new([]byte)); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		})
	}
}

func TestClientAndServerStream(t *testing.T) {
	b, _ := backed(t, "tcp", func(method string, s grpc.ServerStream) error {
		var all []byte
		for {
			var m []byte
			if err := s.RecvMsg(&m); err != nil {
				break
			}
			all = append(all, m...)
		}
		for i := range len(all) {
			m := all[i : i+1]
			if strings.HasSuffix(method, "/Sum") {
				m = all
			}
			if err := s.SendMsg(&m); err != nil || strings.HasSuffix(method, "/Sum") {
				return err
			}
		}
		return nil
	})
	ctx := soon(t)
	up, err := b.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/any.Service/Sum")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"ab", "cd"} {
		m := []byte(part)
		if err := up.SendMsg(&m); err != nil {
			t.Fatal(err)
		}
	}
	_ = up.CloseSend()
	var got []byte
	if err := up.RecvMsg(&got); err != nil || string(got) != "abcd" {
		t.Fatalf("got %q, %v", got, err)
	}
	down, err := b.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/any.Service/Split")
	if err != nil {
		t.Fatal(err)
	}
	m := []byte("xyz")
	if err := down.SendMsg(&m); err != nil {
		t.Fatal(err)
	}
	_ = down.CloseSend()
	var all string
	for {
		var part []byte
		if err := down.RecvMsg(&part); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
		all += string(part)
	}
	if all != "xyz" {
		t.Fatalf("got %q", all)
	}
}

func TestMetadataBothWays(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
		in, _ := metadata.FromIncomingContext(s.Context())
		seen <- in
		if err := s.SendHeader(metadata.Pairs("h", "1", "h", "2", "h-bin", "\x00\xff")); err != nil {
			return err
		}
		s.SetTrailer(metadata.Pairs("t", "1", "t", "2", "t-bin", "\x01\xfe"))
		var m []byte
		_ = s.RecvMsg(&m)
		return s.SendMsg(&m)
	})
	ctx := metadata.AppendToOutgoingContext(soon(t), "a", "1", "a", "2", "a-bin", "\x00\x80",
		"snakepit-pool", "text", "snakepit-idempotent", "true", "snakepit-call", "forged", "snakepit-session", "s")
	var header, trailer metadata.MD
	if _, err := unary(ctx, b.ClientConn, []byte("x"), grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	in := <-seen
	want := metadata.Pairs("a", "1", "a", "2", "a-bin", "\x00\x80")
	for key, values := range want {
		if diff := cmp.Diff(values, in[key]); diff != "" {
			t.Error(key, diff)
		}
	}
	for _, key := range []string{"snakepit-pool", "snakepit-idempotent", "snakepit-session"} {
		if in[key] != nil {
			t.Errorf("%s reached the worker", key)
		}
	}
	if id := in.Get("snakepit-call"); len(id) != 1 || id[0] == "forged" || id[0] != b.pool.Calls()[0].ID {
		t.Errorf("snakepit-call is %v", id)
	}
	if diff := cmp.Diff(metadata.Pairs("h", "1", "h", "2", "h-bin", "\x00\xff", "content-type", "application/grpc+proto"), header); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(metadata.Pairs("t", "1", "t", "2", "t-bin", "\x01\xfe"), trailer); diff != "" {
		t.Error(diff)
	}
}

func TestStatusPassesUntouched(t *testing.T) {
	own, err := status.New(codes.Unavailable, "mine: ü\n").WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "f", Description: "d"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]*status.Status{"details": own, "bare": status.New(codes.Unavailable, ""), "odd": status.New(codes.Code(77), "odd")} {
		t.Run(name, func(t *testing.T) {
			b, _ := backed(t, "tcp", func(string, grpc.ServerStream) error { return want.Err() })
			s := bidi(idempotent(soon(t)), t, b.ClientConn)
			err := s.RecvMsg(new([]byte))
			if diff := cmp.Diff(want.Proto().String(), status.Convert(err).Proto().String()); diff != "" {
				t.Error(diff)
			}
			if header, _ := s.Header(); header != nil {
				t.Errorf("trailers only became headers %v", header)
			}
			if n := len(b.pool.Calls()); n != 1 {
				t.Errorf("tried %d times", n)
			}
			if out := <-b.pool.Released; out.Broken || out.Abandoned || out.Code != want.Code() {
				t.Errorf("outcome %+v", out)
			}
		})
	}
}

func TestHeadersComeBeforeMessages(t *testing.T) {
	b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
		if err := s.SendHeader(metadata.Pairs("early", "1")); err != nil {
			return err
		}
		return s.RecvMsg(new([]byte))
	})
	s := bidi(soon(t), t, b.ClientConn)
	header, err := s.Header() // we have sent nothing yet
	if err != nil || header.Get("early") == nil {
		t.Fatal(header, err)
	}
	_ = s.SendMsg(&[]byte{1})
	if err := s.RecvMsg(new([]byte)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestWorkerAnswersBeforeHalfClose(t *testing.T) {
	b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
		var m []byte
		_ = s.RecvMsg(&m)
		return s.SendMsg(&m)
	})
	s := bidi(soon(t), t, b.ClientConn)
	_ = s.SendMsg(&[]byte{1})
	if err := s.RecvMsg(new([]byte)); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new([]byte)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if out := <-b.pool.Released; out != (transport.Outcome{}) {
		t.Errorf("outcome %+v", out)
	}
}

func TestGzip(t *testing.T) {
	b, _ := backed(t, "tcp", transporttest.Echo)
	want := bytes.Repeat([]byte("a"), 100000)
	got, err := unary(soon(t), b.ClientConn, want, grpc.UseCompressor(gzip.Name))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatal(len(got), err)
	}
}

func TestMaxMessage(t *testing.T) {
	for _, gz := range []bool{false, true} {
		b, _ := backed(t, "tcp", transporttest.Echo)
		b.pool.Max = 1000
		var opts []grpc.CallOption
		if gz {
			opts = append(opts, grpc.UseCompressor(gzip.Name))
		}
		_, err := unary(soon(t), b.ClientConn, make([]byte, 1001), opts...)
		i := info(err)
		if status.Code(err) != codes.ResourceExhausted || i.GetReason() != "MESSAGE_TOO_LARGE" || i.GetMetadata()["limit"] != "max_message=1000" {
			t.Fatal(err)
		}
		if _, err := unary(soon(t), b.ClientConn, make([]byte, 1000), opts...); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
		m := make([]byte, 8<<20+1)
		return s.SendMsg(&m)
	})
	if _, err := unary(soon(t), b.ClientConn, nil); info(err).GetReason() != "MESSAGE_TOO_LARGE" {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	b, _ := backed(t, "tcp", transporttest.Echo)
	ctx := soon(t)
	if _, err := unary(metadata.AppendToOutgoingContext(ctx, "snakepit-pool", "nope"), b.ClientConn, nil); info(err).GetReason() != "POOL_UNKNOWN" {
		t.Error(err)
	}
	if _, err := unary(metadata.AppendToOutgoingContext(ctx, "snakepit-idempotent", "perhaps"), b.ClientConn, nil); info(err).GetReason() != "BAD_METADATA" {
		t.Error(err)
	}
	b.pool.Refuse(&transport.Refusal{Reason: transport.QueueFull, Pool: "text", Limit: "max_queue=3", RetryAfter: 2 * time.Second})
	_, err := unary(ctx, b.ClientConn, nil)
	if status.Code(err) != codes.ResourceExhausted || info(err).GetMetadata()["limit"] != "max_queue=3" {
		t.Error(err)
	}
	var retry *errdetails.RetryInfo
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			retry = r
		}
	}
	if retry.GetRetryDelay().AsDuration() != 2*time.Second {
		t.Error(retry)
	}
}

// TestSlowReader: the worker cannot send much more than the client reads.
func TestSlowReader(t *testing.T) {
	const size, total = 64 << 10, 4000 // 250 MiB
	var sent atomic.Int64
	blocked := make(chan struct{})
	b, _ := backed(t, "tcp", func(_ string, s grpc.ServerStream) error {
		m := make([]byte, size)
		for range total {
			stuck := time.AfterFunc(500*time.Millisecond, func() { close(blocked) })
			err := s.SendMsg(&m)
			if !stuck.Stop() {
				return errors.New("was blocked")
			}
			if err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	s := bidi(ctx, t, b.ClientConn)
	if err := s.RecvMsg(new([]byte)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-blocked:
	case <-ctx.Done():
		t.Fatalf("the worker was never blocked: %d messages", sent.Load())
	}
	if n := sent.Load(); n > 64 {
		t.Errorf("the worker sent %d messages of %d bytes, the client read one", n, size)
	}
}

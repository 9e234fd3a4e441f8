package transport_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a front with a pool, and a client of it.
type bed struct {
	*grpc.ClientConn
	pool    *transporttest.Pool
	front   *transport.Front
	address string
}

func worker(tb testing.TB, name, address string) *transport.Worker {
	tb.Helper()
	w, err := transport.NewWorker(transport.WorkerOptions{Pool: "text", Name: name, Address: address, MaxMessage: 8 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = w.Close() })
	return w
}

func newBed(tb testing.TB, workers ...*transport.Worker) *bed {
	tb.Helper()
	return newBedWith(tb, transport.NewHealth([]string{"text"}), workers...)
}

func newBedWith(tb testing.TB, health *transport.Health, workers ...*transport.Worker) *bed {
	tb.Helper()
	b := &bed{pool: transporttest.NewPool("text", workers...)}
	b.pool.Max = 8 << 20
	b.pool.Released = make(chan transport.Outcome, 100000)
	b.front = transport.NewFront(transport.FrontOptions{Router: b.pool, Health: health})
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	b.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- b.front.Serve(l) }()
	b.ClientConn = transporttest.Dial(tb, b.address)
	tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		b.front.Drain(ctx)
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return b
}

// backed is a bed with one backend.
func backed(tb testing.TB, network string, handler transporttest.Handler) (*bed, *transporttest.Backend) {
	tb.Helper()
	back := transporttest.NewBackend(tb, network, handler)
	return newBed(tb, worker(tb, "text-0-1", back.Address)), back
}

func unary(ctx context.Context, conn *grpc.ClientConn, msg []byte, opts ...grpc.CallOption) ([]byte, error) {
	var out []byte
	err := conn.Invoke(ctx, "/any.Service/Unary", &msg, &out, opts...)
	return out, err
}

func bidi(ctx context.Context, tb testing.TB, conn *grpc.ClientConn) grpc.ClientStream {
	tb.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/any.Service/Bidi")
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// info is the ErrorInfo of an error of ours, nil for an application's.
func info(err error) *errdetails.ErrorInfo {
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok && i.GetDomain() == transport.Domain {
			return i
		}
	}
	return nil
}

func idempotent(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "snakepit-idempotent", "1")
}

func soon(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

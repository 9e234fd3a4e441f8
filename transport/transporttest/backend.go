package transporttest

import (
	"errors"
	"io"
	"math"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Handler is a call of any service in a backend.
type Handler func(method string, stream grpc.ServerStream) error

// Backend is a gRPC server that plays a worker.
type Backend struct {
	Address string // 127.0.0.1:PORT or unix:PATH
	Health  *health.Server
	server  *grpc.Server
	l       *listener
}

// NewBackend starts a backend on network "tcp" or "unix"; it ends with the test.
func NewBackend(tb testing.TB, network string, handler Handler, opts ...grpc.ServerOption) *Backend {
	tb.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(tb.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		tb.Fatal(err)
	}
	b := &Backend{Address: l.Addr().String(), Health: health.NewServer(), l: &listener{Listener: l, open: map[net.Conn]bool{}}}
	if network == "unix" {
		b.Address = "unix:" + address
	}
	b.server = grpc.NewServer(append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(Bytes{}), grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			return handler(method, stream)
		}),
	}, opts...)...)
	healthpb.RegisterHealthServer(b.server, b.Health)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.server.Serve(b.l)
	}()
	tb.Cleanup(func() { b.Kill(); <-done })
	return b
}

// Kill ends the backend as SIGKILL ends a worker: first the connections break.
func (b *Backend) Kill() {
	_ = b.l.Close()
	b.Cut()
	b.server.Stop()
}

// Cut breaks all connections of the backend.
func (b *Backend) Cut() {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	for c := range b.l.open {
		_ = c.Close()
	}
	clear(b.l.open)
}

type listener struct {
	net.Listener
	mu   sync.Mutex
	open map[net.Conn]bool // guarded by mu
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.open[c] = true
		l.mu.Unlock()
	}
	return c, err
}

// Echo sends every message back as it comes.
func Echo(_ string, stream grpc.ServerStream) error {
	for {
		var b []byte
		if err := stream.RecvMsg(&b); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := stream.SendMsg(&b); err != nil {
			return err
		}
	}
}

// Dial connects a client that speaks *[]byte; it closes with the test.
func Dial(tb testing.TB, address string, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Bytes{}), grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
	}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

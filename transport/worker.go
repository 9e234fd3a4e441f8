package transport

import (
	"context"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// WorkerOptions says where a worker listens.
type WorkerOptions struct {
	Pool    string // name of the pool
	Name    string // as text-0-7
	Address string // 127.0.0.1:PORT or unix:PATH
	// MaxMessage is the longest answer, in bytes; 0 is no limit.
	MaxMessage int
	// Verify is asked about every connection before anything is written to it: an
	// error means that a stranger listens there. nil trusts everyone.
	Verify func(net.Conn) error
}

// Worker is the connection to one incarnation of a worker. It connects again by
// itself; every connection is verified before it carries data.
type Worker struct {
	opts             WorkerOptions
	network, address string
	conn             *grpc.ClientConn
	live             atomic.Int32 // connections that have not broken
	dials            atomic.Uint64

	mu      sync.Mutex
	failed  uint64        // guarded by mu: the dial that failed last
	last    error         // guarded by mu: why
	failure chan struct{} // guarded by mu: closed at the next failure
}

// How connections to workers are made. They are all on this machine.
const (
	bufferSize     = 64 << 10 // measured: larger ones bring nothing
	connectTimeout = 5 * time.Second
	firstReconnect = 10 * time.Millisecond
	lastReconnect  = time.Second
)

// NewWorker prepares a connection; nothing is dialled before Connect or a call.
func NewWorker(o WorkerOptions) (*Worker, error) {
	network, address, err := splitAddress(o.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot use the address of worker %s: %w", o.Name, err)
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = math.MaxInt32
	}
	w := &Worker{opts: o, network: network, address: address, failure: make(chan struct{})}
	w.conn, err = grpc.NewClient("passthrough:///worker",
		grpc.WithTransportCredentials(newMarking()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.dial(ctx) }),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithDisableHealthCheck(),
		grpc.WithIdleTimeout(0), // a call must not pay for a new connection
		grpc.WithAuthority("localhost"),
		grpc.WithReadBufferSize(bufferSize), grpc.WithWriteBufferSize(bufferSize),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstReconnect, Multiplier: 2, Jitter: 0.2, MaxDelay: lastReconnect},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(newCodec("")), grpc.MaxCallRecvMsgSize(o.MaxMessage), grpc.MaxCallSendMsgSize(math.MaxInt32),
		),
	)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare the connection to worker %s: %w", o.Name, err)
	}
	return w, nil
}

// splitAddress is the form of net.Dial for 127.0.0.1:PORT and unix:PATH.
func splitAddress(address string) (network, where string, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path, checkSocketPath(path)
	}
	address = strings.TrimPrefix(address, "tcp:")
	return "tcp", address, checkLoopback(address)
}

// Name is the worker, as text-0-7.
func (w *Worker) Name() string { return w.opts.Name }

// dial connects and verifies. A stranger gets not one byte.
func (w *Worker) dial(ctx context.Context) (net.Conn, error) {
	n := w.dials.Add(1)
	conn, err := (&net.Dialer{}).DialContext(ctx, w.network, w.address)
	if err != nil {
		return nil, w.fail(n, err)
	}
	if w.opts.Verify != nil {
		if err := w.opts.Verify(conn); err != nil {
			conn.Close()
			return nil, w.fail(n, err)
		}
	}
	w.live.Add(1)
	return &workerConn{Conn: conn, over: func(err error) {
		w.live.Add(-1)
		_ = w.fail(n, fmt.Errorf("the connection to %s ended: %w", w.opts.Address, err))
	}}, nil
}

// fail remembers what became of dial n for whoever waits in Connect.
func (w *Worker) fail(n uint64, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed, w.last = n, err
	close(w.failure)
	w.failure = make(chan struct{})
	return err
}

// failedSince waits for the failure of a dial after dial n.
func (w *Worker) failedSince(ctx context.Context, n uint64) error {
	for {
		w.mu.Lock()
		failed, last, failure := w.failed, w.last, w.failure
		w.mu.Unlock()
		if failed > n {
			return last
		}
		select {
		case <-failure:
		case <-ctx.Done():
			return nil
		}
	}
}

// Connect returns nil when there is a verified connection that speaks gRPC. It
// makes one attempt: the error of that attempt, also the one of Verify, is
// returned as it is. It may be called again.
func (w *Worker) Connect(ctx context.Context) error {
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	// An older connection that breaks only now says nothing about this attempt.
	before := w.dials.Load()
	failed := make(chan error, 1)
	go func() {
		failed <- w.failedSince(attempt, before)
		cancel()
	}()
	w.conn.ResetConnectBackoff()
	for {
		state := w.conn.GetState()
		if state == connectivity.Ready && w.live.Load() > 0 { // else grpc is about to notice
			return nil
		}
		if state == connectivity.Shutdown {
			return fmt.Errorf("cannot connect to worker %s: the connection is closed", w.opts.Name)
		}
		if state == connectivity.Idle {
			w.conn.Connect()
		}
		if w.conn.WaitForStateChange(attempt, state) {
			continue
		}
		if err := <-failed; err != nil {
			return err
		}
		return fmt.Errorf("cannot connect to worker %s: %w", w.opts.Name, ctx.Err())
	}
}

// Check returns nil when grpc.health.v1 of the worker says SERVING for "".
func (w *Worker) Check(ctx context.Context) error {
	reply, err := healthpb.NewHealthClient(w.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("cannot check the health of worker %s: %w", w.opts.Name, err)
	}
	if s := reply.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("worker %s says %s", w.opts.Name, s)
	}
	return nil
}

// Running asks a worker that reports its calls whether the call with this id
// (snakepit-call) still runs. true is the worker's promise to report its end.
func (w *Worker) Running(ctx context.Context, call string) (bool, error) {
	var trailer metadata.MD
	ctx = metadata.AppendToOutgoingContext(ctx, keyCall, call)
	_, err := healthpb.NewHealthClient(w.conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Trailer(&trailer))
	if err != nil {
		return false, fmt.Errorf("cannot ask worker %s about call %s: %w", w.opts.Name, call, err)
	}
	said := trailer.Get(keyRunning)
	if len(said) == 0 {
		return false, fmt.Errorf("worker %s does not say whether call %s runs", w.opts.Name, call)
	}
	return said[0] == "1", nil
}

// Close ends the connection and every call on it.
func (w *Worker) Close() error { return w.conn.Close() }

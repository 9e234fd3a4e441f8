package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // clients and workers may compress
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// FrontOptions is what a front needs.
type FrontOptions struct {
	Router Router
	Health *Health      // nil: one of its own
	Log    *slog.Logger // nil: slog.Default
	// MaxMessage is the largest Pool.MaxMessage, in bytes. A message beyond twice
	// of it is refused before it is read; 0 leaves that to the limit of the pools,
	// which is checked when the message is there.
	MaxMessage int
}

// Front passes every call of every service to a worker, as raw messages.
type Front struct {
	server *grpc.Server
	router Router
	health *Health
	log    *slog.Logger
	prefix string // of the ids of calls
	calls  atomic.Uint64
}

// NewFront makes a front; Serve opens it.
func NewFront(o FrontOptions) *Front {
	f := &Front{router: o.Router, health: o.Health, log: o.Log, prefix: rand.Text()[:6] + "-"}
	if f.health == nil {
		f.health = NewHealth(nil)
	}
	if f.log == nil {
		f.log = slog.Default()
	}
	limit := math.MaxInt32
	if o.MaxMessage > 0 && o.MaxMessage < limit/2-minimumSlack {
		// Above the pools' own limit, so that our error can name it.
		limit = 2*o.MaxMessage + minimumSlack
	}
	f.server = grpc.NewServer(
		grpc.ForceServerCodecV2(newCodec("proto")),
		grpc.UnknownServiceHandler(f.handle),
		grpc.MaxRecvMsgSize(limit), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.ReadBufferSize(bufferSize), grpc.WriteBufferSize(bufferSize),
		// Callers are on this machine: a ping is not an attack.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	healthpb.RegisterHealthServer(f.server, f.health)
	return f
}

const minimumSlack = 1 << 20

// Serve answers calls until Drain; then it returns nil. It closes the listener.
func (f *Front) Serve(l net.Listener) error {
	if err := f.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("cannot serve calls: %w", err)
	}
	return nil
}

// SetHealth says whether a pool has a worker that takes calls.
func (f *Front) SetHealth(pool string, serving bool) { f.health.SetHealth(pool, serving) }

// Drain takes no more calls and waits for those that run; when ctx ends it ends
// them.
func (f *Front) Drain(ctx context.Context) {
	f.health.shutdown()
	stopServer(ctx, f.server)
}

func stopServer(ctx context.Context, s *grpc.Server) {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.GracefulStop()
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		s.Stop()
		<-drained
	}
}

// handle is every call of every service that the front does not serve itself.
func (f *Front) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	in, _ := metadata.FromIncomingContext(stream.Context())
	req, err := readRequest(in)
	if err != nil {
		return err
	}
	pool, err := f.router.Route(req.pool, method)
	if err != nil {
		return failure(err)
	}
	id := f.prefix + strconv.FormatUint(f.calls.Add(1), 36)
	req.out[keyCall] = []string{id}
	c := &call{stream: stream, pool: pool, method: method, id: id, req: req, max: pool.MaxMessage()}
	ctx := metadata.NewOutgoingContext(stream.Context(), req.out)
	if limit := pool.CallTimeout(); limit > 0 {
		if _, has := ctx.Deadline(); !has {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
			c.timeout = limit
		}
	}
	c.ctx = ctx
	return c.run()
}

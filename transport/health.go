package transport

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Health is grpc.health.v1 of the front: one service per pool name, and "", which
// serves when every pool does.
type Health struct {
	*health.Server
	over chan struct{} // closed when the front drains: ends every Watch

	mu      sync.Mutex
	serving map[string]bool // guarded by mu
	stopped bool            // guarded by mu
}

// NewHealth knows these pools; none serves yet.
func NewHealth(pools []string) *Health {
	h := &Health{Server: health.NewServer(), over: make(chan struct{}), serving: map[string]bool{}}
	h.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	for _, name := range pools {
		h.SetHealth(name, false)
	}
	return h
}

// SetHealth says whether a pool has a worker that takes calls.
func (h *Health) SetHealth(pool string, serving bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving[pool] = serving
	all := true
	for _, s := range h.serving {
		all = all && s
	}
	// The health server ignores both once it is shut down.
	h.SetServingStatus(pool, servingStatus(serving))
	h.SetServingStatus("", servingStatus(all))
}

func servingStatus(serving bool) healthpb.HealthCheckResponse_ServingStatus {
	if serving {
		return healthpb.HealthCheckResponse_SERVING
	}
	return healthpb.HealthCheckResponse_NOT_SERVING
}

// Watch ends when the front drains: else a watcher would hold up its end.
func (h *Health) Watch(req *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() {
		select {
		case <-h.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := h.Server.Watch(req, watchStream{stream, ctx})
	if stream.Context().Err() == nil && ctx.Err() != nil {
		return &Refusal{Reason: Stopping}
	}
	return err
}

type watchStream struct {
	grpc.ServerStreamingServer[healthpb.HealthCheckResponse]
	ctx context.Context
}

func (s watchStream) Context() context.Context { return s.ctx }

// shutdown says NOT_SERVING for everything, for good.
func (h *Health) shutdown() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	h.stopped = true
	h.Shutdown()
	close(h.over)
}

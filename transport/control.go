package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/grpc"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// Operator answers the control API. A *Refusal as error is what the caller gets.
type Operator interface {
	Status(ctx context.Context, req *pb.StatusRequest) (*pb.StatusReply, error)
	Why(ctx context.Context, req *pb.WhyRequest) (*pb.WhyReply, error)
	// Restart and Events send until they are done, ctx ends or send fails.
	Restart(ctx context.Context, req *pb.RestartRequest, send func(*pb.Event) error) error
	Events(ctx context.Context, req *pb.EventsRequest, send func(*pb.Event) error) error
}

// Control serves the control API on a listener of its own.
type Control struct {
	pb.UnimplementedControlServer
	server   *grpc.Server
	operator Operator
	log      *slog.Logger
	over     context.Context // ends when the control API stops: ends every stream
	end      context.CancelFunc
}

// NewControl makes the control API of an operator; Serve opens it.
func NewControl(o Operator, log *slog.Logger) *Control {
	if log == nil {
		log = slog.Default()
	}
	c := &Control{server: grpc.NewServer(), operator: o, log: log}
	c.over, c.end = context.WithCancel(context.Background())
	pb.RegisterControlServer(c.server, c)
	return c
}

// Serve answers until Stop; then it returns nil. It closes the listener.
func (c *Control) Serve(l net.Listener) error {
	if err := c.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("cannot serve the control API: %w", err)
	}
	return nil
}

// Stop ends streams of events and waits for what else runs, until ctx ends.
func (c *Control) Stop(ctx context.Context) {
	c.end()
	stopServer(ctx, c.server)
}

// Status implements snakepitv1.ControlServer.
func (c *Control) Status(ctx context.Context, req *pb.StatusRequest) (*pb.StatusReply, error) {
	reply, err := c.operator.Status(ctx, req)
	return reply, c.answer("status", err)
}

// Why implements snakepitv1.ControlServer.
func (c *Control) Why(ctx context.Context, req *pb.WhyRequest) (*pb.WhyReply, error) {
	reply, err := c.operator.Why(ctx, req)
	return reply, c.answer("why", err)
}

// Restart implements snakepitv1.ControlServer.
func (c *Control) Restart(req *pb.RestartRequest, stream grpc.ServerStreamingServer[pb.Event]) error {
	ctx, cancel := c.while(stream.Context())
	defer cancel()
	return c.answer("restart", c.operator.Restart(ctx, req, stream.Send))
}

// Events implements snakepitv1.ControlServer.
func (c *Control) Events(req *pb.EventsRequest, stream grpc.ServerStreamingServer[pb.Event]) error {
	ctx, cancel := c.while(stream.Context())
	defer cancel()
	return c.answer("events", c.operator.Events(ctx, req, stream.Send))
}

// while is a context that ends with the caller or with the control API.
func (c *Control) while(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.over, cancel)
	return ctx, func() { stop(); cancel() }
}

func (c *Control) answer(verb string, err error) error {
	if err == nil {
		return nil
	}
	c.log.Debug("an operator's request failed", "verb", verb, "error", err)
	if c.over.Err() != nil && errors.Is(err, context.Canceled) {
		return &Refusal{Reason: Stopping}
	}
	return failure(err)
}

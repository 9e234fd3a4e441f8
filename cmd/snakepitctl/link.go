package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// askTimeout bounds what a daemon that works answers in milliseconds.
const askTimeout = 10 * time.Second

// link is one connection, with why it could not be made.
type link struct {
	*grpc.ClientConn
	address address
	what    string // "snakepitd", "the front": for messages
	flag    string // chooses the address

	mu   sync.Mutex
	fail error // guarded by mu; the last dial error, nil once connected
}

// connect prepares a connection; the first call dials.
func connect(to address, what, flag string) (*link, error) {
	l := &link{address: to, what: what, flag: flag}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(l.dial),
		grpc.WithNoProxy(),
		// The front knows the limit (max_message); a second one here would only hide it.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
	}
	if to.network == "unix" {
		options = append(options, grpc.WithAuthority("localhost"))
	}
	conn, err := grpc.NewClient("passthrough:///"+to.place, options...)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", to, err)
	}
	l.ClientConn = conn
	return l, nil
}

func (l *link) dial(ctx context.Context, _ string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, l.address.network, l.address.place)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
	return c, err
}

// unreachable is the failure of a call that never reached anybody, else nil.
func (l *link) unreachable(err error) *failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail == nil || status.Code(err) != codes.Unavailable {
		return nil
	}
	return unreachable(l.what, l.address.String(), l.flag, l.fail)
}

// daemon is a connection to the control socket.
type daemon struct {
	*link
	pb.ControlClient
}

func (a *app) daemon() (*daemon, error) {
	to, err := a.controlAddress()
	if err != nil {
		return nil, err
	}
	l, err := connect(to, "snakepitd", "--control")
	if err != nil {
		return nil, err
	}
	return &daemon{link: l, ControlClient: pb.NewControlClient(l)}, nil
}

// explain turns an error of the control API into a failure: what could not be
// done, and the exit code that says why.
func (d *daemon) explain(ctx context.Context, err error, target, what string) *failure {
	if f := d.unreachable(err); f != nil {
		return f
	}
	st := status.Convert(err)
	switch {
	case ctx.Err() == nil && st.Code() == codes.DeadlineExceeded && errorInfo(st) == nil:
		return fail(exitNoDaemon, "snakepitd hangs, or another program owns this socket", "cannot %s: no answer at %s within %s", what, d.address, askTimeout)
	case st.Code() == codes.NotFound:
		return fail(exitNotFound, d.known(ctx, target, st.Message()), "cannot %s: %s", what, st.Message())
	case st.Code() == codes.Unavailable && errorInfo(st) == nil:
		return fail(exitNoDaemon, "snakepitd has stopped, or another program owns this socket", "cannot %s: lost the connection to %s: %s", what, d.address, st.Message())
	case st.Code() == codes.Unimplemented:
		return fail(exitFailed, "the daemon is of another version, or another program owns this socket", "cannot %s: %s", what, st.Message())
	}
	return fail(exitFailed, "", "cannot %s: %s", what, st.Message())
}

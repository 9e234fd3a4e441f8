package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/snakepitd/snakepitd/registry"
	"github.com/snakepitd/snakepitd/transport"
	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// Operator answers the control API for a manager.
type Operator struct{ *Manager }

var _ transport.Operator = Operator{}

// Status implements transport.Operator.
func (o Operator) Status(ctx context.Context, req *pb.StatusRequest) (*pb.StatusReply, error) {
	d := o.opts.Config.Daemon
	out := &pb.StatusReply{Daemon: &pb.Daemon{
		Version: o.opts.Version, RunId: o.opts.RunID, Instance: d.Instance, Pid: int32(os.Getpid()),
		Started: timestamppb.New(o.started), Config: o.opts.Config.Path, Listen: d.Listen, Control: d.Control,
		Goroutines: int32(runtime.NumGoroutine()), OpenFiles: openFiles(),
		RuntimeDir: d.RuntimeDir, Launcher: "direct", NotGuaranteed: o.opts.Launcher.NotGuaranteed(), DefaultPool: d.DefaultPool,
	}}
	targets := []string{req.GetTarget()}
	if req.GetTarget() == "" {
		targets = nil
		for _, p := range o.byName {
			targets = append(targets, p.conf.Name)
		}
	}
	for _, t := range targets {
		p, slots, err := o.resolve(t)
		if err != nil {
			return nil, o.notFound(err)
		}
		var status *pb.Pool
		if !p.call(ctx, func() { status = p.status(slots) }) {
			if ctx.Err() != nil {
				return nil, ctx.Err() // status is still the loop's
			}
			status = &pb.Pool{Name: p.conf.Name, State: "down", Workers: int32(p.conf.Workers)}
		}
		out.Pools = append(out.Pools, status)
	}
	return out, nil
}

// Why implements transport.Operator.
func (o Operator) Why(ctx context.Context, req *pb.WhyRequest) (*pb.WhyReply, error) {
	target := req.GetTarget()
	pools := o.byName
	if target != "" {
		p, err := o.formerly(target)
		if err != nil {
			return nil, o.notFound(err)
		}
		pools = []*pool{p}
	}
	out := &pb.WhyReply{}
	for _, p := range pools {
		var found []*pb.Death // the loop's until it has answered
		answered := p.call(ctx, func() {
			for _, d := range p.deaths {
				if target == "" || target == p.conf.Name || d.Worker == target || strings.HasPrefix(d.Worker, target+"-") {
					found = append(found, d.proto())
				}
			}
		})
		if answered {
			out.Deaths = append(out.Deaths, found...)
		}
	}
	slices.SortStableFunc(out.Deaths, func(a, b *pb.Death) int { return b.GetAt().AsTime().Compare(a.GetAt().AsTime()) })
	if n := int(req.GetLimit()); n > 0 && n < len(out.Deaths) {
		out.Deaths = out.Deaths[:n]
	}
	return out, ctx.Err()
}

// formerly is the pool of a target that need not be there any more: a dead worker
// is in no slot, but its slot exists.
func (o Operator) formerly(target string) (*pool, error) {
	p, _, err := o.resolve(target)
	if err == nil {
		return p, nil
	}
	id, bad := registry.ParseWorkerID(target)
	if p := o.pools[id.Pool]; bad == nil && p != nil && id.Slot < len(p.slots) {
		return p, nil
	}
	return nil, err
}

func (d *Death) proto() *pb.Death {
	out := &pb.Death{
		Pool: d.Pool, Worker: d.Worker, Pid: int32(d.PID), At: timestamppb.New(d.At), Cause: d.Cause, Reason: d.Reason,
		ExitCode: int32(d.Exit.Code), Uptime: durationpb.New(d.Uptime), Calls: d.Calls, Output: d.Output, LeftBehind: int32(d.Left),
	}
	if d.Exit.Signal != 0 {
		out.Signal = unix.SignalName(d.Exit.Signal)
	}
	return out
}

// Restart implements transport.Operator: it sends the pool's events as they come.
func (o Operator) Restart(ctx context.Context, req *pb.RestartRequest, send func(*pb.Event) error) error {
	p, _, err := o.resolve(req.GetTarget())
	if err != nil {
		return o.notFound(err)
	}
	began := o.shared.events.sequence()
	following, stop := context.WithCancel(ctx)
	sent := make(chan error, 1)
	finished := make(chan struct{})
	go func() { sent <- o.follow(following, p.conf.Name, began, true, finished, send) }()
	err = o.Manager.Restart(ctx, req.GetTarget(), req.GetNow(), func(int, string) {})
	close(finished)
	sendErr := <-sent
	stop()
	if errors.Is(err, ErrNotFound) {
		return o.notFound(err)
	}
	if err != nil {
		return &transport.Refusal{Reason: transport.RestartFailed, Pool: p.conf.Name, Detail: err.Error()}
	}
	return sendErr
}

// Events implements transport.Operator.
func (o Operator) Events(ctx context.Context, req *pb.EventsRequest, send func(*pb.Event) error) error {
	if name := req.GetPool(); name != "" && o.pools[name] == nil {
		return o.notFound(fmt.Errorf("pool %q: %w", name, ErrNotFound))
	}
	return o.follow(ctx, req.GetPool(), 0, req.GetFollow(), nil, send)
}

// follow sends events after a sequence number until ctx ends, or until what there
// is when finished is closed has been sent.
func (o Operator) follow(ctx context.Context, pool string, after uint64, more bool, finished <-chan struct{}, send func(*pb.Event) error) error {
	for {
		done := !more
		select {
		case <-finished:
			done = true
		default:
		}
		evs, added := o.shared.events.after(after)
		for _, ev := range evs {
			after = ev.Sequence
			if pool != "" && ev.Pool != pool {
				continue
			}
			if err := send(ev.proto()); err != nil {
				return err
			}
		}
		if done {
			return nil
		}
		select {
		case <-added:
		case <-finished:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e Event) proto() *pb.Event {
	return &pb.Event{At: timestamppb.New(e.At), Kind: e.Kind, Pool: e.Pool, Worker: e.Worker, Message: e.Message, Sequence: e.Sequence}
}

// notFound is the answer for a target that does not exist; it names what does.
func (o Operator) notFound(err error) error {
	names := make([]string, 0, len(o.byName))
	for _, p := range o.byName {
		names = append(names, p.conf.Name)
	}
	return &transport.Refusal{Reason: transport.TargetUnknown, Detail: err.Error() + "; pools: " + strings.Join(names, ", ")}
}

// openFiles is how many descriptors this process holds; 0 when nobody can tell.
func openFiles() int32 {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return int32(len(fds) - 1) // one is the directory itself
}

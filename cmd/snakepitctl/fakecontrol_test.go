package main

import (
	"context"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// fakeControl is a daemon with the pools image (failing) and text.
type fakeControl struct {
	pb.UnimplementedControlServer
	listen    string
	following chan struct{} // gets a value when a stream has sent what it has; nil = streams end
}

func before(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(clock().Add(-d)) }

// refuse is an error as the daemon's, with an ErrorInfo.
func refuse(code codes.Code, reason, message string) error {
	st, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Domain: "snakepitd", Reason: reason})
	if err != nil {
		return err
	}
	return st.Err()
}

func find(target string) error {
	pool, _, _ := strings.Cut(target, "-")
	switch {
	case target == "busy":
		return refuse(codes.Unavailable, "STOPPING", "the daemon is stopping")
	case target == "broken":
		return status.Error(codes.Unavailable, "transport is closing")
	case target != "" && pool != "text" && pool != "image", target == "text-9":
		return refuse(codes.NotFound, "TARGET_UNKNOWN", target+": not found")
	}
	return nil
}

func (f *fakeControl) Status(_ context.Context, req *pb.StatusRequest) (*pb.StatusReply, error) {
	if err := find(req.GetTarget()); err != nil {
		return nil, err
	}
	image := &pb.Pool{
		Name: "image", State: "failed", Reason: "crash loop: 11 workers died", Workers: 1, MaxQueue: 10, Rejected: 3, Deaths: 11,
		Slots:       []*pb.Slot{{State: "failed", Since: before(2 * time.Second), Deaths: 11, Failures: 11, NextAttempt: timestamppb.New(clock().Add(28 * time.Second)), Reason: "crash loop"}},
		Quarantined: []*pb.Quarantine{{Port: 21007, Slot: "image-0", Since: before(90 * time.Minute)}},
	}
	text := &pb.Pool{
		Name: "text", State: "ready", Workers: 2, Ready: 2, InFlight: 1, MaxQueue: 1000, Calls: 1234, Deaths: 1, Services: []string{"test.v1.Echo"},
		Exec: []string{"/usr/bin/python3", "server.py", "--port", "{port}", "a b"}, WorkingDirectory: "/srv/text",
		Slots: []*pb.Slot{
			{Slot: 0, State: "ready", Worker: "text-0-2", Pid: 4711, Port: 21000, Since: before(134 * time.Second), Calls: 34, Deaths: 1},
			{Slot: 1, State: "ready", Worker: "text-1-1", Pid: 4712, Port: 21001, Since: before(26 * time.Hour), Calls: 1200, WorkerStatus: "warm\x1b[31m"},
		},
	}
	reply := &pb.StatusReply{Daemon: &pb.Daemon{
		Version: "1.2.3", RunId: "abcd2345", Pid: 4000, Started: before(26 * time.Hour), Config: "/etc/snakepit/snakepitd.toml", Listen: f.listen,
		Control: "unix:/run/snakepit/control.sock", RuntimeDir: "/run/snakepit", Launcher: "direct", DefaultPool: "text",
		NotGuaranteed: []string{"Workers do not survive the daemon.", "A process that leaves its session may be missed."},
	}}
	for _, p := range []*pb.Pool{image, text} {
		if t := req.GetTarget(); t == "" || strings.HasPrefix(t, p.GetName()) {
			reply.Pools = append(reply.Pools, p)
		}
	}
	return reply, nil
}

func (f *fakeControl) Why(_ context.Context, req *pb.WhyRequest) (*pb.WhyReply, error) {
	if err := find(req.GetTarget()); err != nil {
		return nil, err
	}
	if req.GetTarget() == "text-1" {
		return &pb.WhyReply{}, nil
	}
	deaths := []*pb.Death{
		{
			Pool: "text", Worker: "text-0-1", Pid: 4600, At: before(136 * time.Second), Cause: "signal", Reason: "killed by SIGKILL", Signal: "SIGKILL",
			Uptime: durationpb.New(25*time.Hour + 57*time.Minute), Calls: 17, LeftBehind: 1,
		},
		{
			Pool: "image", Worker: "image-0-11", Pid: 4650, At: before(3 * time.Second), Cause: "start-failed",
			Reason: "exit status 1 before it was ready: ModuleNotFoundError: No module named 'PIL'", ExitCode: 1, Uptime: durationpb.New(120 * time.Millisecond),
			Output: "Traceback (most recent call last):\n  File \"server.py\", line 1\r\n\x1b[31mModuleNotFoundError\x1b[0m: No module named 'PIL'\n",
		},
	}
	if n := int(req.GetLimit()); n > 0 {
		deaths = deaths[:n]
	}
	return &pb.WhyReply{Deaths: deaths}, nil
}

func (f *fakeControl) Restart(req *pb.RestartRequest, s grpc.ServerStreamingServer[pb.Event]) error {
	if err := find(req.GetTarget()); err != nil {
		return err
	}
	first := "draining"
	if req.GetNow() {
		first = "stopping"
	}
	if err := s.Send(&pb.Event{At: before(2 * time.Second), Kind: first, Pool: "text", Worker: "text-0-2", Sequence: 1}); err != nil {
		return err
	}
	if req.GetTarget() == "image" {
		return refuse(codes.FailedPrecondition, "RESTART_FAILED", "image-0: 5 starts in a row failed")
	}
	return s.Send(&pb.Event{At: before(time.Second), Kind: "ready", Pool: "text", Worker: "text-0-3", Message: "port 21000", Sequence: 2})
}

func (f *fakeControl) Events(req *pb.EventsRequest, s grpc.ServerStreamingServer[pb.Event]) error {
	if err := find(req.GetPool()); err != nil {
		return err
	}
	kept := []*pb.Event{
		{At: before(time.Minute), Kind: "exited", Pool: "text", Worker: "text-0-1", Message: "killed by SIGKILL", Sequence: 1},
		{At: before(59 * time.Second), Kind: "failed", Pool: "image", Message: "crash loop", Sequence: 2},
	}
	if req.GetFollow() {
		kept = append(kept, &pb.Event{At: before(0), Kind: "ready", Pool: "text", Worker: "text-0-2", Sequence: 3})
	}
	for _, e := range kept {
		if p := req.GetPool(); p != "" && p != e.GetPool() {
			continue
		}
		if err := s.Send(e); err != nil {
			return err
		}
	}
	if f.following != nil {
		f.following <- struct{}{}
		<-s.Context().Done()
	}
	return nil
}

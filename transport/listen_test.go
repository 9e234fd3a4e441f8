package transport_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/snakepitd/snakepitd/transport"
	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
	"github.com/snakepitd/snakepitd/transport/transporttest"
)

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := transport.Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Error(info.Mode(), err)
	}
	if _, err := transport.Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Error(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed daemon leaves it
	l.Close()
	if l, err = transport.Listen("unix:" + path); err != nil {
		t.Fatal("a stale socket was not replaced:", err)
	}
	l.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("the socket was left behind", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"unix:" + file: "not a socket", "unix:/" + strings.Repeat("x", 107): "at most 107", "unix:": "empty",
		"0.0.0.0:0": "not a loopback", "192.0.2.1:0": "not a loopback", ":0": "not a loopback", "nonsense": "missing port",
	} {
		if _, err := transport.Listen(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file was touched")
	}
	for _, address := range []string{"127.0.0.1:0", "tcp:127.0.0.1:0", "localhost:0"} {
		l, err := transport.Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

func TestHealth(t *testing.T) {
	h := transport.NewHealth([]string{"text", "image"})
	b := newBedWith(t, h)
	client := healthpb.NewHealthClient(b.ClientConn)
	check := func(service string) healthpb.HealthCheckResponse_ServingStatus {
		reply, err := client.Check(soon(t), &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(service, err)
		}
		return reply.GetStatus()
	}
	watch, err := client.Watch(soon(t), &healthpb.HealthCheckRequest{Service: "text"})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if reply, err := watch.Recv(); err != nil || reply.GetStatus() != want {
			t.Fatal(reply, err)
		}
	}
	next(healthpb.HealthCheckResponse_NOT_SERVING)
	b.front.SetHealth("text", true)
	next(healthpb.HealthCheckResponse_SERVING)
	if check("text") != healthpb.HealthCheckResponse_SERVING || check("") != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Error("one of two pools serves")
	}
	h.SetHealth("image", true)
	if check("") != healthpb.HealthCheckResponse_SERVING {
		t.Error("both pools serve")
	}
	if _, err := client.Check(soon(t), &healthpb.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
	b.front.Drain(soon(t)) // returns although the watch is open
	for {
		if _, err := watch.Recv(); err != nil {
			break
		}
	}
}

func TestWorker(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		back := transporttest.NewBackend(t, network, transporttest.Echo)
		w := worker(t, "text-0-1", back.Address)
		for range 3 {
			if err := w.Connect(soon(t)); err != nil {
				t.Fatal(err)
			}
			for w.Check(soon(t)) != nil { // it fails while a cut is still on its way
				if err := w.Connect(soon(t)); err != nil {
					t.Fatal(err)
				}
			}
			back.Cut()
		}
		back.Health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
		for { // the cut may still be on its way
			if err := w.Check(soon(t)); err == nil || strings.Contains(err.Error(), "NOT_SERVING") {
				break
			}
		}
		back.Kill()
		for range 3 {
			if err := w.Connect(soon(t)); err == nil {
				continue // grpc has not noticed yet
			}
		}
	}
}

func TestWorkerIsNotThere(t *testing.T) {
	w := worker(t, "text-0-1", "unix:"+filepath.Join(t.TempDir(), "none"))
	for range 3 {
		if err := w.Connect(soon(t)); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Fatal(err)
		}
	}
	back := transporttest.NewBackend(t, "tcp", transporttest.Echo)
	slow := worker(t, "text-0-1", back.Address)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := slow.Connect(ctx); err != nil && !strings.Contains(err.Error(), "cancel") {
		t.Fatal(err)
	}
}

func TestWorkerAnswersGarbage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat("x", 100)))
			conn.Close()
		}
	}()
	if err := worker(t, "text-0-1", l.Addr().String()).Connect(soon(t)); err == nil {
		t.Fatal("garbage was taken for gRPC")
	}
}

// operator answers with what it is asked.
type operator struct{}

func (operator) Status(_ context.Context, r *pb.StatusRequest) (*pb.StatusReply, error) {
	if r.GetTarget() != "" {
		return nil, &transport.Refusal{Reason: transport.TargetUnknown, Detail: r.GetTarget()}
	}
	return &pb.StatusReply{Daemon: &pb.Daemon{Version: "1"}}, nil
}

func (operator) Why(context.Context, *pb.WhyRequest) (*pb.WhyReply, error) {
	return &pb.WhyReply{}, nil
}

func (operator) Restart(_ context.Context, r *pb.RestartRequest, send func(*pb.Event) error) error {
	return send(&pb.Event{Message: r.GetTarget()})
}

func (operator) Events(ctx context.Context, _ *pb.EventsRequest, send func(*pb.Event) error) error {
	if err := send(&pb.Event{Message: "one"}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestControl(t *testing.T) {
	address := "unix:" + filepath.Join(t.TempDir(), "c")
	l, err := transport.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	control := transport.NewControl(operator{}, nil)
	served := make(chan error, 1)
	go func() { served <- control.Serve(l) }()
	conn, err := transport.DialControl(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := pb.NewControlClient(conn)
	if reply, err := client.Status(soon(t), &pb.StatusRequest{}, grpc.WaitForReady(true)); err != nil || reply.GetDaemon().GetVersion() != "1" {
		t.Fatal(reply, err)
	}
	if _, err := client.Status(soon(t), &pb.StatusRequest{Target: "nope"}); info(err).GetReason() != "TARGET_UNKNOWN" {
		t.Error(err)
	}
	restart, err := client.Restart(soon(t), &pb.RestartRequest{Target: "text"})
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := restart.Recv(); err != nil || ev.GetMessage() != "text" {
		t.Error(ev, err)
	}
	events, err := client.Events(soon(t), &pb.EventsRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Recv(); err != nil {
		t.Fatal(err)
	}
	control.Stop(soon(t)) // ends the stream
	if _, err := events.Recv(); info(err).GetReason() != "STOPPING" {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

package manager

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snakepitd/snakepitd/transport"
	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
	"github.com/snakepitd/snakepitd/units"
)

func TestRestartOneAfterTheOther(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 3)).start()
	for _, w := range []string{"text-0-1", "text-1-1", "text-2-1"} {
		b.await("ready", w)
	}
	ready, least := 3, 3
	var order []string
	err := b.operator.Restart(t.Context(), &pb.RestartRequest{Target: "text"}, func(ev *pb.Event) error {
		switch ev.GetKind() {
		case "ready":
			ready++
		case "draining":
			ready--
		default:
			return nil
		}
		least = min(least, ready)
		order = append(order, ev.GetWorker()+" "+ev.GetKind())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"text-0-1 draining", "text-0-2 ready", "text-1-1 draining", "text-1-2 ready", "text-2-1 draining", "text-2-2 ready",
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Error(diff)
	}
	if least != 2 {
		t.Errorf("only %d were ready at a time", least)
	}
	s := b.status("text")
	if s.GetState() != "ready" || s.GetDeaths() != 0 {
		t.Errorf("status %s, %d deaths: a restart is none", s.GetState(), s.GetDeaths())
	}
	if d := b.why("text-0-1", 0)[0]; d.GetCause() != CauseRestart {
		t.Errorf("cause %s", d.GetCause())
	}
}

func TestRestartWaitsForCallsAndNowDoesNot(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1)).start()
	b.await("ready", "text-0-1")
	le := b.lease("text", "1")
	restarted := make(chan error, 2)
	go func() { restarted <- b.Restart(t.Context(), "text-0-1", false, func(int, string) {}) }()
	b.await("draining", "text-0-1")
	if p := b.launcher.process("text-0-1"); p.gone() {
		t.Error("it did not wait for its call")
	}
	le.Release(transport.Outcome{})
	b.await("ready", "text-0-2")
	if err := <-restarted; err != nil {
		t.Error(err)
	}
	defer b.lease("text", "2").Release(transport.Outcome{})
	if err := b.Restart(t.Context(), "text", true, func(int, string) {}); err != nil {
		t.Error(err)
	}
	if names := b.launcher.names(); !slices.Equal(names, []string{"text-0-1", "text-0-2", "text-0-3"}) {
		t.Error(names)
	}
	if err := b.Restart(t.Context(), "text-0-1", true, func(int, string) {}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a worker that is no more: %v", err)
	}
}

// A restart without now ends a cool-down too; the next death must not find it again.
func TestRestartOfAFailedPoolForgetsTheFailure(t *testing.T) {
	t.Parallel()
	for _, now := range []bool{true, false} {
		t.Run(map[bool]string{true: "now", false: "one after the other"}[now], func(t *testing.T) {
			t.Parallel()
			b := prepare(t, newPoolConfig("text", 5))
			b.launcher.play("text", script{ends: &units.Exit{Code: 3}})
			b.start()
			b.until("failed", func() bool {
				return !slices.ContainsFunc(b.status("text").GetSlots(), func(s *pb.Slot) bool { return s.GetState() != string(Failed) })
			})
			b.launcher.play("text", script{})
			if err := b.Restart(t.Context(), "text", now, func(int, string) {}); err != nil {
				t.Fatal(err)
			}
			worker := b.slot("text", 0).GetWorker()
			b.launcher.process(worker).crash()
			b.await("released", worker)
			b.until("judged", func() bool {
				s := State(b.slot("text", 0).GetState())
				return s == Backoff || s == Failed || s == Starting || s == Ready
			})
			if s := b.slot("text", 0); s.GetState() == string(Failed) {
				t.Errorf("one death after the restart: %s", s.GetReason())
			}
		})
	}
}

// While Start has not answered there is no process to end: the worker that comes
// is new, and the restart is over when it is ready.
func TestRestartWhileTheProcessIsMade(t *testing.T) {
	t.Parallel()
	for _, now := range []bool{true, false} {
		t.Run(map[bool]string{true: "now", false: "one after the other"}[now], func(t *testing.T) {
			t.Parallel()
			b := prepare(t, newPoolConfig("text", 1))
			slow := make(chan struct{})
			b.launcher.play("text", script{slow: slow})
			b.start()
			<-b.launcher.entered
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			restarted := make(chan error, 1)
			go func() { restarted <- b.Restart(ctx, "text", now, func(int, string) {}) }()
			b.until("restart was asked for", func() bool {
				asked := false
				p := b.Manager.pools["text"]
				p.call(t.Context(), func() { asked = len(p.slots[0].observers) > 0 })
				return asked
			})
			close(slow)
			b.await("ready", "text-0-1")
			if err := <-restarted; err != nil {
				t.Errorf("the worker is ready, and yet: %v", err)
			}
			// Nobody asked this worker to end.
			b.launcher.process("text-0-1").crash()
			b.await("exited", "text-0-1")
			if d := b.why("text-0-1", 0)[0]; d.GetCause() != CauseSignal || b.status("text").GetDeaths() != 1 {
				t.Errorf("its crash counts as %s: %s", d.GetCause(), d.GetReason())
			}
		})
	}
}

func TestRestartThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 2)).start()
	b.await("ready", "text-0-1")
	b.await("ready", "text-1-1")
	b.launcher.play("text", script{openError: errors.New("cannot run /bin/server: permission denied")})
	err := b.operator.Restart(t.Context(), &pb.RestartRequest{Target: "text"}, func(*pb.Event) error { return nil })
	r, ok := errors.AsType[*transport.Refusal](err)
	if !ok || r.Reason != transport.RestartFailed || !strings.Contains(r.Detail, "permission denied") {
		t.Errorf("restart = %v", err)
	}
	if le := b.lease("text", "1"); le.Worker().Name() != "text-1-1" {
		t.Errorf("the roll went on: the call went to %s", le.Worker().Name())
	}
}

package manager

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/snakepitd/snakepitd/manager/config"
	"github.com/snakepitd/snakepitd/transport"
	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
	"github.com/snakepitd/snakepitd/units"
)

func TestStopWaitsForCalls(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 2)).start()
	b.await("ready", "text-0-1")
	b.await("ready", "text-1-1")
	le := b.lease("text", "1")
	busy := le.Worker().Name()
	done := b.stop(t.Context(), nil)
	b.await("draining", busy)
	b.refused("text", transport.Stopping)
	idle := map[string]string{"text-0-1": "text-1-1", "text-1-1": "text-0-1"}[busy]
	b.await("released", idle)
	select {
	case s := <-done:
		t.Errorf("it did not wait for the call: %v", s)
	default:
	}
	if terms, _ := b.launcher.process(busy).counts(); terms != 0 {
		t.Error("SIGTERM was sent while a call ran")
	}
	le.Release(transport.Outcome{})
	if s := <-done; s.err != nil || s.orphans != 0 {
		t.Errorf("stop = %+v", s)
	}
	if d := b.status("text"); d.GetState() != "down" {
		t.Errorf("status %s", d.GetState())
	}
}

func TestDrainTimeoutEndsTheWait(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, func(p *config.Pool) { p.DrainTimeout = briefly })).start()
	b.await("ready", "text-0-1")
	le := b.lease("text", "1")
	if s := <-b.stop(t.Context(), nil); s.err != nil {
		t.Error(s.err)
	}
	if _, died := le.Death(t.Context()); !died {
		t.Error("its call was not told")
	}
	le.Release(transport.Outcome{Broken: true})
}

func TestStopNow(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1), newPoolConfig("asleep", 1), newPoolConfig("sick", 1))
	b.launcher.play("asleep", script{silent: true})
	b.launcher.play("sick", script{startError: errors.New("cannot fork")})
	b.start()
	b.await("ready", "text-0-1")
	b.await("backoff", "", "sick-0")
	b.until("spawned", func() bool { return b.slot("asleep", 0).GetPid() != 0 })
	le := b.lease("text", "1")
	now := make(chan struct{})
	done := b.stop(t.Context(), now)
	b.await("draining", "text-0-1")
	close(now)
	if s := <-done; s.err != nil || s.orphans != 0 {
		t.Errorf("stop = %+v", s)
	}
	le.Release(transport.Outcome{Broken: true})
	if d := b.launcher.living(); len(d) != 0 {
		t.Errorf("%d processes", len(d))
	}
}

func TestStopWhileAProcessIsMade(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script script
	}{
		{"it comes late", script{}},
		{"it does not come", script{startError: errors.New("cannot fork")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := prepare(t, newPoolConfig("text", 1))
			slow := make(chan struct{})
			c.script.slow = slow
			b.launcher.play("text", c.script)
			b.start()
			<-b.launcher.entered
			done := b.stop(t.Context(), nil)
			close(slow)
			if s := <-done; s.err != nil || s.orphans != 0 {
				t.Errorf("stop = %+v", s)
			}
			if n := len(b.launcher.living()); n != 0 {
				t.Errorf("%d processes", n)
			}
			if p := b.launcher.process("text-0-1"); p != nil && p.ran() {
				t.Error("it passed the gate")
			}
			if recs := b.registry.Records(); len(recs) != 0 {
				t.Errorf("records %v", recs)
			}
		})
	}
}

// Abort means: launch answers soon. A stop must not wait out start_timeout.
func TestStopDoesNotWaitForASlowStart(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1))
	b.launcher.play("text", script{slow: make(chan struct{})}) // never
	b.start()
	<-b.launcher.entered
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if s := <-b.stop(ctx, nil); s.err != nil {
		t.Errorf("stop = %v, though nothing but Start was under way (start_timeout is %s)", s.err, patience)
	}
}

func TestStopBoundsItsWaiting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		now  bool
	}{{"calls", false}, {"now", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := prepare(t, newPoolConfig("text", 1, func(p *config.Pool) { p.StopTimeout = briefly }))
			b.launcher.play("text", script{deaf: true, immune: 1000})
			b.start()
			b.await("ready", "text-0-1")
			now := make(chan struct{})
			if c.now {
				close(now)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			late := time.NewTimer(5 * time.Second)
			defer late.Stop()
			done := b.stop(ctx, now)
			select {
			case s := <-done:
				if !errors.Is(s.err, context.DeadlineExceeded) {
					t.Errorf("stop = %+v", s)
				}
			case <-late.C:
				t.Error("stop goes on after the end of its ctx")
				b.launcher.process("text-0-1").crash()
				<-done
			}
		})
	}
}

func TestStopCountsOrphans(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1))
	b.launcher.play("text", script{left: 2})
	b.launcher.strays = []units.Orphan{{PID: 99, Command: "sleep"}}
	b.start()
	b.await("ready", "text-0-1")
	if s := <-b.stop(t.Context(), nil); s.err != nil || s.orphans != 3 {
		t.Errorf("stop = %+v; want 3 orphans", s)
	}
	b.await("orphans", "", "3 orphans")
}

func TestStatusAfterTheStopIsJSON(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 2)).start()
	<-b.stop(t.Context(), nil)
	reply, err := b.operator.Status(t.Context(), &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := protojson.Marshal(reply)
	if err != nil || !json.Valid(data) {
		t.Fatalf("%v: %s", err, data)
	}
	if p := reply.GetPools()[0]; p.GetState() != "down" || p.GetWorkers() != 2 || p.GetReady() != 0 {
		t.Errorf("status %v", p)
	}
	if err := b.Restart(t.Context(), "text", true, func(int, string) {}); err == nil {
		t.Error("a stopped pool was restarted")
	}
	if _, err := b.operator.Why(t.Context(), &pb.WhyRequest{Target: "text"}); err != nil {
		t.Error(err)
	}
}

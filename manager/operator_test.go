package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snakepitd/snakepitd/transport"
	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

func TestEventsAreKeptWithinBounds(t *testing.T) {
	e := newEvents(slog.New(slog.DiscardHandler))
	for n := range keptEvents + 10 {
		e.add(slog.LevelInfo, "ready", "text", fmt.Sprintf("text-0-%d", n+1), "")
	}
	kept, added := e.after(0)
	if len(kept) != keptEvents || kept[0].Sequence != 11 || kept[keptEvents-1].Sequence != keptEvents+10 {
		t.Errorf("%d kept, from %d to %d", len(kept), kept[0].Sequence, kept[len(kept)-1].Sequence)
	}
	for i := range kept[1:] {
		if kept[i+1].Sequence != kept[i].Sequence+1 {
			t.Fatalf("%d after %d", kept[i+1].Sequence, kept[i].Sequence)
		}
	}
	if late, _ := e.after(keptEvents + 9); len(late) != 1 {
		t.Errorf("%d after the last but one", len(late))
	}
	select {
	case <-added:
		t.Error("told of an event that did not come")
	default:
	}
	e.add(slog.LevelInfo, "exited", "text", "text-0-1", "")
	<-added
}

func TestDeathsAreKeptWithinBounds(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1)).start()
	const rounds = keptDeaths + 6
	for n := range rounds {
		b.await("ready", fmt.Sprintf("text-0-%d", n+1))
		if err := b.Restart(t.Context(), "text", true, func(int, string) {}); err != nil {
			t.Fatal(err)
		}
	}
	deaths := b.why("", 0)
	if len(deaths) != keptDeaths || deaths[0].GetWorker() != fmt.Sprintf("text-0-%d", rounds) {
		t.Errorf("%d deaths, the newest %v", len(deaths), deaths[0])
	}
	if got := b.why("text-0-1", 0); len(got) != 0 {
		t.Errorf("the oldest is still there: %v", got)
	}
}

func TestWhyByPoolSlotAndWorker(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("other", 1), newPoolConfig("text", 11)).start()
	for _, worker := range []string{"text-1-1", "text-10-1", "other-0-1", "text-1-2"} {
		b.await("ready", worker)
		b.launcher.process(worker).crash()
		b.await("exited", worker)
	}
	for _, c := range []struct {
		target string
		limit  int
		want   []string
	}{
		{target: "text", want: []string{"text-1-2", "text-10-1", "text-1-1"}},
		{target: "text", limit: 1, want: []string{"text-1-2"}},
		{target: "text-1", want: []string{"text-1-2", "text-1-1"}},
		{target: "text-10", want: []string{"text-10-1"}},
		{target: "text-1-1", want: []string{"text-1-1"}},
		{target: "text-2"},
		{target: "other", want: []string{"other-0-1"}},
		{target: "", limit: 2, want: []string{"text-1-2", "other-0-1"}}, // newest first, over all pools
	} {
		t.Run(fmt.Sprintf("%q at most %d", c.target, c.limit), func(t *testing.T) {
			var got []string
			for _, d := range b.why(c.target, c.limit) {
				got = append(got, d.GetWorker())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if d := b.why("text-1-1", 0)[0]; d.GetSignal() != "SIGSEGV" || d.GetCause() != CauseSignal || d.GetPid() == 0 {
		t.Errorf("death %v", d)
	}
	_, err := b.operator.Why(t.Context(), &pb.WhyRequest{Target: "nobody-1"})
	if r, ok := errors.AsType[*transport.Refusal](err); !ok || r.Reason != transport.TargetUnknown {
		t.Errorf("why of an unknown pool: %v", err)
	}
}

// The caller of why leaves while the loop is busy: what the loop does later must
// not touch the answer. The race detector judges.
func TestWhyWhoseCallerLeaves(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1)).start()
	b.await("ready", "text-0-1")
	b.launcher.process("text-0-1").crash()
	b.await("ready", "text-0-2")
	busy, entered := make(chan struct{}), make(chan struct{})
	b.Manager.pools["text"].inbox.put(event{do: func() { close(entered); <-busy }})
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	reply, err := b.operator.Why(ctx, &pb.WhyRequest{Target: "text"})
	close(busy)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("why = %v", err)
	}
	if n := len(reply.GetDeaths()); n != 0 {
		t.Errorf("%d deaths of a loop that did not answer", n)
	}
	b.status("text")
}

func TestStatusOfTargets(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("other", 1), newPoolConfig("text", 2)).start()
	b.await("ready", "text-1-1")
	for target, want := range map[string]int{"text": 2, "text-1": 1, "text-1-1": 1} {
		if got := len(b.status(target).GetSlots()); got != want {
			t.Errorf("status of %s has %d slots", target, got)
		}
	}
	for _, target := range []string{"nobody", "text-2", "text-1-7", "text-", "-", "text-1-1-1"} {
		_, err := b.operator.Status(t.Context(), &pb.StatusRequest{Target: target})
		if r, ok := errors.AsType[*transport.Refusal](err); !ok || r.Reason != transport.TargetUnknown {
			t.Errorf("status of %q: %v", target, err)
		}
	}
}

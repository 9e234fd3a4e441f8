package manager

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snakepitd/snakepitd/transport"
)

func testMember(name string, capacity int) *member {
	return &member{
		name: name, capacity: capacity, dead: make(chan struct{}), drained: func() {}, broken: func() {}, reports: func() bool { return false },
		abandoned: map[string]bool{},
	}
}

func acquire(t *testing.T, l *leases, id string) *lease {
	t.Helper()
	got, err := l.acquire(t.Context(), transport.Call{ID: id})
	if err != nil {
		t.Fatalf("acquire %s: %v", id, err)
	}
	return got.(*lease)
}

func reasonOf(err error) transport.Reason {
	if r, ok := errors.AsType[*transport.Refusal](err); ok {
		return r.Reason
	}
	return ""
}

func TestLeastLoadedAndFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeases("text", 10, time.Minute, time.Second)
		l.expect(true, "", time.Time{})
		a, b := testMember("text-0-1", 1), testMember("text-1-1", 1)
		l.publish(a)
		l.publish(b)
		one, two := acquire(t, l, "1"), acquire(t, l, "2")
		if one.member == two.member {
			t.Fatal("both calls went to one worker with one place")
		}
		var mu sync.Mutex
		var order []string
		for _, id := range []string{"3", "4", "5"} {
			go func() {
				le := acquire(t, l, id)
				mu.Lock()
				order = append(order, id)
				mu.Unlock()
				le.Release(transport.Outcome{})
			}()
			synctest.Wait()
		}
		one.Release(transport.Outcome{})
		synctest.Wait()
		if diff := cmp.Diff([]string{"3", "4", "5"}, order); diff != "" {
			t.Error(diff)
		}
		two.Release(transport.Outcome{})
	})
}

func TestQueueSaysWhyItRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeases("text", 1, 10*time.Second, time.Second)
		l.expect(true, "", time.Time{})
		l.publish(testMember("text-0-1", 1))
		holder := acquire(t, l, "holder")
		waiting := make(chan error, 1)
		began := time.Now()
		go func() {
			_, err := l.acquire(t.Context(), transport.Call{ID: "waits"})
			waiting <- err
		}()
		synctest.Wait()
		if _, err := l.acquire(t.Context(), transport.Call{ID: "too many"}); reasonOf(err) != transport.QueueFull {
			t.Errorf("with a full queue: %v", err)
		}
		if err := <-waiting; reasonOf(err) != transport.QueueTimeout || time.Since(began) != 10*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.acquire(ctx, transport.Call{ID: "short deadline"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("past its deadline: %v", err)
		}
		holder.Release(transport.Outcome{})
		if f := l.figures(); f.inFlight != 0 || f.queued != 0 || f.rejected != 3 {
			t.Errorf("left: %+v", f)
		}
	})
}

func TestWarmingPoolLetsTheCallersDeadlineCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeases("text", 10, time.Second, time.Second)
		l.expect(true, "", time.Time{})
		got := make(chan error, 1)
		go func() {
			_, err := l.acquire(t.Context(), transport.Call{ID: "early"})
			got <- err
		}()
		<-time.After(30 * time.Second) // by the clock of the bubble: no real time passes
		l.publish(testMember("text-0-1", 1))
		if err := <-got; err != nil {
			t.Errorf("a call that came while the pool was warming: %v", err)
		}
	})
}

func TestNoneComingAnswersAtOnceWithTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeases("text", 10, time.Second, time.Second)
		l.expect(true, "", time.Time{})
		got := make(chan error, 1)
		go func() {
			_, err := l.acquire(t.Context(), transport.Call{ID: "waits"})
			got <- err
		}()
		synctest.Wait()
		l.expect(false, "text-0-1 failed to start: ModuleNotFoundError", time.Now().Add(3*time.Second))
		err := <-got
		var r *transport.Refusal
		if !errors.As(err, &r) || r.Reason != transport.NoWorker || r.Detail != "text-0-1 failed to start: ModuleNotFoundError" || r.RetryAfter != 3*time.Second {
			t.Errorf("who waited: %#v", err)
		}
		if _, err := l.acquire(t.Context(), transport.Call{}); reasonOf(err) != transport.NoWorker {
			t.Errorf("who comes: %v", err)
		}
	})
}

func TestAbandonedCallKeepsItsPlace(t *testing.T) {
	for _, c := range []struct {
		name    string
		reports bool
		over    bool
		early   bool
		held    time.Duration
	}{
		{name: "a worker that does not report is trusted after overrun_timeout", held: 5 * time.Second},
		{name: "a worker that reports frees it when it says so", reports: true, over: true, held: 2 * time.Second},
		{name: "even when it says so before we know that the caller left", reports: true, early: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLeases("text", 10, time.Minute, 5*time.Second)
				l.expect(true, "", time.Time{})
				m := testMember("text-0-1", 1)
				m.reports = func() bool { return c.reports }
				m.running = func(context.Context, string) (bool, error) { return !c.early, nil }
				l.publish(m)
				le := acquire(t, l, "abandoned")
				if c.early {
					l.over(m, "abandoned")
				}
				le.Release(transport.Outcome{Abandoned: true})
				began := time.Now()
				if c.over {
					time.AfterFunc(2*time.Second, func() { l.over(m, "abandoned") })
				}
				next := acquire(t, l, "next")
				if held := time.Since(began); held != c.held {
					t.Errorf("the place was free after %s, want %s", held, c.held)
				}
				next.Release(transport.Outcome{})
				if len(m.abandoned) != 0 || m.inFlight != 0 {
					t.Errorf("left behind: %v %d", m.abandoned, m.inFlight)
				}
			})
		})
	}
}

func TestWithdrawnWorkerDrains(t *testing.T) {
	l := newLeases("text", 10, time.Minute, time.Second)
	l.expect(true, "", time.Time{})
	m := testMember("text-0-1", 4)
	drained := make(chan struct{})
	m.drained = func() { close(drained) }
	l.publish(m)
	one, two := acquire(t, l, "1"), acquire(t, l, "2")
	l.withdraw(m)
	one.Release(transport.Outcome{})
	select {
	case <-drained:
		t.Fatal("drained with a call in flight")
	default:
	}
	two.Release(transport.Outcome{})
	<-drained
}

// TestNoLeaseIsLost hammers the table: every place is given back, nobody holds one
// worker's place twice.
func TestNoLeaseIsLost(t *testing.T) {
	l := newLeases("text", 1000, time.Minute, time.Millisecond)
	l.expect(true, "", time.Time{})
	busy := map[string]*sync.Mutex{}
	for i := range 3 {
		m := testMember(fmt.Sprintf("text-%d-1", i), 1)
		busy[m.name] = &sync.Mutex{}
		l.publish(m)
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+(i*j)%7)*time.Millisecond)
				got, err := l.acquire(ctx, transport.Call{ID: fmt.Sprintf("%d-%d", i, j)})
				cancel()
				if err != nil {
					continue
				}
				name := got.(*lease).member.name
				if !busy[name].TryLock() {
					t.Errorf("two calls in %s", name)
					return
				}
				runtime.Gosched()
				busy[name].Unlock()
				got.Release(transport.Outcome{})
			}
		})
	}
	wg.Wait()
	if f := l.figures(); f.inFlight != 0 || f.queued != 0 {
		t.Errorf("left: %+v", f)
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	l := newLeases("text", 1000, time.Minute, time.Second)
	l.expect(true, "", time.Time{})
	for i := range 8 {
		l.publish(testMember(fmt.Sprintf("text-%d-1", i), 16))
	}
	for b.Loop() {
		le, err := l.acquire(b.Context(), transport.Call{ID: "x"})
		if err != nil {
			b.Fatal(err)
		}
		le.Release(transport.Outcome{})
	}
}

// TestACallToRepeatHoldsUpNobody: it avoids the worker that it lost while another has
// room, and takes that one when it is the only one that answers again.
func TestACallToRepeatHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeases("text", 10, time.Minute, time.Second)
		l.expect(true, "", time.Time{})
		m := testMember("text-0-1", 2)
		l.publish(m)
		acquire(t, l, "1").Release(transport.Outcome{Broken: true})
		retried := make(chan string, 1)
		go func() {
			got, err := l.acquire(t.Context(), transport.Call{ID: "1", Exclude: "text-0-1"})
			if err != nil {
				t.Error(err)
				return
			}
			retried <- got.(*lease).member.name
			got.Release(transport.Outcome{})
		}()
		synctest.Wait()
		if len(retried) != 0 {
			t.Error("it was given a worker whose connection is broken")
		}
		l.publish(testMember("text-1-1", 1))
		if got := <-retried; got != "text-1-1" {
			t.Errorf("repeated in %s", got)
		}
		synctest.Wait()
		held := acquire(t, l, "2") // the new one has one place
		l.trust(m)
		got, err := l.acquire(t.Context(), transport.Call{ID: "3", Exclude: "text-0-1"})
		if err != nil || got.(*lease).member != m {
			t.Errorf("the only worker with room: %v, %v", got, err)
		}
		held.Release(transport.Outcome{})
	})
}

// TestLongBackoffIsNoneComing: nobody waits in the queue for a back-off that is longer
// than queue_timeout, nor for one after a failed start.
func TestLongBackoffIsNoneComing(t *testing.T) {
	for _, c := range []struct {
		name string
		slot slot
		want bool
	}{
		{"short", slot{wanted: true, state: Backoff, next: time.Now().Add(time.Second)}, true},
		{"long", slot{wanted: true, state: Backoff, next: time.Now().Add(time.Minute)}, false},
		{"after a failed start", slot{wanted: true, state: Backoff, badStart: true, next: time.Now()}, false},
		{"starting", slot{wanted: true, state: Starting, badStart: true}, true},
		{"stuck in releasing", slot{wanted: true, state: Releasing, stuck: true}, false},
		{"unwanted", slot{state: Starting}, false},
	} {
		if got := c.slot.coming(10 * time.Second); got != c.want {
			t.Errorf("%s: coming = %v", c.name, got)
		}
	}
}

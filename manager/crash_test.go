package manager

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snakepitd/snakepitd/manager/config"
	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/units"
)

func TestCrashIsAnsweredOnTheSamePortAfterRelease(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 2, onPorts))
	held := make(chan struct{})
	b.launcher.play("text-0-1", script{held: held, left: 2})
	b.start()
	b.await("ready", "text-0-1")
	b.await("ready", "text-1-1")
	before := b.slot("text", 0)

	b.launcher.process("text-0-1").crash()
	b.await("exited", "text-0-1", "SIGSEGV")
	b.inState("text", 0, Releasing)
	if p := b.launcher.process("text-0-2"); p != nil {
		t.Error("the next worker was started before the former one was released")
	}
	if le := b.lease("text", "1"); le.Worker().Name() != "text-1-1" {
		t.Errorf("the call went to %s", le.Worker().Name())
	}
	close(held)
	ready := b.await("ready", "text-0-2")
	released := b.await("released", "text-0-1", "2 processes that it had left behind were killed")
	if released.GetSequence() > ready.GetSequence() {
		t.Error("ready came before released")
	}
	if diff := cmp.Diff([]string{"ready", "exited", "released"}, b.told("text-0-1")); diff != "" {
		t.Error(diff)
	}
	after := b.slot("text", 0)
	if after.GetPort() != before.GetPort() || after.GetPid() == before.GetPid() || after.GetDeaths() != 1 {
		t.Errorf("before %v, after %v", before, after)
	}
	if n := b.status("text").GetOrphans(); n != 2 {
		t.Errorf("%d orphans", n)
	}
}

func TestCrashTellsItsCalls(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1)).start()
	b.await("ready", "text-0-1")
	le := b.lease("text", "1")
	b.launcher.process("text-0-1").crash()
	if cause, died := le.Death(t.Context()); !died || cause != "killed by SIGSEGV" {
		t.Errorf("death = %q, %v", cause, died)
	}
	le.Release(transport.Outcome{Broken: true})
	// The pool had a ready worker: its successor is worth waiting for, back-off or not.
	next := b.lease("text", "2")
	defer next.Release(transport.Outcome{})
	if next.Worker().Name() != "text-0-2" {
		t.Errorf("the next call went to %s", next.Worker().Name())
	}
}

func TestBusyPortGoesToQuarantine(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, onPorts, func(p *config.Pool) { p.ReleaseTimeout = 200 * time.Millisecond }))
	b.start()
	b.await("ready", "text-0-1")
	port := int(b.slot("text", 0).GetPort())
	p := b.launcher.process("text-0-1")
	p.hangUp()
	occupy(t, port)
	p.crash()
	b.await("quarantined", "text-0-1")
	b.await("ready", "text-0-2")
	s := b.status("text")
	if got := int(s.GetSlots()[0].GetPort()); got == port {
		t.Error("the slot did not move")
	}
	if q := s.GetQuarantined(); len(q) != 1 || int(q[0].GetPort()) != port || q[0].GetSlot() != "text-0" {
		t.Errorf("quarantined: %v", q)
	}
}

func TestFailedStartsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script script
		cause  []string
	}{
		{"no process", script{startError: errors.New("cannot fork: no more processes")}, []string{"cannot fork: no more processes"}},
		{"no program", script{openError: errors.New("cannot run /bin/server: no such file or directory")}, []string{"no such file or directory"}},
		{"an import error", script{output: "Traceback\nImportError: no module named spam\n", ends: &units.Exit{Code: 1}}, []string{"exit status 1 before it was ready", "ImportError: no module named spam"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := prepare(t, newPoolConfig("text", 1))
			b.launcher.play("text", c.script)
			b.start()
			b.await("backoff", "", "text-0", c.cause[0])
			b.inState("text", 0, Backoff)
			b.until("back-off long enough to look at", func() bool {
				s := b.slot("text", 0)
				return s.GetState() == string(Backoff) && s.GetNextAttempt() != nil && time.Until(s.GetNextAttempt().AsTime()) > 300*time.Millisecond
			})
			r := b.refused("text", transport.NoWorker)
			for _, part := range append(c.cause, "failed to start") {
				if !strings.Contains(r.Detail, part) {
					t.Errorf("the caller is told %q, without %q", r.Detail, part)
				}
			}
			if r.RetryAfter <= 0 || r.RetryAfter > 40*time.Second {
				t.Errorf("retry after %s", r.RetryAfter)
			}
			if d := b.why("text", 1)[0]; d.GetCause() != CauseStartFailed {
				t.Errorf("cause = %s", d.GetCause())
			}
			b.launcher.play("text", script{})
			b.until("ready", func() bool { return b.status("text").GetState() == "ready" })
		})
	}
}

func TestFiveFailedStartsGiveUpAlone(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("sick", 5), newPoolConfig("text", 1))
	b.launcher.play("sick", script{ends: &units.Exit{Code: 3}})
	b.start()
	b.await("ready", "text-0-1")
	b.await("failed", "", "starts in a row failed")
	b.until("all failed", func() bool {
		for _, s := range b.status("sick").GetSlots() {
			if s.GetState() != string(Failed) {
				return false
			}
		}
		return true
	})
	s := b.status("sick")
	if s.GetState() != "failed" || !strings.Contains(s.GetReason(), "exit status 3") {
		t.Errorf("status %s because of %q", s.GetState(), s.GetReason())
	}
	r := b.refused("sick", transport.NoWorker)
	if r.RetryAfter < 20*time.Second || r.RetryAfter > coolDown {
		t.Errorf("retry after %s; the cool-down is %s", r.RetryAfter, coolDown)
	}
	b.lease("text", "1").Release(transport.Outcome{})
	if got := b.told("text-0-1"); !cmp.Equal(got, []string{"ready"}) {
		t.Errorf("the other pool: %v", got)
	}

	// A person repairs it and restarts: nobody waits for the cool-down.
	b.launcher.play("sick", script{})
	if err := b.Restart(t.Context(), "sick", true, func(int, string) {}); err != nil {
		t.Error(err)
	}
	if s := b.status("sick"); s.GetReady() != 5 {
		t.Errorf("%d ready", s.GetReady())
	}
}

// A pool that never gets ready takes the places of those who start. Others wait
// no longer for them than bootShare.
func TestWorkersThatNeverGetReadyHoldUpNobody(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("asleep", 12), newPoolConfig("text", 1))
	b.launcher.play("asleep", script{silent: true})
	b.start()
	// Whoever comes first at the start: the next worker comes behind all of them.
	for _, worker := range []string{"text-0-1", "text-0-2"} {
		began := time.Now()
		b.await("ready", worker)
		if took := time.Since(began); took > bootShare+2*time.Second {
			t.Errorf("%s waited %s; a starting worker keeps its place for %s at most", worker, took, bootShare)
		}
		b.until("places taken", func() bool {
			return slices.ContainsFunc(b.launcher.names(), func(name string) bool { return strings.HasPrefix(name, "asleep") })
		})
		b.launcher.process(worker).crash()
	}
}

func TestStartTimeoutTellsWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, func(p *config.Pool) { p.StartTimeout = 200 * time.Millisecond }))
	b.launcher.play("text-0-1", script{
		stranger: errors.New("pid 77 (nginx) listens there and is not of text-0-1"),
		immune:   1, // so that the boot answers before the end
	})
	b.start()
	b.await("killing", "text-0-1", "not ready within start_timeout")
	b.await("ready", "text-0-2")
	if d := b.why("text-0-1", 0)[0]; !strings.Contains(d.GetReason(), "start_timeout") || !strings.Contains(d.GetReason(), "nginx") {
		t.Errorf("why says %q: not that a stranger listens there", d.GetReason())
	}
}

func TestUnreachableWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1)).start()
	b.await("ready", "text-0-1")
	le := b.lease("text", "1")
	b.launcher.process("text-0-1").hangUp()
	b.noticed(le)
	le.Release(transport.Outcome{Broken: true})
	b.await("ready", "text-0-2")
	if d := b.why("text-0-1", 0)[0]; d.GetCause() != CauseUnhealthy || !strings.Contains(d.GetReason(), "cannot be reached") {
		t.Errorf("cause %s: %s", d.GetCause(), d.GetReason())
	}
	if terms, kills := b.launcher.process("text-0-1").counts(); terms != 1 || kills != 0 {
		t.Errorf("%d SIGTERM, %d SIGKILL", terms, kills)
	}
}

// noticed waits until the connection of a lease is known to be broken.
func (b *bed) noticed(le transport.Lease) {
	b.t.Helper()
	b.until("broken", func() bool { return le.Worker().Check(b.t.Context()) != nil })
}

// The doubt about a connection ends when the worker answers within
// reconnectTimeout, as the message of the other end says.
func TestWorkerThatListensAgainIsKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		late bool // the first attempt to connect again is refused
	}{{"at once", false}, {"a moment later", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := prepare(t, newPoolConfig("text", 1)).start()
			b.await("ready", "text-0-1")
			le := b.lease("text", "1")
			p := b.launcher.process("text-0-1")
			p.hangUp()
			b.noticed(le)
			if c.late {
				again := time.AfterFunc(300*time.Millisecond, func() { _ = p.listen() })
				defer again.Stop()
			} else if err := p.listen(); err != nil {
				t.Fatal(err)
			}
			le.Release(transport.Outcome{Broken: true})
			next := b.lease("text", "2")
			defer next.Release(transport.Outcome{})
			if next.Worker().Name() != "text-0-1" {
				t.Errorf("the worker was replaced: %s", b.why("text-0-1", 0)[0].GetReason())
			}
		})
	}
}

package manager

import (
	"testing"
	"time"

	"github.com/snakepitd/snakepitd/manager/config"
	"github.com/snakepitd/snakepitd/transport"
	"github.com/snakepitd/snakepitd/units"
)

func notify(b *bed, pid int, fields ...string) {
	m := units.Message{PID: pid, Fields: map[string]string{}}
	for i := 0; i < len(fields); i += 2 {
		m.Fields[fields[i]] = fields[i+1]
	}
	b.Notified(m)
}

func notifying(p *config.Pool) { p.Ready = "notify" }

func TestReadyCountsFromTheWorkerOnly(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 2, notifying))
	b.launcher.play("text-1-1", script{forked: 4242})
	b.start()
	b.until("spawned", func() bool {
		s := b.status("text").GetSlots()
		return s[0].GetPid() != 0 && s[1].GetPid() != 0
	})
	notify(b, 1, "READY", "1", "STATUS", "I am init")
	notify(b, 999, "READY", "1")
	notify(b, 4242, "READY", "1", "STATUS", "warm")
	b.await("ready", "text-1-1")
	s := b.status("text")
	if s.GetSlots()[0].GetState() != string(Starting) || s.GetSlots()[0].GetWorkerStatus() != "" {
		t.Errorf("a stranger was believed: %v", s.GetSlots()[0])
	}
	if got := s.GetSlots()[1].GetWorkerStatus(); got != "warm" {
		t.Errorf("status %q", got)
	}
	notify(b, int(s.GetSlots()[0].GetPid()), "READY", "1", "READY", "1")
	b.await("ready", "text-0-1")

	// The pid of a worker that has ended is a stranger's too.
	former := int(s.GetSlots()[0].GetPid())
	b.launcher.process("text-0-1").crash()
	b.await("exited", "text-0-1")
	notify(b, former, "READY", "1")
	b.until("text-0-2 spawned", func() bool { return b.slot("text", 0).GetWorker() == "text-0-2" && b.slot("text", 0).GetPid() != 0 })
	if state := b.slot("text", 0).GetState(); state != string(Starting) {
		t.Errorf("text-0-2 is %s by the word of text-0-1", state)
	}
}

func TestNotifiedReadyMustBeReachable(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, notifying))
	b.launcher.play("text-0-1", script{silent: true})
	b.start()
	b.until("spawned", func() bool { return b.slot("text", 0).GetPid() != 0 })
	notify(b, int(b.slot("text", 0).GetPid()), "READY", "1")
	b.until("opened", func() bool { return b.launcher.process("text-0-1").ran() })
	if err := b.launcher.process("text-0-1").listen(); err != nil {
		t.Fatal(err)
	}
	b.await("ready", "text-0-1")
}

// A worker tells that it reports calls together with READY=1. With ready =
// "listen" that may come after its port was found open.
func TestAbandonedCallKeepsItsPlaceUntilItIsOver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		first bool // READY=1 is there before the connection
	}{{"told before it was ready", true}, {"told after it was ready", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := prepare(t, newPoolConfig("text", 1, func(p *config.Pool) {
				p.OverrunTimeout = time.Minute
				if c.first {
					notifying(p)
				}
			}))
			b.launcher.play("text", script{reports: true})
			b.start()
			b.until("spawned", func() bool { return b.slot("text", 0).GetPid() != 0 })
			pid := int(b.slot("text", 0).GetPid())
			if !c.first {
				b.await("ready", "text-0-1")
			}
			notify(b, pid, "READY", "1", "X_SNAKEPIT_SDK", "1")
			b.await("ready", "text-0-1")
			p := b.launcher.process("text-0-1")

			p.run("1")
			b.lease("text", "1").Release(transport.Outcome{Abandoned: true})
			next := make(chan transport.Lease, 1)
			go func() {
				le, err := b.acquire("text", "2")
				if err != nil {
					t.Error(err)
				}
				next <- le
			}()
			b.until("asked", func() bool { return p.askedAbout("1") >= 1 })
			if n := b.status("text").GetInFlight(); n != 1 {
				t.Errorf("%d in flight", n)
			}
			if len(next) != 0 {
				t.Error("the place was given away while the call ran on")
			}
			notify(b, 999, "X_SNAKEPIT_CALL_OVER", "1") // a stranger
			notify(b, pid, "X_SNAKEPIT_CALL_OVER", "other")
			b.slot("text", 0) // both were seen
			if len(next) != 0 {
				t.Error("the place was given away by the word of a stranger, or for another call")
			}
			p.run()
			notify(b, pid, "X_SNAKEPIT_CALL_OVER", "1")
			if le := <-next; le != nil {
				le.Release(transport.Outcome{})
			}
		})
	}
}

// Nobody waits for an abandoned call; one that runs on past overrun_timeout costs its
// worker the life, because its place would be lost for as long as it likes.
func TestOverrunCostsTheWorker(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, notifying, func(p *config.Pool) { p.OverrunTimeout = briefly }))
	b.launcher.play("text", script{reports: true})
	b.start()
	b.until("spawned", func() bool { return b.slot("text", 0).GetPid() != 0 })
	notify(b, int(b.slot("text", 0).GetPid()), "READY", "1", "X_SNAKEPIT_SDK", "1")
	b.await("ready", "text-0-1")
	b.launcher.process("text-0-1").run("1")
	b.lease("text", "1").Release(transport.Outcome{Abandoned: true})
	b.await("exited", "text-0-1", "still ran call 1", "overrun_timeout")
	b.await("released", "text-0-1")
}

// A worker that says that it stops gets no more calls.
func TestStoppingWorkerGetsNoCalls(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 2))
	b.start()
	b.await("ready", "text-0-1")
	b.await("ready", "text-1-1")
	notify(b, int(b.slot("text", 0).GetPid()), "STOPPING", "1")
	b.slot("text", 0) // it was seen
	for range 10 {
		le := b.lease("text", "1")
		if got := le.Worker().Name(); got != "text-1-1" {
			t.Errorf("a call for %s", got)
		}
		le.Release(transport.Outcome{})
	}
}

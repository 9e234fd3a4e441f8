package manager

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snakepitd/snakepitd/manager/config"
	"github.com/snakepitd/snakepitd/registry"
	"github.com/snakepitd/snakepitd/transport"
)

func briefRelease(p *config.Pool) { p.ReleaseTimeout = briefly }

func TestReleaseThatLeavesProcessesStays(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, briefRelease))
	b.launcher.play("text-0-1", script{stuck: 4})
	b.start()
	b.await("ready", "text-0-1")
	b.launcher.process("text-0-1").crash()
	b.await("not-released", "text-0-1", "4711")
	r := b.refused("text", transport.NoWorker)
	if !strings.Contains(r.Detail, "1 process is left: 4711") {
		t.Errorf("the caller is told %q", r.Detail)
	}
	if s := b.slot("text", 0); s.GetState() != string(Releasing) || !strings.Contains(s.GetReason(), "4711") || s.GetWorker() != "text-0-1" {
		t.Errorf("slot %v", s)
	}
	if recs := b.registry.Records(); len(recs) != 1 || recs[0].Worker.String() != "text-0-1" {
		t.Errorf("records %v", recs)
	}
	b.await("ready", "text-0-2")
	b.lease("text", "1").Release(transport.Outcome{})
}

func TestKillIsRepeated(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, func(p *config.Pool) { p.StopTimeout = 50 * time.Millisecond }))
	b.launcher.play("text-0-1", script{deaf: true, immune: 1})
	b.start()
	b.await("ready", "text-0-1")
	if err := b.Restart(t.Context(), "text-0", true, func(int, string) {}); err != nil {
		t.Error(err)
	}
	if terms, kills := b.launcher.process("text-0-1").counts(); terms != 1 || kills != 2 {
		t.Errorf("%d SIGTERM, %d SIGKILL", terms, kills)
	}
	killings := 0
	for _, kind := range b.told("text-0-1") {
		if kind == "killing" {
			killings++
		}
	}
	if killings != 2 {
		t.Errorf("%d killings were told", killings)
	}
}

// fill makes every write of the registry fail until the returned function is
// called: as a full disk does, for root too.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Error(err)
	}
	return func() {
		if err := os.Rename(dir+".away", dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

func TestFullDiskKeepsTheRecordAndTheSlot(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, briefRelease)).start()
	b.await("ready", "text-0-1")
	empty := fill(t, b.dir)
	b.launcher.process("text-0-1").crash()
	b.await("not-released", "text-0-1", "cannot remove the record")
	if names := b.launcher.names(); len(names) != 1 || !recorded(b.registry, "text-0-1") {
		t.Errorf("started: %v", names)
	}
	empty()
	b.await("ready", "text-0-2")
}

func TestFullDiskRefusesToStart(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("full", 1), newPoolConfig("text", 1))
	b.launcher.play("full", script{startError: os.ErrPermission})
	b.start()
	b.await("backoff", "", "full-0")
	b.await("ready", "text-0-1")
	b.launcher.play("full", script{})
	empty := fill(t, b.dir)
	b.await("backoff", "", "full-0", "cannot record full-0-")
	b.inState("full", 0, Backoff)
	if n := len(b.launcher.living()); n != 1 {
		t.Errorf("%d processes", n)
	}
	b.until("back-off", func() bool {
		s := b.slot("full", 0)
		return s.GetNextAttempt() != nil && time.Until(s.GetNextAttempt().AsTime()) > 100*time.Millisecond
	})
	if r := b.refused("full", transport.NoWorker); !strings.Contains(r.Detail, "cannot record") {
		t.Errorf("the caller is told %q", r.Detail)
	}
	empty()
	b.until("ready", func() bool { return b.status("full").GetState() == "ready" })
}

// The record of a process that is already at the gate cannot be written. It must
// go, also when that takes more than one SIGKILL, and its record must outlive it.
func TestFullDiskWithAHeldProcess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script script
	}{
		{"it dies at once", script{}},
		{"the first SIGKILL does not help", script{immune: 1}},
		{"the first Release leaves a process", script{stuck: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := prepare(t, newPoolConfig("text", 1, briefRelease))
			filled := make(chan func(), 1)
			c.script.spawn = func() { filled <- fill(t, b.dir) }
			b.launcher.play("text-0-1", c.script)
			b.start()
			empty := <-filled
			t.Cleanup(empty)
			if c.script.immune == 0 {
				b.await("exited", "text-0-1", "cannot record text-0-1")
			} else {
				b.until("killed", func() bool {
					p := b.launcher.process("text-0-1")
					if p == nil {
						return false
					}
					_, kills := p.counts()
					return kills > 0
				})
			}
			empty()
			b.until("released, or its record gone before", func() bool {
				return b.launcher.process("text-0-1").gone() || !recorded(b.registry, "text-0-1") || len(b.launcher.names()) > 1
			})
			p := b.launcher.process("text-0-1")
			if !p.gone() {
				t.Error("text-0-1 still exists, but its slot has forgotten it: its record is gone")
			}
			if p.ran() {
				t.Error("text-0-1 passed the gate without a record of its pid")
			}
			b.await("ready", "text-0-2")
		})
	}
}

func recorded(r *registry.Registry, worker string) bool {
	for _, rec := range r.Records() {
		if rec.Worker.String() == worker {
			return true
		}
	}
	return false
}

// Two things go wrong one after the other: the port stays busy, and then the
// record cannot be removed. That the slot moves must be told all the same.
func TestQuarantineIsToldAlsoWhenTheDiskIsFull(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, onPorts, briefRelease)).start()
	b.await("ready", "text-0-1")
	p := b.launcher.process("text-0-1")
	p.hangUp()
	occupy(t, int(b.slot("text", 0).GetPort()))
	empty := fill(t, b.dir)
	p.crash()
	b.await("not-released", "text-0-1", "cannot remove the record")
	empty()
	b.await("ready", "text-0-2")
	if told := b.told("text-0-1"); !slices.Contains(told, "quarantined") {
		t.Errorf("nobody was told: %v", told)
	}
}

// briefly is for timeouts that a test wants to pass.
const briefly = 100 * time.Millisecond

package manager

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/snakepitd/snakepitd/registry"
	"github.com/snakepitd/snakepitd/units"
)

// leave writes the records of a former daemon.
func (b *bed) leave(recs ...registry.Record) {
	b.t.Helper()
	former, err := registry.Open(b.dir, "bbbbbbbb", slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, rec := range recs {
		rec.RunID, rec.State, rec.StartTime = "bbbbbbbb", registry.StateRunning, 77
		if err := former.Put(rec); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := former.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func TestLeftoversAreReleasedFirst(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1))
	b.leave(
		registry.Record{Worker: registry.WorkerID{Pool: "text", Slot: 0, Generation: 7}, PID: 70, CGroup: "/sys/fs/cgroup/x"},
		registry.Record{Worker: registry.WorkerID{Pool: "text", Slot: 3, Generation: 2}, PID: 32},
		registry.Record{Worker: registry.WorkerID{Pool: "gone", Slot: 0, Generation: 1}, PID: 1001, Port: 22000},
	)
	var tries atomic.Int32
	b.launcher.reap = func(id units.Identity) error {
		if names := b.launcher.names(); id.PID == 70 && len(names) != 0 {
			t.Errorf("started before the leftover was released: %v", names)
		}
		if id.PID == 70 && tries.Add(1) == 1 {
			return errors.New("1 process is left")
		}
		return nil
	}
	b.pools[0].Pool.ReleaseTimeout = briefly
	b.start()
	for _, worker := range []string{"text-0-7", "text-3-2", "gone-0-1"} {
		b.await("leftover", worker, "bbbbbbbb")
	}
	b.await("not-released", "text-0-7", "1 process is left")
	released := b.await("released", "text-0-7")
	ready := b.await("ready", "text-0-8")
	if released.GetSequence() > ready.GetSequence() {
		t.Error("ready came before released")
	}
	b.until("strays released", func() bool { return len(b.registry.Leftovers()) == 0 })
	if diff := cmp.Diff([]int{32, 70, 1001}, b.launcher.reapedPIDs(), cmpopts.SortSlices(func(a, b int) bool { return a < b })); diff != "" {
		t.Error(diff)
	}
	for _, id := range b.launcher.reaped {
		if id.RunID != "bbbbbbbb" || id.StartTime != 77 || id.Worker == "" {
			t.Errorf("reaped with too little to know it by: %+v", id)
		}
	}
}

// A leftover's port is its own: when it stays busy, that one goes to quarantine,
// not the free one that the slot has leased meanwhile.
func TestBusyPortOfALeftover(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, onPorts))
	busy := b.conf.Daemon.Ports.First
	occupy(t, busy)
	b.leave(registry.Record{Worker: registry.WorkerID{Pool: "text", Slot: 0, Generation: 7}, PID: 70, Port: busy})
	b.pools[0].Pool.ReleaseTimeout = briefly
	b.start()
	b.await("ready", "text-0-8")
	for _, q := range b.status("text").GetQuarantined() {
		if int(q.GetPort()) != busy {
			t.Errorf("port %d is in quarantine; the busy one is %d", q.GetPort(), busy)
		}
	}
	if got := int(b.slot("text", 0).GetPort()); got != busy+1 {
		t.Errorf("the slot moved to %d; %d was free", got, busy+1)
	}
}

// The same port after a restart of the daemon, when the leftover gives it back.
func TestSlotKeepsThePortOfItsLeftover(t *testing.T) {
	t.Parallel()
	b := prepare(t, newPoolConfig("text", 1, onPorts))
	port := b.conf.Daemon.Ports.First
	stop := occupy(t, port) // the leftover itself listens there until it is reaped
	b.launcher.reap = func(units.Identity) error { stop(); return nil }
	b.leave(registry.Record{Worker: registry.WorkerID{Pool: "text", Slot: 0, Generation: 7}, PID: 70, Port: port})
	b.start()
	b.await("ready", "text-0-8")
	if got := int(b.slot("text", 0).GetPort()); got != port {
		t.Errorf("the slot moved from %d to %d, though the port became free", port, got)
	}
}

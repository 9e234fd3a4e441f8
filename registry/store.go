package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const bootIDPath = "/proc/sys/kernel/random/boot_id"

// ErrClosed is returned by Put and Remove after Close.
var ErrClosed = errors.New("the registry is closed")

// Registry owns the run directory: its lock, and the snapshot of all records. It is
// safe for concurrent use.
type Registry struct {
	dir, runID, bootID string
	aside              string
	log                *slog.Logger
	lock               *os.File

	// writing makes one snapshot at a time, so that each is built on the one that is
	// on disk; a write takes well under a millisecond on a tmpfs. It is taken before
	// mu, and mu is never held across I/O: readers and NextWorker never wait for disk.
	writing sync.Mutex
	closed  bool // guarded by writing

	mu          sync.Mutex
	records     map[WorkerID]Record
	leftovers   map[WorkerID]bool
	floor       int
	generations map[string]int // by slot name
	unsaved     bool           // a generation was given out that no snapshot has
}

// Open takes the run directory for one life of the daemon: it makes dir (mode 0711)
// where needed, locks it (ErrLocked), and loads what a former daemon of this boot
// left. A snapshot that cannot be trusted is set aside with a warning. The caller
// closes the registry.
func Open(dir, runID string, log *slog.Logger) (*Registry, error) {
	bootID, err := os.ReadFile(bootIDPath)
	if err != nil {
		return nil, fmt.Errorf("cannot tell this boot from others: %w", err)
	}
	return open(dir, runID, strings.TrimSpace(string(bootID)), time.Now(), log)
}

func open(dir, runID, bootID string, now time.Time, log *slog.Logger) (*Registry, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot find the run directory: %w", err)
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("cannot use the run directory %s: %w", dir, err)
	}
	lock, used, err := takeLock(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot take the run directory: %w", err)
	}
	r := &Registry{
		dir: dir, runID: runID, bootID: bootID, log: log, lock: lock,
		records: make(map[WorkerID]Record), leftovers: make(map[WorkerID]bool), generations: make(map[string]int),
	}
	r.load(used, now)
	// From here on the directory has a snapshot with our floor. A full disk is no
	// reason to stay down: workers that run can be released, Put says no to others.
	err = errors.Join(writePID(lock), removeIfThere(filepath.Join(dir, tempName)), r.save(nil))
	if err != nil {
		log.Warn("cannot write to the run directory", "directory", dir, "error", err)
	}
	return r, nil
}

// load takes over the snapshot, or sets it aside.
func (r *Registry) load(used bool, now time.Time) {
	s, err := readSnapshot(r.dir, r.bootID)
	var bad distrust
	switch {
	case err == nil:
		r.floor = s.Floor
		maps.Copy(r.generations, s.Generations)
		for _, rec := range s.Records {
			r.records[rec.Worker] = rec
			r.leftovers[rec.Worker] = true
		}
		return
	case errors.As(err, &bad):
		var asideErr error
		r.aside, asideErr = setAside(r.dir, bad.reason, now)
		r.log.Warn("the run state of a former daemon cannot be used and is set aside; its workers, if any, are not known",
			"file", filepath.Join(r.dir, snapshotName), "reason", bad.reason, "detail", bad.err, "aside", r.aside)
		if asideErr != nil {
			r.log.Warn("cannot set the run state aside, or forget older ones", "error", asideErr)
		}
	case !errors.Is(err, fs.ErrNotExist):
		r.log.Warn("cannot read the run state", "error", err)
	case !used:
		return // a new directory: generations start at 1
	}
	r.floor = lostFloor(now)
}

// lostFloor is where generations start when the snapshot that counted them is lost:
// the seconds since 2026. A slot has less than one generation a second in the long
// run (a worker that dies sooner is respawned with back-off, and a crash loop rests),
// so whatever was counted from 1 or from an earlier loss is below it, unless the clock
// was set back by more than the time since then. The number is long, but still only a
// number, and shows at sight that a snapshot was lost. It counts for the same boot
// only: with a tmpfs a reboot takes lock and snapshot, and with them all that had a
// name, and generations start at 1.
func lostFloor(now time.Time) int {
	since := now.Sub(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC))
	return max(0, min(int(since/time.Second), maxNumber/2))
}

// Leftovers returns the records that a former daemon of this boot left and that were
// neither removed nor put again since, sorted by worker.
func (r *Registry) Leftovers() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(sorted(r.records), func(rec Record) bool { return !r.leftovers[rec.Worker] })
}

// Records returns all records, leftovers too, sorted by worker.
func (r *Registry) Records() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return sorted(r.records)
}

func sorted(records map[WorkerID]Record) []Record {
	return slices.SortedFunc(maps.Values(records), func(a, b Record) int { return a.Worker.compare(b.Worker) })
}

// SetAside returns the path of the snapshot that Open set aside, "" if none.
func (r *Registry) SetAside() string { return r.aside }

// NextWorker names the next incarnation in a slot. A generation is used up when a
// record with it was put, or at Close; what was named only and never put had no
// process, and a daemon after a crash may name it again.
func (r *Registry) NextWorker(pool string, slot int) WorkerID {
	id := WorkerID{Pool: pool, Slot: slot}
	r.mu.Lock()
	defer r.mu.Unlock()
	id.Generation = max(r.floor, r.generations[id.SlotName()]) + 1
	if id.check() == nil { // else Put will say what is wrong
		r.generations[id.SlotName()] = id.Generation
		r.unsaved = true
	}
	return id
}

// Put writes a record, new or changed. When it returns nil the record outlives this
// process; on an error memory and disk are as they were.
func (r *Registry) Put(rec Record) error {
	if err := rec.check(); err != nil {
		return fmt.Errorf("cannot record a worker: %w", err)
	}
	rec.Created = rec.Created.Round(0) // the monotonic part would not survive
	r.writing.Lock()
	defer r.writing.Unlock()
	if r.closed {
		return fmt.Errorf("cannot record %s: %w", rec.Worker, ErrClosed)
	}
	if err := r.save(func(d *draft) { d.put(rec) }); err != nil {
		return fmt.Errorf("cannot record %s: %w", rec.Worker, err)
	}
	return nil
}

// Remove takes out the record of a released worker; one that is not there is removed
// already. On an error, such as a full disk, the record stays: the caller tries again.
func (r *Registry) Remove(id WorkerID) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	if r.closed {
		return fmt.Errorf("cannot remove the record of %s: %w", id, ErrClosed)
	}
	if !r.has(id) {
		return nil
	}
	if err := r.save(func(d *draft) { d.remove(id) }); err != nil {
		return fmt.Errorf("cannot remove the record of %s: %w", id, err)
	}
	return nil
}

// Close keeps the generations for the next daemon and gives the directory up. Records
// stay for it too: what still has a record was not released. An error tells that
// generations could not be kept; the lock is released all the same.
func (r *Registry) Close() error {
	r.writing.Lock()
	defer r.writing.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	var err error
	if r.isUnsaved() {
		err = r.save(nil)
	}
	err = errors.Join(err, removeIfThere(filepath.Join(r.dir, tempName)), r.lock.Truncate(0), r.lock.Close())
	if err != nil {
		return fmt.Errorf("cannot close the registry: %w", err)
	}
	return nil
}

// draft is what the next snapshot will hold.
type draft struct {
	records     map[WorkerID]Record
	leftovers   map[WorkerID]bool
	generations map[string]int
}

func (d *draft) put(rec Record) {
	slot := rec.Worker.SlotName()
	d.records[rec.Worker] = rec
	delete(d.leftovers, rec.Worker)
	d.generations[slot] = max(d.generations[slot], rec.Worker.Generation)
}

func (d *draft) remove(id WorkerID) {
	delete(d.records, id)
	delete(d.leftovers, id)
}

// save writes the snapshot with a change and then makes the change in memory, so that
// an error leaves both as they were. The caller holds writing (or is Open).
func (r *Registry) save(change func(*draft)) error {
	r.mu.Lock()
	d := draft{maps.Clone(r.records), maps.Clone(r.leftovers), maps.Clone(r.generations)}
	r.mu.Unlock()
	if change != nil {
		change(&d)
	}
	data, err := encode(state{
		RunID: r.runID, Floor: r.floor, Generations: d.generations,
		Records: sorted(d.records),
	}, r.bootID)
	if err != nil {
		return fmt.Errorf("cannot write the run state: %w", err)
	}
	if err := writeSnapshot(r.dir, data); err != nil {
		return fmt.Errorf("cannot write the run state: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for slot, generation := range d.generations {
		r.generations[slot] = max(r.generations[slot], generation)
	}
	r.unsaved = !maps.Equal(r.generations, d.generations)
	r.records, r.leftovers = d.records, d.leftovers
	return nil
}

func (r *Registry) has(id WorkerID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.records[id]
	return ok
}

func (r *Registry) isUnsaved() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unsaved
}

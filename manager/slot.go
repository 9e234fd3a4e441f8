package manager

import (
	"time"

	"github.com/snakepitd/snakepitd/registry"
	"github.com/snakepitd/snakepitd/units"
)

// slot is a stable numbered place in a pool: it keeps the port, the history and
// the goal, and supervises the worker in it (ADR-001). Its pool's loop owns every
// field.
type slot struct {
	number int
	state  State
	since  time.Time
	wanted bool
	worker *worker // the incarnation, from launch until it is released

	planned   bool   // the worker's end was asked for
	failures  int    // ends in a row before the worker proved itself
	deaths    uint64 // unplanned ends since the daemon started
	verdict   verdict
	delay     time.Duration // of the back-off that verdict asks for
	next      time.Time     // when back-off or cool-down ends
	reason    string        // what the state waits for, or why it is not ready
	stuck     bool          // release found something left: nobody should wait for this slot
	badStart  bool          // the last worker never became ready
	kills     int           // how often the worker in it was sent SIGKILL
	timer     *time.Timer
	timerSeq  uint64 // a deadline with another number is stale
	observers []chan restartResult
}

// name is `text-0`: the owner of the port.
func (s *slot) name(pool string) string {
	return registry.WorkerID{Pool: pool, Slot: s.number}.SlotName()
}

func (s *slot) view() view {
	return view{
		state: s.state, wanted: s.wanted, planned: s.planned,
		hasProcess: s.worker != nil && s.worker.process != nil && !s.worker.ended, verdict: s.verdict,
	}
}

// coming says whether a caller who waits at most so long may expect a worker from
// this slot: one is being started, or replaced. After a failed start back-off counts
// as none coming, so that callers learn the cause at once; after the death of a ready
// worker only one that is longer than they wait.
func (s *slot) coming(patience time.Duration) bool {
	if !s.wanted || s.stuck {
		return false
	}
	switch s.state {
	case Starting, Draining, Stopping, Killing, Releasing:
		return true
	case Backoff:
		return !s.badStart && time.Until(s.next) <= patience
	case Ready, Down, Failed:
		return false
	}
	return false
}

// worker is one incarnation. launch fills it before the loop sees it; afterwards
// the loop owns it, except for what the comments give to others.
type worker struct {
	id       registry.WorkerID
	port     int    // 0: a Unix socket
	socket   string // its path
	address  string // SNAKEPIT_ADDRESS
	process  Process
	tail     *units.Tail   // the last 8 KiB of its output; has its own lock
	output   Flusher       // where its output goes besides
	notices  *notices      // what it told by notify; has its own lock
	booted   chan struct{} // closed when boot has answered; nil when it was never begun
	aborted  chan struct{} // closed by the loop: launch and boot answer soon
	leftover units.Identity
	adopted  bool // of a former daemon: only to be released
	portDone bool // the port was seen free, or went to quarantine; release's own
	moved    int  // the port that went to quarantine; release's own

	member   *member // from ready on
	ready    time.Time
	started  time.Time
	ended    bool   // exited was seen
	boots    func() // leaves its place among the starting workers
	bootNote string // why it cannot become ready
	stopNote string // why we ended it
}

// abort tells the effects under way for this worker to answer soon. Loop only.
func (w *worker) abort() {
	select {
	case <-w.aborted:
	default:
		close(w.aborted)
	}
}

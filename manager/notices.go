package manager

import (
	"log/slog"
	"sync"
	"time"

	"github.com/snakepitd/snakepitd/units"
)

// notices is what a worker told the daemon by the sd_notify protocol.
type notices struct {
	ready chan struct{} // closed at the first READY=1

	mu      sync.Mutex
	isReady bool   // guarded by mu, as all below
	status  string // the last STATUS=
	reports bool   // it tells when an abandoned call is over
}

func newNotices() *notices { return &notices{ready: make(chan struct{})} }

// heard takes one datagram in and returns the id of a call that is over, or "".
func (n *notices) heard(m units.Message) (over string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s, ok := m.Fields["STATUS"]; ok {
		n.status = s
	}
	if m.Fields["X_SNAKEPIT_SDK"] == "1" {
		n.reports = true
	}
	if m.Fields["READY"] == "1" && !n.isReady {
		n.isReady = true
		close(n.ready)
	}
	return m.Fields["X_SNAKEPIT_CALL_OVER"]
}

// said is the last STATUS=.
func (n *notices) said() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

// reportsCalls says whether the worker tells when an abandoned call is over.
func (n *notices) reportsCalls() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reports
}

// strangers says that datagrams of processes which belong to no worker were dropped:
// not for each of them, because any local user can send them.
type strangers struct {
	mu      sync.Mutex
	told    time.Time // guarded by mu
	dropped int       // guarded by mu, since told
}

// strangersEvery is the shortest time between two such warnings.
const strangersEvery = 10 * time.Second

func (s *strangers) warn(log *slog.Logger, m units.Message) {
	s.mu.Lock()
	s.dropped++
	dropped, tell := s.dropped, time.Since(s.told) >= strangersEvery
	if tell {
		s.told, s.dropped = time.Now(), 0
	}
	s.mu.Unlock()
	if tell {
		log.Warn("dropped notifications of processes that belong to no worker", "dropped", dropped, "last_pid", m.PID, "last_uid", m.UID)
	}
}

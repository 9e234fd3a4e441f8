package registry

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Ports leases the ports of a range to slots. A port has at most one slot, a slot at
// most one port. It is safe for concurrent use.
type Ports struct {
	first, last int
	probe       func(port int) error

	// mu is a leaf and never held across a probe: what is being probed is marked.
	mu         sync.Mutex
	leases     map[string]int // by slot
	taken      map[int]bool   // leased, or being probed for a lease
	quarantine map[int]Quarantined
}

// Quarantined is a port that stayed busy after its worker was gone.
type Quarantined struct {
	Port  int
	Slot  string // that it was taken from
	Since time.Time
}

// NewPorts leases from first to last, both included.
func NewPorts(first, last int) *Ports {
	return &Ports{
		first: first, last: last, probe: Probe,
		leases: make(map[string]int), taken: make(map[int]bool), quarantine: make(map[int]Quarantined),
	}
}

// Lease returns the slot's port. A slot keeps its port until Quarantine or Free, and
// it is not probed again: the release of the former worker has done that. A slot
// without one gets the lowest port that nobody holds; only when there is none, one
// whose quarantine was for nothing, the oldest first.
func (p *Ports) Lease(slot string) (int, error) {
	if port, ok := p.leased(slot); ok {
		return port, nil
	}
	busy := 0
	for port := p.first; port <= p.last; port++ {
		if !p.take(port) {
			continue
		}
		if p.probe(port) == nil {
			return p.grant(slot, port), nil
		}
		p.untake(port)
		busy++
	}
	for _, q := range p.Quarantined() {
		if p.takeQuarantined(q.Port) {
			if p.probe(q.Port) == nil {
				return p.grant(slot, q.Port), nil
			}
			p.untake(q.Port)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return 0, fmt.Errorf("cannot lease a port for %s: the range %d-%d is used up: %d leased, %d quarantined, %d held by other programs",
		slot, p.first, p.last, len(p.leases), len(p.quarantine), busy)
}

// Reserve gives a slot the port that it had in a former daemon's time, without a
// probe: its former worker, which is still to be released, may hold it. A port
// outside the range, or one that somebody has, is not given.
func (p *Ports) Reserve(slot string, port int) bool {
	if port < p.first || port > p.last {
		return false
	}
	if _, ok := p.leased(slot); ok || !p.take(port) {
		return false
	}
	p.grant(slot, port)
	return true
}

// Quarantine takes the slot's port from it and keeps it from everybody, because it is
// still busy though its worker is gone. It returns the port, 0 if the slot had none.
func (p *Ports) Quarantine(slot string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	port, ok := p.leases[slot]
	if !ok {
		return 0
	}
	p.drop(slot)
	p.quarantine[port] = Quarantined{Port: port, Slot: slot, Since: time.Now()}
	return port
}

// Free ends the slot's lease.
func (p *Ports) Free(slot string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(slot)
}

// Quarantined returns the ports in quarantine, the oldest first.
func (p *Ports) Quarantined() []Quarantined {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.quarantine), func(a, b Quarantined) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Port, b.Port))
	})
}

func (p *Ports) leased(slot string) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	port, ok := p.leases[slot]
	return port, ok
}

// take marks a port that is neither held nor in quarantine, so that it can be probed
// without the lock: a second Lease meanwhile would find the probe itself in its way.
func (p *Ports) take(port int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, bad := p.quarantine[port]; bad || p.taken[port] {
		return false
	}
	p.taken[port] = true
	return true
}

func (p *Ports) takeQuarantined(port int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, bad := p.quarantine[port]; !bad || p.taken[port] {
		return false
	}
	p.taken[port] = true
	return true
}

func (p *Ports) untake(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, port)
}

// grant leases a port that was taken and found free. Had the slot asked twice at the
// same time, the first answer holds.
func (p *Ports) grant(slot string, port int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if has, ok := p.leases[slot]; ok {
		delete(p.taken, port)
		return has
	}
	delete(p.quarantine, port)
	p.leases[slot] = port
	return port
}

func (p *Ports) drop(slot string) {
	if port, ok := p.leases[slot]; ok {
		delete(p.leases, slot)
		delete(p.taken, port)
	}
}

package registry

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

var errBusy = errors.New("busy")

// fakePorts are Ports whose probe finds only these ports busy.
func fakePorts(first, last int, busy map[int]bool) *Ports {
	p := NewPorts(first, last)
	p.probe = func(port int) error {
		if busy[port] {
			return errBusy
		}
		return nil
	}
	return p
}

func TestPorts(t *testing.T) {
	busy := map[int]bool{21001: true}
	p := fakePorts(21000, 21002, busy)
	lease := func(slot string, want int) {
		t.Helper()
		if got, err := p.Lease(slot); err != nil || got != want {
			t.Fatalf("Lease(%s) = %d, %v; want %d", slot, got, err, want)
		}
	}
	lease("text-0", 21000)
	lease("text-1", 21002) // 21001 is somebody's
	busy[21000] = true     // our own worker listens
	lease("text-0", 21000)

	if got := p.Quarantine("text-0"); got != 21000 {
		t.Fatalf("Quarantine = %d", got)
	}
	if got := p.Quarantine("text-0"); got != 0 {
		t.Fatalf("a second Quarantine = %d; want 0", got)
	}
	_, err := p.Lease("text-0")
	want := "cannot lease a port for text-0: the range 21000-21002 is used up: 1 leased, 1 quarantined, 1 held by other programs"
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %v", err, want)
	}
	if q := p.Quarantined(); len(q) != 1 || q[0].Port != 21000 || q[0].Slot != "text-0" || q[0].Since.IsZero() {
		t.Fatalf("Quarantined = %v", q)
	}
	busy[21000] = false
	lease("text-2", 21000) // the quarantine was for nothing, and there is no other
	if q := p.Quarantined(); len(q) != 0 {
		t.Fatalf("Quarantined = %v; want none", q)
	}
	p.Free("text-2")
	lease("text-3", 21000)
}

func TestLeaseSkipsRealListener(t *testing.T) {
	_, port := listen(t, "tcp4", "127.0.0.1:0")
	_, err := NewPorts(port, port).Lease("text-0")
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("range %d-%d is used up: 0 leased, 0 quarantined, 1 held", port, port)) {
		t.Errorf("Lease = %v", err)
	}
}

func TestLeaseByManyAtOnce(t *testing.T) {
	const n = 50
	p := fakePorts(1000, 1000+n-1, nil)
	var wg sync.WaitGroup
	got := make([]int, n)
	for i := range n {
		for range 2 { // each slot asks twice at the same time
			wg.Go(func() {
				port, err := p.Lease(fmt.Sprintf("text-%d", i))
				// The other half of a pair may hold the last port for a moment.
				if err == nil && port != 0 {
					p.mu.Lock()
					got[i] = port
					p.mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	slot := make(map[int]int)
	for i, port := range got {
		if port == 0 {
			continue
		}
		if other, twice := slot[port]; twice {
			t.Errorf("slots %d and %d both have port %d", i, other, port)
		}
		slot[port] = i
	}
	if len(p.leases) != len(p.taken) {
		t.Errorf("%d leases, but %d ports taken", len(p.leases), len(p.taken))
	}
}

func TestPortsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const first = 1000
		last := first + rapid.IntRange(0, 5).Draw(t, "size")
		busy := make(map[int]bool)
		p := fakePorts(first, last, busy)
		leases := make(map[string]int) // the model
		slot := rapid.SampledFrom([]string{"a-0", "a-1", "a-2", "b-0", "b-1"})
		port := rapid.IntRange(first, last)
		t.Repeat(map[string]func(*rapid.T){
			"lease": func(t *rapid.T) {
				s := slot.Draw(t, "slot")
				got, err := p.Lease(s)
				had, sticky := leases[s]
				switch {
				case sticky && (err != nil || got != had):
					t.Fatalf("%s had %d and got %d, %v", s, had, got, err)
				case sticky:
				case err == nil && (busy[got] || got < first || got > last):
					t.Fatalf("%s got %d, which is busy or out of range", s, got)
				case err == nil:
					leases[s] = got
				default:
					for n := first; n <= last; n++ {
						if !busy[n] && !held(leases, n) {
							t.Fatalf("%v, but %d is free", err, n)
						}
					}
				}
			},
			"quarantine": func(t *rapid.T) {
				s := slot.Draw(t, "slot")
				if got := p.Quarantine(s); got != leases[s] {
					t.Fatalf("Quarantine(%s) = %d; want %d", s, got, leases[s])
				}
				delete(leases, s)
			},
			"free": func(t *rapid.T) { s := slot.Draw(t, "slot"); p.Free(s); delete(leases, s) },
			"busy": func(t *rapid.T) { n := port.Draw(t, "port"); busy[n] = !busy[n] },
			"": func(t *rapid.T) {
				seen := make(map[int]string)
				for s, n := range leases {
					if other, twice := seen[n]; twice {
						t.Fatalf("%s and %s both have %d", s, other, n)
					}
					seen[n] = s
				}
				for _, q := range p.Quarantined() {
					if s, twice := seen[q.Port]; twice {
						t.Fatalf("%d is quarantined and leased to %s", q.Port, s)
					}
				}
			},
		})
	})
}

func held(leases map[string]int, port int) bool {
	for _, n := range leases {
		if n == port {
			return true
		}
	}
	return false
}

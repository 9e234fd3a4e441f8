package manager

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write docs/states.md")

func TestDiagram(t *testing.T) {
	page := filepath.Join("..", "docs", "states.md")
	if *update {
		if err := os.WriteFile(page, []byte(Diagram()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Diagram(), string(have)); diff != "" {
		t.Errorf("docs/states.md is stale: go test ./manager -run TestDiagram -update\n%s", diff)
	}
}

// TestTableIsWhole holds the table to itself: no rule is shadowed by an earlier one
// without a guard, every state can be left and reached.
func TestTableIsWhole(t *testing.T) {
	type key struct {
		s  State
		on eventKind
	}
	closed := map[key]bool{}
	left, reached := map[State]bool{}, map[State]bool{Down: true}
	for _, r := range table() {
		k := key{r.from, r.on}
		if closed[k] {
			t.Errorf("a rule for %s on %s can never fire", r.from, r.on)
		}
		closed[k] = r.when == nil
		left[r.from] = left[r.from] || r.to != r.from
		reached[r.to] = true
		if ruled(r.from, r.on) && tolerated(r.from, r.on) && r.when == nil && r.on != evWantUp && r.on != evWantDown && r.on != evUnhealthy && r.on != evDrained && r.on != evRestartNow {
			t.Errorf("%s on %s is both ruled and tolerated", r.from, r.on)
		}
	}
	for _, s := range states() {
		if !left[s] || !reached[s] {
			t.Errorf("state %s: left %v, reached %v", s, left[s], reached[s])
		}
	}
}

// model is a slot with its effects as they may really answer: late, in any order,
// but each exactly once.
type model struct {
	v         view
	pending   []eventKind // answers that effects under way still owe
	process   bool        // a process exists in the world
	watched   bool
	released  bool // nothing of the former worker is left
	inTable   bool // the lease table holds the worker
	timerOn   bool
	launching bool
}

func (m *model) apply(t *rapid.T, on eventKind) {
	before := m.v.state
	switch on {
	case evWantUp:
		m.v.wanted = true
	case evWantDown:
		m.v.wanted = false
	case evRestart, evRestartNow:
		if before == Releasing || (m.v.hasProcess && before != Killing) {
			m.v.planned = true
		}
	case evSpawned, evWithheld:
		m.process, m.v.hasProcess, m.launching = true, true, false
	case evNoProcess:
		m.launching = false
	case evExited:
		m.process, m.v.hasProcess, m.watched = false, false, false
	case evReleased:
		m.released = true
	default: // the others only reach next
	}
	out, known := next(m.v, on)
	if !known {
		t.Fatalf("%s in state %s is unexpected", on, before)
	}
	m.v.state = out.to
	if out.to != before || out.timer != noTimer {
		m.timerOn = out.timer != noTimer
	}
	for _, e := range out.do {
		m.do(t, e)
	}
	m.check(t, before, on)
}

func (m *model) do(t *rapid.T, e effect) {
	switch e {
	case doLaunch:
		if !m.released {
			t.Fatalf("launch before the former worker is released")
		}
		m.released, m.launching, m.v.planned = false, true, false
		m.pending = append(m.pending, rapid.SampledFrom([]eventKind{evSpawned, evSpawned, evWithheld, evNoProcess}).Draw(t, "launch"))
	case doWatch:
		m.watched = true
		m.pending = append(m.pending, evExited)
	case doBoot:
		m.pending = append(m.pending, rapid.SampledFrom([]eventKind{evReady, evNotReady, evBootEnded}).Draw(t, "boot"))
	case doPublish:
		m.inTable = true
		if rapid.Bool().Draw(t, "falls ill") {
			m.pending = append(m.pending, evUnhealthy)
		}
	case doWithdraw:
		m.inTable = false
		m.pending = append(m.pending, evDrained)
	case doRelease:
		if m.process {
			t.Fatalf("release while the process lives")
		}
		m.pending = append(m.pending, rapid.SampledFrom([]eventKind{evReleased, evReleased, evNotRelease}).Draw(t, "release"))
	case doTerminate, doKill:
		if !m.process {
			t.Fatalf("%s without a process", e)
		}
	case doAbort, doSteady:
	}
}

func (m *model) check(t *rapid.T, before State, on eventKind) {
	v := m.v
	if m.inTable && v.state != Ready {
		t.Fatalf("%s --%s--> %s leaves the worker in the lease table", before, on, v.state)
	}
	if v.state == Ready && !v.wanted {
		t.Fatalf("ready while unwanted after %s", on)
	}
	if m.process && !m.watched {
		t.Fatalf("a process nobody watches after %s in %s", on, before)
	}
	if m.process && (v.state == Down || v.state == Backoff || v.state == Failed || v.state == Releasing) {
		t.Fatalf("%s with a process", v.state)
	}
	if before == Releasing && v.state != Releasing && on != evReleased {
		t.Fatalf("%s leads out of releasing", on)
	}
	waits := len(m.pending) > 0 || m.timerOn || v.state == Down || v.state == Ready
	if !waits {
		t.Fatalf("%s after %s waits for nothing", v.state, on)
	}
}

// TestNextUnderRandomEvents drives the machine with answers in random order, wishes
// and deadlines at any moment, and then wants it down: it must get there.
func TestNextUnderRandomEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{v: view{state: Down}, released: true}
		step := func(wishes bool) bool {
			choices := slices.Clone(m.pending)
			if m.timerOn {
				choices = append(choices, evDeadline)
			}
			if wishes {
				choices = append(choices, evWantUp, evWantDown, evRestart, evRestartNow)
			}
			if len(choices) == 0 {
				return false
			}
			on := rapid.SampledFrom(choices).Draw(t, "event")
			if i := slices.Index(m.pending, on); i >= 0 {
				m.pending = slices.Delete(m.pending, i, i+1)
			}
			if on == evDeadline {
				m.timerOn = false
			}
			if on == evReleased {
				m.pending = nil // the loop drops what an earlier incarnation still answers
				m.v.verdict = rapid.SampledFrom([]verdict{respawnNow, respawnLater, giveUp}).Draw(t, "verdict")
			}
			m.apply(t, on)
			return true
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			step(true)
		}
		m.apply(t, evWantDown)
		for range 10_000 {
			if m.v.state == Down {
				return
			}
			if !step(false) {
				t.Fatalf("stuck in %s", m.v.state)
			}
		}
		t.Fatalf("not down: %s", m.v.state)
	})
}

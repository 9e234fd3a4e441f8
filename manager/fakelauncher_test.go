package manager

import (
	"context"
	"strings"
	"sync"

	"github.com/snakepitd/snakepitd/registry"
	"github.com/snakepitd/snakepitd/units"
)

// fakeLauncher is a launcher in memory: what its processes do is written in
// scripts. Their addresses are real, and a real gRPC server listens there.
type fakeLauncher struct {
	entered chan string   // the names that Start was called with
	obeyed  chan struct{} // closed when scripts count no more

	mu        sync.Mutex
	scripts   map[string]script // guarded by mu, as all below; by worker, slot or pool
	processes []*fakeProcess    // in the order of their start
	reaped    []units.Identity
	reap      func(units.Identity) error
	strays    []units.Orphan // what Orphans finds besides
}

// script is what a process does. The zero script starts, listens, obeys SIGTERM
// and leaves nothing.
type script struct {
	startError error         // Start fails
	slow       chan struct{} // Start waits until it is closed, or its ctx ends
	spawn      func()        // is run in Start, before the process exists
	openError  error         // Open fails and the process ends
	silent     bool          // never listens
	stranger   error         // what OwnsConn says
	ends       *units.Exit   // it ends by itself once the gate is open
	output     string        // what it writes then
	deaf       bool          // ignores SIGTERM
	immune     int           // so many SIGKILLs do not help
	stuck      int           // so many Releases end with a process left
	held       chan struct{} // Release waits until it is closed, or its ctx ends
	left       int           // what the main process left behind
	forked     int           // pid of a child
	reports    bool          // tells about its calls when asked
}

func newFakeLauncher() *fakeLauncher {
	return &fakeLauncher{
		entered: make(chan string, 10000), obeyed: make(chan struct{}), scripts: map[string]script{},
		reap: func(units.Identity) error { return nil },
	}
}

// play sets the script of a worker (text-0-7), a slot (text-0) or a pool (text).
// The narrowest one counts.
func (l *fakeLauncher) play(target string, s script) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.scripts[target] = s
}

func (l *fakeLauncher) scriptOf(name string) script {
	id, err := registry.ParseWorkerID(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.scripts[name]; ok || err != nil {
		return s
	}
	if s, ok := l.scripts[id.SlotName()]; ok {
		return s
	}
	return l.scripts[id.Pool]
}

// obey ends all disobedience, so that a test can end.
func (l *fakeLauncher) obey() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.scripts = map[string]script{}
	l.reap = func(units.Identity) error { return nil }
	close(l.obeyed)
	for _, p := range l.processes {
		p.obey()
	}
}

// Start implements Launcher.
func (l *fakeLauncher) Start(ctx context.Context, spec units.Spec) (Process, error) {
	s := l.scriptOf(spec.Name)
	l.entered <- spec.Name
	if s.slow != nil {
		select {
		case <-s.slow:
		case <-l.obeyed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s.spawn != nil {
		s.spawn()
	}
	if s.startError != nil {
		return nil, s.startError
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	number := len(l.processes) + 1
	p := &fakeProcess{
		script: s, spec: spec, obeyed: l.obeyed, exited: make(chan struct{}),
		id: units.Identity{PID: 1_000_000 + number, StartTime: uint64(number), Worker: spec.Name},
	}
	l.processes = append(l.processes, p)
	return p, nil
}

// Reap implements Launcher.
func (l *fakeLauncher) Reap(_ context.Context, id units.Identity) error {
	l.mu.Lock()
	reap := l.reap
	l.mu.Unlock()
	if err := reap(id); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reaped = append(l.reaped, id)
	return nil
}

// Orphans implements Launcher: every process that was not released is one.
func (l *fakeLauncher) Orphans(context.Context) ([]units.Orphan, error) {
	found := l.living()
	l.mu.Lock()
	defer l.mu.Unlock()
	out := append([]units.Orphan(nil), l.strays...)
	for _, p := range found {
		out = append(out, units.Orphan{PID: p.id.PID, Command: "fake", Worker: p.spec.Name})
	}
	return out, nil
}

// NotGuaranteed implements Launcher.
func (l *fakeLauncher) NotGuaranteed() []string { return []string{"anything: this is a fake"} }

// living returns the processes that were not released yet.
func (l *fakeLauncher) living() (out []*fakeProcess) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		if !p.gone() {
			out = append(out, p)
		}
	}
	return out
}

// process returns the process of a worker, nil if there was none.
func (l *fakeLauncher) process(worker string) *fakeProcess {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		if p.spec.Name == worker {
			return p
		}
	}
	return nil
}

// names returns the workers that were started, in order.
func (l *fakeLauncher) names() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		out = append(out, p.spec.Name)
	}
	return out
}

func (l *fakeLauncher) reapedPIDs() (out []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.reaped {
		out = append(out, id.PID)
	}
	return out
}

// variable is one variable of a spec's environment.
func variable(spec units.Spec, name string) string {
	for _, e := range spec.Env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

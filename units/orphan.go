package units

import (
	"context"
	"fmt"
	"path/filepath"
)

// Orphan is a process of ours that no worker owned any more.
type Orphan struct {
	PID     int
	Command string // the kernel's short name of it
	Worker  string // "" = not known
}

// Orphans is the emergency clean-up: every process of ours that no living
// Process owns is killed, waited for and returned. Normally there is none. A
// Process owns what is its until it is released, or until a Release failed.
//
// Besides what carries a mark it takes children that came to this process
// without one and sit in a session of their own: a descendant that wiped its
// tracks looks like that.
func (d *Direct) Orphans(ctx context.Context) ([]Orphan, error) {
	var all []Orphan
	var groups []*cgroup
	for _, g := range d.groupDirs() {
		if !d.owned(filepath.Base(g.dir)) {
			groups = append(groups, &g)
		}
	}
	defer d.prune()
	err := d.sweep(ctx, func(o owner) bool { return o.suspect || !d.owned(o.worker) }, func(s procStat, o owner) {
		all = append(all, Orphan{PID: s.pid, Command: s.comm, Worker: o.worker})
		d.mu.Lock()
		d.adopted[s.ident()] = o.worker // until prune
		d.mu.Unlock()
	}, groups...)
	if err != nil {
		return all, fmt.Errorf("cannot clean up orphans: %w", err)
	}
	for _, g := range groups {
		if err := g.remove(ctx); err != nil {
			return all, fmt.Errorf("cannot clean up orphans: %w", err)
		}
	}
	return all, nil
}

// owned tells whether somebody will still call Release for the worker.
func (d *Direct) owned(name string) bool {
	d.mu.Lock()
	p := d.procs[name]
	d.mu.Unlock()
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.failed
}

// prune forgets children that no worker will ask for any more.
func (d *Direct) prune() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, name := range d.adopted {
		if d.procs[name] == nil {
			delete(d.adopted, id)
		}
	}
}

package units

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// owner says to which worker a process belongs.
type owner struct {
	worker string // "" = in our base group or suspect, worker not known
	// suspect: a child of ours that we did not start, in a session that is not
	// ours, and without any mark. Only Orphans acts on that.
	suspect bool
}

// mainRef is what attribution needs to know of a Process.
type mainRef struct {
	p      *Process
	id     ident
	reaped bool
	gone   bool
}

func (d *Direct) refs() map[string]mainRef {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := make(map[string]mainRef, len(d.procs))
	for name, p := range d.procs {
		if p.id.pid == 0 {
			continue // not forked yet
		}
		p.mu.Lock()
		m[name] = mainRef{p: p, id: p.id, reaped: p.reaped, gone: p.groupGone}
		p.mu.Unlock()
	}
	return m
}

// look reads the process table and attributes processes to workers. Being a
// subreaper, this process has all of them below itself; a member of a worker's
// cgroup is found wherever it is.
func (d *Direct) look() (table, map[int]owner, error) {
	before := d.refs()
	t, err := readTable()
	if err != nil {
		return nil, nil, err
	}
	a := d.attribution()
	owners := make(map[int]owner)
	kids := t.children()
	var spread func(s procStat, o owner)
	spread = func(s procStat, o owner) {
		owners[s.pid] = o
		for _, k := range kids[s.pid] {
			spread(k, o)
		}
	}
	for _, s := range kids[d.self.pid] {
		if o, ok := a.child(s); ok {
			spread(s, o)
		}
	}
	if d.grouped {
		for _, pid := range d.base.pids() {
			if _, known := t[pid]; !known {
				s, err := readStat(pid)
				if err != nil {
					continue
				}
				t[pid] = s
			}
			if name, ok := a.byGroup(pid); ok {
				owners[pid] = owner{worker: name}
			}
		}
	}
	d.markGone(before, t)
	return t, owners, nil
}

// markGone ends the trust in a session's number once its leader is reaped and
// it was seen empty: from then on the number may be a stranger's. Refs from
// before the table, for a session that began after it is not empty.
func (d *Direct) markGone(before map[string]mainRef, t table) {
	inUse := make(map[int]bool)
	for _, s := range t {
		inUse[s.sid], inUse[s.pgrp] = true, true
	}
	for _, r := range before {
		if r.reaped && !inUse[r.id.pid] {
			r.p.mu.Lock()
			r.p.groupGone = true
			r.p.mu.Unlock()
		}
	}
}

// attribution is a fixed view by which children are judged.
type attribution struct {
	d       *Direct
	mains   map[ident]string
	session map[int]mainRef
	adopted map[ident]string
}

func (d *Direct) attribution() attribution {
	a := attribution{d: d, mains: make(map[ident]string), session: make(map[int]mainRef)}
	for name, r := range d.refs() {
		a.mains[r.id] = name
		if !r.gone {
			a.session[r.id.pid] = r
		}
	}
	d.mu.Lock()
	a.adopted = maps.Clone(d.adopted)
	d.mu.Unlock()
	return a
}

// child judges a direct child of this process and remembers what it finds, as
// a zombie has no environment left.
func (a attribution) child(s procStat) (owner, bool) {
	if name, ok := a.mains[s.ident()]; ok {
		return owner{worker: name}, true
	}
	if name, ok := a.adopted[s.ident()]; ok {
		return owner{worker: name}, true
	}
	name, ok := a.bySession(s)
	if !ok {
		name, ok = a.byGroup(s.pid)
	}
	foreign := false
	if !ok && !s.dead() {
		name, foreign, ok = a.byEnv(s.pid)
	}
	if ok {
		if !s.dead() {
			a.d.adopt(s.ident(), name)
		}
		return owner{worker: name}, true
	}
	if foreign || s.sid == a.d.self.sid || !a.d.stray(s) {
		return owner{}, false
	}
	return owner{suspect: true}, true
}

func (a attribution) bySession(s procStat) (string, bool) {
	for _, n := range []int{s.sid, s.pgrp} {
		if r, ok := a.session[n]; ok && s.start >= r.id.start && s.pid != r.id.pid {
			return r.p.name, true
		}
	}
	return "", false
}

func (a attribution) byGroup(pid int) (string, bool) {
	if !a.d.grouped {
		return "", false
	}
	path, err := cgroupOf(strconv.Itoa(pid))
	if err != nil || !a.d.base.holds(path) {
		return "", false
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, a.d.base.path), "/"), "/")
	return name, true
}

// byEnv: foreign says that it is marked as another launcher's.
func (a attribution) byEnv(pid int) (name string, foreign, ok bool) {
	worker, run, readable := readEnv(pid)
	if !readable || run == "" {
		return "", false, false
	}
	return worker, run != a.d.runID, run == a.d.runID
}

// stray excludes children between fork and exec, and held gates: those are
// somebody's start in progress.
func (d *Direct) stray(s procStat) bool {
	if s.dead() {
		return true
	}
	id, err := statFile("/proc/" + strconv.Itoa(s.pid) + "/exe")
	return err == nil && id != d.selfFile && id != d.gateFile || errors.Is(err, fs.ErrPermission)
}

// Owns tells whether a process belongs to this worker: by its cgroup, else by
// descent.
func (p *Process) Owns(pid int) bool {
	if pid <= 1 || pid == p.d.self.pid {
		return false
	}
	if p.group != nil {
		if path, err := cgroupOf(strconv.Itoa(pid)); err == nil && p.group.holds(path) {
			return true
		}
	}
	a := p.d.attribution()
	for hops := 0; pid > 1 && hops < 1000; hops++ {
		s, err := readStat(pid)
		if err != nil {
			return false
		}
		if s.ppid == p.d.self.pid {
			o, ok := a.child(s)
			return ok && !o.suspect && o.worker == p.name
		}
		pid = s.ppid
	}
	return false
}

// members lists the worker's processes, the main one included.
func (p *Process) members() ([]procStat, error) {
	t, owners, err := p.d.look()
	if err != nil {
		return nil, err
	}
	var all []procStat
	for pid, o := range owners {
		if o.worker == p.name && !o.suspect {
			all = append(all, t[pid])
		}
	}
	return all, nil
}

// groupDirs lists the workers' groups that exist.
func (d *Direct) groupDirs() []cgroup {
	if !d.grouped {
		return nil
	}
	entries, _ := os.ReadDir(d.base.dir)
	var all []cgroup
	for _, e := range entries {
		if e.IsDir() {
			all = append(all, d.base.child(filepath.Base(e.Name())))
		}
	}
	return all
}

// reapZombie waits for one child that is dead already, never for any other.
func reapZombie(pid int) bool {
	n, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return err == nil && n == pid
}

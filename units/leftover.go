package units

import (
	"context"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Reap ends what a former daemon left of one worker: its cgroup is emptied and
// removed; its main process is killed only if pid and start time agree, and
// with it what descends from it; so is whatever carries the worker's name and
// the former run id in its environment. Nothing found is success.
func (d *Direct) Reap(ctx context.Context, i Identity) error {
	if err := d.reapLeftover(ctx, i); err != nil {
		return fmt.Errorf("cannot reap what is left of worker %s (pid %d): %w", i.Worker, i.PID, err)
	}
	return nil
}

func (d *Direct) reapLeftover(ctx context.Context, i Identity) error {
	var g *cgroup
	if i.CGroup != "" {
		c, err := workerGroup(i.CGroup)
		if err != nil {
			return err
		}
		g = &c
	}
	for {
		if g != nil {
			g.kill()
		}
		t, err := readTable()
		if err != nil {
			return err
		}
		all := d.leftovers(t, i, g)
		if len(all) == 0 {
			break
		}
		if err := killAndWait(ctx, all); err != nil {
			return err
		}
		for _, s := range all {
			if s.ppid == d.self.pid { // in tests, or a leftover of this very process
				d.reapOne(s)
			}
		}
	}
	if g == nil {
		return nil
	}
	if err := g.waitEmpty(ctx); err != nil {
		return err
	}
	if err := g.remove(ctx); err != nil {
		return err
	}
	_ = unix.Rmdir(filepath.Dir(g.dir)) // the former base group, if this was the last in it
	return nil
}

// leftovers gives the living processes that belong to i.
func (d *Direct) leftovers(t table, i Identity, g *cgroup) []procStat {
	seeds := make(map[int]bool)
	main, ok := t[i.PID]
	alive := ok && i.PID > 1 && main.start == i.StartTime && main.pid != d.self.pid
	for pid, s := range t {
		switch {
		case pid == d.self.pid || pid <= 2 || s.ppid == 2: // 2 is the kernel's
		case alive && (pid == i.PID || s.sid == i.PID || s.pgrp == i.PID):
			seeds[pid] = true
		case i.Worker != "" && i.RunID != "" && !s.dead():
			if worker, run, ok := readEnv(pid); ok && worker == i.Worker && run == i.RunID {
				seeds[pid] = true
			}
		}
	}
	if g != nil {
		for _, pid := range g.pids() {
			if s, err := readStat(pid); err == nil {
				t[pid], seeds[pid] = s, true
			}
		}
	}
	kids := t.children()
	var all []procStat
	done := make(map[int]bool)
	var spread func(pid int)
	spread = func(pid int) {
		if done[pid] || pid == d.self.pid {
			return
		}
		done[pid] = true
		if s := t[pid]; !s.dead() {
			all = append(all, s)
		}
		for _, k := range kids[pid] {
			spread(k.pid)
		}
	}
	for pid := range seeds {
		spread(pid)
	}
	return all
}

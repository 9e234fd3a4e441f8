package units

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// killRounds bounds Kill against a worker that forks faster than we look;
// Release goes on until nothing is left.
const killRounds = 20

// Kill sends SIGKILL to everything of the worker that it can reach: its cgroup
// at once, then process by process its session, group, descendants and adopted
// orphans. It does not wait for their end.
func (p *Process) Kill() error {
	mine := func(o owner) bool { return o.worker == p.name && !o.suspect }
	for range killRounds {
		if p.group != nil {
			p.group.kill()
		}
		_ = p.killMain()
		t, owners, err := p.d.look()
		if err != nil {
			return fmt.Errorf("cannot kill all of %s: %w", p.name, err)
		}
		fresh := 0
		for _, s := range pick(t, owners, mine) {
			if s.ident() == p.id || p.seen(s.ident()) {
				continue
			}
			fresh++
			p.d.adopt(s.ident(), p.name)
			fd, err := openPidfd(s.pid, s.start)
			if err != nil {
				continue
			}
			_ = fd.signal(unix.SIGKILL)
			fd.close()
		}
		if fresh == 0 {
			return nil
		}
	}
	return nil
}

func (p *Process) killMain() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return nil
	}
	return unix.Kill(-p.id.pid, unix.SIGKILL)
}

// seen tells whether we signalled the process before, and notes it.
func (p *Process) seen(id ident) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.killed[id]
	p.killed[id] = true
	return was
}

// pick gives the living processes whose owner is wanted.
func pick(t table, owners map[int]owner, want func(owner) bool) []procStat {
	var all []procStat
	for pid, o := range owners {
		if s := t[pid]; want(o) && !s.dead() {
			all = append(all, s)
		}
	}
	return all
}

// Release makes sure that nothing of the worker is left: it kills and waits
// for every process, removes the cgroup, and closes the output pipe after the
// last of it was taken, even if a stranger holds the other end. It is meant
// for after Exited; called earlier it kills the worker first. left counts the
// processes that were still alive and had not been killed before. On an error
// processes are left; Release may be called again.
func (p *Process) Release(ctx context.Context) (left int, err error) {
	p.mu.Lock()
	done := p.released
	p.mu.Unlock()
	if done {
		return 0, nil
	}
	left, err = p.release(ctx)
	p.mu.Lock()
	p.released, p.failed = err == nil, err != nil
	p.mu.Unlock()
	if err != nil {
		return left, fmt.Errorf("cannot release %s: %w", p.name, err)
	}
	p.d.forget(p)
	return left, nil
}

func (p *Process) release(ctx context.Context) (int, error) {
	_ = p.sock.Close()
	select {
	case <-p.exited:
	default:
		if err := p.Kill(); err != nil {
			return 0, err
		}
		select {
		case <-p.exited:
		case <-ctx.Done():
			return 0, fmt.Errorf("its main process %d has not ended: %w", p.id.pid, ctx.Err())
		}
	}
	left := 0
	err := p.d.sweep(ctx, func(o owner) bool { return o.worker == p.name && !o.suspect }, func(s procStat, _ owner) {
		if !p.seen(s.ident()) {
			left++
		}
	}, p.group)
	if err == nil && p.group != nil {
		err = p.group.remove(ctx)
	}
	if err == nil && p.out != nil {
		err = p.out.close(ctx)
	}
	if err == nil {
		p.pidfd.close()
	}
	return left, err
}

// sweep kills and waits until a look finds no wanted process, and gives each
// to found once, in the table's state of its first sight.
func (d *Direct) sweep(ctx context.Context, want func(owner) bool, found func(procStat, owner), groups ...*cgroup) error {
	once := make(map[ident]bool)
	for {
		t, owners, err := d.look()
		if err != nil {
			return err
		}
		alive := pick(t, owners, want)
		for _, s := range alive {
			if !once[s.ident()] {
				once[s.ident()] = true
				found(s, owners[s.pid])
				d.adopt(s.ident(), owners[s.pid].worker)
			}
		}
		for _, g := range groups {
			if g != nil {
				g.kill()
			}
		}
		err = killAndWait(ctx, alive)
		d.reapDead(t, owners, want, once)
		if err != nil {
			return err
		}
		if len(alive) > 0 {
			continue
		}
		busy := false
		for _, g := range groups {
			if g == nil {
				continue
			}
			if some, _ := g.populated(); some {
				busy = true
				if err := g.waitEmpty(ctx); err != nil {
					return err
				}
			}
		}
		if !busy {
			return nil
		}
	}
}

// adopt notes whose a process is, for when it comes to us as a zombie. Only
// for a worker that is not released: nobody would forget the note.
func (d *Direct) adopt(id ident, worker string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.procs[worker] != nil {
		d.adopted[id] = worker
	}
}

// reapDead waits for wanted children of ours that have ended.
func (d *Direct) reapDead(t table, owners map[int]owner, want func(owner) bool, killed map[ident]bool) {
	for pid, o := range owners {
		s := t[pid]
		if s.ppid != d.self.pid || !want(o) || d.isMain(s.ident()) {
			continue
		}
		if killed[s.ident()] || s.dead() && !o.suspect {
			d.reapOne(s)
		}
	}
}

func (d *Direct) reapOne(s procStat) {
	if reapZombie(s.pid) {
		d.mu.Lock()
		delete(d.adopted, s.ident())
		d.mu.Unlock()
	}
}

func (d *Direct) isMain(id ident) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.procs {
		if p.id == id {
			return true
		}
	}
	return false
}

// killAndWait ends the given processes, each pinned first.
func killAndWait(ctx context.Context, all []procStat) error {
	fds := make(map[*pidfd]procStat, len(all))
	defer func() {
		for fd := range fds {
			fd.close()
		}
	}()
	for _, s := range all {
		fd, err := openPidfd(s.pid, s.start)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot pin process %s: %w", s, err)
		}
		fds[fd] = s
		if err := fd.signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot kill process %s: %w", s, err)
		}
	}
	var left []string
	for fd, s := range fds {
		if err := fd.wait(ctx); err != nil {
			left = append(left, s.String())
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%d processes have not ended (%s): %w", len(left), strings.Join(left, ", "), ctx.Err())
	}
	return nil
}

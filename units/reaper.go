package units

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// strayGrace is how long an unmarked zombie in a session of its own is left to
// whoever may have started it in this process.
const strayGrace = 10 * time.Second

// reaper waits for adopted children that end by themselves. SIGCHLD is only a
// hint to look; each wait is for one child that is a zombie and known to
// descend from a worker.
type reaper struct {
	d    *Direct
	sigs chan os.Signal
	quit chan struct{}
	done chan struct{}
}

func newReaper(d *Direct) *reaper {
	r := &reaper{d: d, sigs: make(chan os.Signal, 1), quit: make(chan struct{}), done: make(chan struct{})}
	signal.Notify(r.sigs, syscall.SIGCHLD)
	go r.run()
	return r
}

func (r *reaper) close() {
	signal.Stop(r.sigs)
	close(r.quit)
	<-r.done
}

func (r *reaper) run() {
	defer close(r.done)
	strays := make(map[ident]time.Time)
	timer := time.NewTimer(strayGrace)
	defer timer.Stop()
	for {
		select {
		case <-r.sigs:
		case <-timer.C:
		case <-r.quit:
			return
		}
		strays = r.look(strays, time.Now())
		if len(strays) > 0 {
			timer.Reset(strayGrace)
		} else {
			timer.Stop()
		}
	}
}

// look reaps what is ours and returns the zombies that may be somebody
// else's, with when they were first seen.
func (r *reaper) look(strays map[ident]time.Time, now time.Time) map[ident]time.Time {
	a := r.d.attribution()
	still := make(map[ident]time.Time)
	for _, pid := range r.d.children() {
		s, err := readStat(pid)
		if err != nil || s.ppid != r.d.self.pid {
			continue
		}
		if r.d.isMain(s.ident()) {
			continue
		}
		o, ours := a.child(s) // notes the living ones, for when they are zombies
		if !s.dead() || !ours {
			continue
		}
		if !o.suspect {
			r.d.reapOne(s)
			continue
		}
		first, known := strays[s.ident()]
		if !known {
			first = now
		}
		if now.Sub(first) >= strayGrace {
			r.d.reapOne(s)
			continue
		}
		still[s.ident()] = first
	}
	return still
}

// children lists this process's children, by thread where the kernel tells.
func (d *Direct) children() []int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil
	}
	var all []int
	for _, t := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		if errors.Is(err, fs.ErrNotExist) {
			if _, serr := os.Stat("/proc/self/task/" + t.Name() + "/stat"); serr == nil {
				return d.childrenByTable() // a kernel without CONFIG_PROC_CHILDREN
			}
			continue // the thread has ended
		}
		if err != nil {
			continue
		}
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				all = append(all, pid)
			}
		}
	}
	return all
}

func (d *Direct) childrenByTable() []int {
	t, err := readTable()
	if err != nil {
		return nil
	}
	var all []int
	for pid, s := range t {
		if s.ppid == d.self.pid {
			all = append(all, pid)
		}
	}
	return all
}

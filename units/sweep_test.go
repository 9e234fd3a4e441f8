package units

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func plant(t *testing.T, d *Direct, n int, how string) (*Process, []int) {
	t.Helper()
	p, l := opened(t, d, spec("text-0-1", d.runID, python, "-c", plantScript, strconv.Itoa(n), how))
	var pids []int
	for range n {
		pids = append(pids, l.pid(t))
	}
	if got := l.next(t); got != "ready" {
		t.Fatal(got)
	}
	return p, pids
}

func TestReleaseKillsDetachedDescendants(t *testing.T) {
	inModes(t, func(t *testing.T, d *Direct) {
		p, pids := plant(t, d, 3, "marked")
		for _, pid := range pids {
			if !p.Owns(pid) {
				t.Errorf("process %d is not owned", pid)
			}
		}
		if o, err := d.Orphans(within(t)); len(o) != 0 || err != nil {
			t.Errorf("orphans of a living worker: %v, %v", o, err)
		}
		if err := unix.Kill(p.id.pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, p)
		left, err := p.Release(within(t))
		if left != 3 || err != nil {
			t.Errorf("Release: %d, %v", left, err)
		}
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("process %d lives", pid)
			}
		}
		if left, err := p.Release(within(t)); left != 0 || err != nil {
			t.Errorf("second Release: %d, %v", left, err)
		}
		if o, err := d.Orphans(within(t)); len(o) != 0 || err != nil {
			t.Errorf("orphans after Release: %v, %v", o, err)
		}
	})
}

func TestKillReachesAll(t *testing.T) {
	inModes(t, func(t *testing.T, d *Direct) {
		p, pids := plant(t, d, 2, "marked")
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if e := await(t, p); e.Signal != syscall.SIGKILL {
			t.Errorf("exit is %s", e)
		}
		for _, pid := range pids {
			awaitTrue(t, "killed", func() bool { return !alive(pid) })
		}
		if left, err := p.Release(within(t)); left != 0 || err != nil {
			t.Errorf("Release after Kill: %d, %v", left, err)
		}
	})
}

// A descendant that wiped its tracks: with a cgroup Release finds it, without
// one the check for orphans.
func TestOrphansAreCounted(t *testing.T) {
	inModes(t, func(t *testing.T, d *Direct) {
		p, pids := plant(t, d, 3, "bare")
		if err := unix.Kill(p.id.pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, p)
		left, err := p.Release(within(t))
		if err != nil {
			t.Fatal(err)
		}
		orphans, err := d.Orphans(within(t))
		if err != nil {
			t.Fatal(err)
		}
		// Without a cgroup one may have been seen before it wiped its tracks.
		if d.grouped && left != 3 || left+len(orphans) != 3 {
			t.Errorf("left %d, orphans %v", left, orphans)
		}
		for _, o := range orphans {
			if o.Command != "sleep" {
				t.Errorf("orphan %+v", o)
			}
		}
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("process %d lives", pid)
			}
		}
		awaitTrue(t, "no zombie is left", func() bool { return len(d.children()) == 0 })
	})
}

// Three that carry a released worker's mark are orphans in both modes.
func TestMarkedOrphans(t *testing.T) {
	d := direct(t, "off")
	for range 3 {
		c := exec.Command("/bin/sleep", "1000")
		c.Env = []string{envWorker + "=text-0-9", envRunID + "=" + d.runID}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.Process.Release(); err != nil { // Orphans will wait for it
			t.Fatal(err)
		}
	}
	o, err := d.Orphans(within(t))
	if err != nil || len(o) != 3 || o[0].Worker != "text-0-9" {
		t.Errorf("%v, %v", o, err)
	}
}

func TestStrangerInOurCGroup(t *testing.T) {
	d := direct(t, "auto")
	c := exec.Command("/bin/sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	if err := os.WriteFile(filepath.Join(d.base.dir, "cgroup.procs"), []byte(strconv.Itoa(c.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	o, err := d.Orphans(within(t))
	if err != nil || len(o) != 1 || o[0].PID != c.Process.Pid || o[0].Command != "sleep" || o[0].Worker != "" {
		t.Errorf("%v, %v", o, err)
	}
}

// Children of others in this process are nobody's orphans, and their exit
// status is theirs.
func TestOthersChildrenAreLeftAlone(t *testing.T) {
	inModes(t, func(t *testing.T, d *Direct) {
		c := exec.Command("/bin/sh", "-c", "read x; exit 7")
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if o, err := d.Orphans(within(t)); len(o) != 0 || err != nil {
			t.Errorf("%v, %v", o, err)
		}
		p, _ := plant(t, d, 1, "marked")
		if _, err := p.Release(within(t)); err != nil {
			t.Error(err)
		}
		_ = in.Close()
		awaitTrue(t, "the child is a zombie", func() bool { return !alive(c.Process.Pid) })
		d.reaper.look(nil, time.Now())
		err = c.Wait()
		var ee *exec.ExitError
		if !errors.As(err, &ee) || ee.ExitCode() != 7 {
			t.Errorf("Wait: %v", err)
		}
	})
}

// Descendants that end by themselves while the worker lives are reaped: at once
// if they were seen alive, else when nobody else has waited for them.
func TestAdoptedAreReaped(t *testing.T) {
	for _, how := range []string{"marked", "bare"} {
		t.Run(how, func(t *testing.T) {
			inModes(t, func(t *testing.T, d *Direct) { adoptedAreReaped(t, d, how) })
		})
	}
}

func adoptedAreReaped(t *testing.T, d *Direct, how string) {
	p, pids := plant(t, d, 5, how)
	for _, pid := range pids {
		awaitTrue(t, "exec", func() bool { s, err := readStat(pid); return err == nil && s.comm == "sleep" })
		// A bare one may have been seen before it wiped its tracks.
		if owns := p.Owns(pid); !owns && (how == "marked" || d.grouped) {
			t.Error("not owned")
		}
		if err := unix.Kill(pid, unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	awaitTrue(t, "only the main process is left", func() bool {
		if how == "bare" && !d.grouped {
			strays := d.reaper.look(nil, time.Now())
			if left := d.reaper.look(strays, time.Now().Add(strayGrace)); len(left) > len(pids) {
				t.Errorf("left: %v", left)
			}
		}
		c := d.children()
		return len(c) == 1 && c[0] == p.id.pid
	})
}

// A daemon that is killed takes the main process with it; Reap finds the rest.
func TestDaemonKilled(t *testing.T) {
	for _, mode := range []string{"auto", "off"} {
		t.Run(mode, func(t *testing.T) {
			d := direct(t, mode)
			run := "killed" + mode
			h := exec.Command(os.Args[0])
			h.Env = append(os.Environ(), helperEnv+"="+mode, "HELPER_RUN="+run)
			out, err := h.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = h.Process.Kill(); _ = h.Wait() }()
			i := Identity{Worker: "text-0-1", RunID: run}
			planted := 0
			for s := bufio.NewScanner(out); s.Scan() && s.Text() != "ready"; {
				if f := strings.Fields(s.Text()); f[0] == "main" {
					_, _ = fmt.Sscan(s.Text()[5:], &i.PID, &i.StartTime)
					i.CGroup = strings.Join(f[3:], "")
				} else if f[0] == "planted" {
					planted, _ = strconv.Atoi(f[1])
				}
			}
			if i.PID == 0 || planted == 0 {
				t.Fatalf("the helper said %+v, %d", i, planted)
			}
			if err := h.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			awaitTrue(t, "the worker is dead", func() bool { return !alive(i.PID) })
			awaitTrue(t, "exec", func() bool { s, err := readStat(planted); return err == nil && s.comm == "sleep" })
			if err := d.Reap(within(t), i); err != nil {
				t.Fatal(err)
			}
			if alive(planted) {
				t.Error("the descendant lives")
			}
			if i.CGroup != "" {
				if _, err := os.Stat(filepath.Dir(i.CGroup)); err == nil {
					t.Errorf("%s is still there", i.CGroup)
				}
			}
			if err := d.Reap(within(t), i); err != nil {
				t.Errorf("nothing found: %v", err)
			}
		})
	}
}

func TestReapChecksIdentity(t *testing.T) {
	d := direct(t, "off")
	c := exec.Command("/bin/sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	s, err := readStat(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Reap(within(t), Identity{PID: s.pid, StartTime: s.start + 1, Worker: "text-0-1", RunID: "x"}); err != nil {
		t.Fatal(err)
	}
	if !alive(s.pid) {
		t.Fatal("a process with another start time was killed")
	}
	for _, dir := range []string{"/sys/fs/cgroup", "/", "relative/x", "/a/snakepit-x/..", "/a/other/text-0-1"} {
		if err := d.Reap(within(t), Identity{CGroup: dir}); err == nil {
			t.Errorf("cgroup %q was taken", dir)
		}
	}
}

func FuzzWorkerGroup(f *testing.F) {
	f.Add("/sys/fs/cgroup/snakepit-a-b/text-0-1")
	f.Add("/sys/fs/cgroup/snakepit-a-b/..")
	f.Fuzz(func(t *testing.T, dir string) {
		g, err := workerGroup(dir)
		if err != nil {
			return
		}
		if g.dir != filepath.Clean(dir) || !strings.HasPrefix(filepath.Base(filepath.Dir(g.dir)), groupPrefix) {
			t.Errorf("%q was taken as %q", dir, g.dir)
		}
	})
}

func FuzzStat(f *testing.F) {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("12 (a) b) S 1 2 3"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseStat(b) })
}

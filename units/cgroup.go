package units

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is one directory of the cgroup2 hierarchy.
type cgroup struct {
	dir  string // absolute directory
	path string // as /proc/PID/cgroup names it
}

func (g cgroup) child(name string) cgroup {
	return cgroup{dir: filepath.Join(g.dir, name), path: filepath.Join(g.path, name)}
}

// holds says whether a path of /proc/PID/cgroup is the group or below it.
func (g cgroup) holds(path string) bool {
	return path == g.path || strings.HasPrefix(path, g.path+"/")
}

// ownCGroup finds the group this process is in, where a cgroup2 is mounted.
func ownCGroup() (cgroup, error) {
	path, err := cgroupOf("self")
	if err != nil {
		return cgroup{}, err
	}
	return findMount(func(root, dir string) (cgroup, bool) {
		rel, ok := below(root, path)
		return cgroup{dir: filepath.Join(dir, rel), path: path}, ok
	})
}

// cgroupAt names the group of a directory.
func cgroupAt(path string) (cgroup, error) {
	return findMount(func(root, dir string) (cgroup, bool) {
		rel, ok := below(dir, path)
		return cgroup{dir: path, path: filepath.Join(root, rel)}, ok
	})
}

func findMount(try func(root, dir string) (cgroup, bool)) (cgroup, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return cgroup{}, err
	}
	for line := range strings.Lines(string(mounts)) {
		root, dir, ok := parseMount(line)
		if !ok {
			continue
		}
		if g, ok := try(root, dir); ok {
			return g, nil
		}
	}
	return cgroup{}, errors.New("no cgroup2 mount shows the group")
}

func below(dir, path string) (rel string, ok bool) {
	rel, err := filepath.Rel(dir, path)
	return rel, err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// parseMount reads one line of mountinfo; ok only for cgroup2.
func parseMount(line string) (root, dir string, ok bool) {
	left, right, found := strings.Cut(line, " - ")
	if !found {
		return "", "", false
	}
	l, r := strings.Fields(left), strings.Fields(right)
	if len(l) < 5 || len(r) < 1 || r[0] != "cgroup2" {
		return "", "", false
	}
	un := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	return un.Replace(l[3]), un.Replace(l[4]), true
}

// cgroupOf gives the unified path of a process ("self" or a pid). A zombie
// still has one; that a removed group is marked as such is of no interest.
func cgroupOf(pid string) (string, error) {
	b, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "0::"); ok {
			return strings.TrimSuffix(p, " (deleted)"), nil
		}
	}
	return "", errors.New("the kernel has no unified cgroup hierarchy")
}

// pids lists the members of the group and of all groups below it.
func (g cgroup) pids() []int {
	var all []int
	_ = filepath.WalkDir(g.dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil // it went away while we looked
		}
		b, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil
		}
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				all = append(all, pid)
			}
		}
		return nil
	})
	return all
}

// kill sends SIGKILL to all members at once, forks in progress included. A
// kernel before 5.14 cannot; then the caller's kill by pid has to do.
func (g cgroup) kill() {
	_ = os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0)
}

// populated is false for an empty group and for one that has gone.
func (g cgroup) populated() (bool, error) {
	b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return strings.Contains(string(b), "populated 1"), nil
}

// waitEmpty returns when no process is left in the group, or ctx ends. The
// kernel says so by a change of cgroup.events, seen through inotify and the
// runtime's poller.
func (g cgroup) waitEmpty(ctx context.Context) error {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("cannot watch cgroup %s: %w", g.dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer func() { _ = f.Close() }()
	_, err = unix.InotifyAddWatch(fd, filepath.Join(g.dir, "cgroup.events"), unix.IN_MODIFY|unix.IN_DELETE_SELF)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot watch cgroup %s: %w", g.dir, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 4096)
	for {
		if some, err := g.populated(); err != nil || !some {
			return err
		}
		if _, err := f.Read(buf); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("cannot watch cgroup %s: %w", g.dir, err)
		}
	}
}

// remove deletes the group and the groups below it. The kernel may call an
// emptied group busy for a moment, for which it has no event.
func (g cgroup) remove(ctx context.Context) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := g.removeNow()
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

func (g cgroup) removeNow() error {
	entries, err := os.ReadDir(g.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := g.child(e.Name()).removeNow(); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(g.dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove cgroup %s: %w", g.dir, err)
	}
	return nil
}

package units

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// birth is a gate that has just been forked and holds.
type birth struct {
	pid   int
	pidfd *pidfd
	sock  *os.File // our end; closing it makes the gate go away
}

// birth forks a gate: in its own session and in group g, out (a descriptor,
// -1 = /dev/null) as stdout and stderr, with an empty environment. ctx bounds
// only the wait for the forking thread.
func (d *Direct) birth(ctx context.Context, g *cgroup, out int) (_ *birth, err error) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /dev/null: %w", err)
	}
	defer func() { _ = unix.Close(null) }()
	if out < 0 {
		out = null
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	defer func() { _ = unix.Close(pair[1]) }()
	_ = unix.SetNonblock(pair[0], true)
	b := &birth{sock: os.NewFile(uintptr(pair[0]), "gate")}
	pidfd := -1
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: []uintptr{uintptr(null), uintptr(out), uintptr(out), uintptr(pair[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	}
	if g != nil {
		fd, err := makeWorkerGroup(*g)
		if err != nil {
			_ = b.sock.Close()
			return nil, err
		}
		defer func() { _ = unix.Close(fd) }()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, fd
	}
	var ferr error
	if err := d.fork.do(ctx, func() {
		b.pid, _, ferr = syscall.StartProcess("/proc/self/fd/"+strconv.Itoa(d.gateFD), []string{"snakepit-gate"}, attr)
	}); err != nil {
		ferr = err
	}
	if ferr != nil {
		_ = b.sock.Close()
		return nil, fmt.Errorf("cannot start the gate %s: %w", d.gatePath, ferr)
	}
	if pidfd < 0 {
		err = errors.New("cannot watch a child: the kernel gives no pidfd (Linux 5.10 is needed)")
	} else {
		b.pidfd, err = newPidfd(pidfd)
	}
	if err != nil {
		_ = b.sock.Close() // the gate leaves on that
		_, _ = unix.Wait4(b.pid, nil, 0, nil)
		return nil, err
	}
	return b, nil
}

// makeWorkerGroup makes the group and the base above it, and opens it.
func makeWorkerGroup(g cgroup) (int, error) {
	err := os.Mkdir(g.dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(g.dir, 0o755)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return -1, fmt.Errorf("cannot make cgroup %s: %w", g.dir, err)
	}
	fd, err := unix.Open(g.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open cgroup %s: %w", g.dir, err)
	}
	return fd, nil
}

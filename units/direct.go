// Package units starts workers, watches them and makes sure that nothing of
// them is left. Its launcher without systemd, Direct, runs workers as direct
// children: each is first a held gate (cmd/snakepit-gate), in a session and,
// where one is writable, a cgroup of its own.
//
// A process is never identified by its arguments or by a stored pid alone, but
// by pid and start time, pinned by a pidfd before a signal is sent.
package units

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/snakepitd/snakepitd/units/gate"
)

// closeWait bounds the removal of the base group, which the kernel may call
// busy for a moment.
const closeWait = 2 * time.Second

// DirectOptions configures NewDirect.
type DirectOptions struct {
	Gate     string       // path of the gate binary
	Instance string       // "" or the daemon's instance
	RunID    string       // this life of the daemon
	Log      *slog.Logger // nil discards
	// CGroup is "auto" (also ""): a group below the daemon's own where that is
	// writable; "off": none; or the directory to make the group in, an error
	// when that does not work.
	CGroup string
}

// Direct launches workers as children of this process. This process becomes a
// child subreaper: what a worker's descendants leave behind comes to it, is
// attributed to a worker and reaped by pid, never by a wait for any child, so
// that other users of os/exec are not disturbed. It must not itself start
// children that are session leaders: those look like stray descendants.
type Direct struct {
	log      *slog.Logger
	instance string
	runID    string
	gatePath string
	gateFD   int
	gateFile fileID
	selfFile fileID
	self     procStat
	base     cgroup // of all workers; zero without cgroups
	grouped  bool
	noGroup  string // why there is no cgroup
	fork     *forker
	reaper   *reaper

	mu      sync.Mutex // a leaf: no I/O under it
	procs   map[string]*Process
	adopted map[ident]string // children that came to us, by worker
	closed  bool
}

// NewDirect opens the gate binary, so that an upgrade cannot swap it under a
// running daemon, tries it once, and finds out what this machine grants.
func NewDirect(o DirectOptions) (*Direct, error) {
	d := &Direct{
		log: o.Log, instance: o.Instance, runID: o.RunID, gatePath: o.Gate, gateFD: -1,
		procs: make(map[string]*Process), adopted: make(map[ident]string),
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if !nameForm.MatchString(baseName(o.Instance, o.RunID)) || o.RunID == "" {
		return nil, fmt.Errorf("cannot launch workers: instance %q and run id %q do not make a name of the form %s", o.Instance, o.RunID, nameForm)
	}
	if err := d.prepare(o.CGroup); err != nil {
		if d.fork != nil {
			d.fork.close()
		}
		if d.gateFD >= 0 {
			_ = unix.Close(d.gateFD)
		}
		return nil, err
	}
	d.reaper = newReaper(d)
	return d, nil
}

func (d *Direct) prepare(mode string) error {
	var err error
	if d.self, err = readStat(os.Getpid()); err != nil {
		return fmt.Errorf("cannot launch workers: cannot read /proc/self/stat: %w", err)
	}
	if d.selfFile, err = statFile("/proc/self/exe"); err != nil {
		return fmt.Errorf("cannot launch workers: %w", err)
	}
	if err := d.openGate(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become a child subreaper: %w", err)
	}
	d.fork = newForker()
	if mode == "off" {
		d.noGroup = "it is switched off"
	} else if err := d.makeGroup(mode); err != nil {
		if mode != "" && mode != "auto" {
			return fmt.Errorf("cannot use cgroup %s: %w", mode, err)
		}
		d.noGroup = err.Error()
	}
	if !d.grouped {
		if err := d.probe(nil); err != nil {
			return fmt.Errorf("cannot run the gate %s: %w", d.gatePath, err)
		}
	}
	return nil
}

// openGate holds the binary on a high descriptor: low ones are arranged anew
// in every child before its exec.
func (d *Direct) openGate() error {
	fd, err := unix.Open(d.gatePath, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open the gate binary %s: %w", d.gatePath, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("cannot open the gate binary %s: %w", d.gatePath, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return fmt.Errorf("cannot open the gate binary %s: not an executable file", d.gatePath)
	}
	d.gateFile = fileID{st.Dev, st.Ino}
	if d.gateFD, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 100); err != nil {
		d.gateFD = -1
		return fmt.Errorf("cannot open the gate binary %s: %w", d.gatePath, err)
	}
	return nil
}

// makeGroup makes the base group and proves that a child can be born in one.
func (d *Direct) makeGroup(mode string) error {
	var own cgroup
	var err error
	if mode == "" || mode == "auto" {
		own, err = ownCGroup()
	} else {
		own, err = cgroupAt(filepath.Clean(mode))
	}
	if err != nil {
		return err
	}
	d.sweepEmpty(own)
	d.base = own.child(baseName(d.instance, d.runID))
	g := d.base.child("probe")
	err = d.probe(&g)
	if rerr := g.remove(context.Background()); err == nil {
		err = rerr
	}
	if err != nil {
		_ = d.base.removeNow()
		d.base = cgroup{}
		return err
	}
	d.grouped = true
	return nil
}

// sweepEmpty removes groups that a killed daemon left without any worker. A
// group with anything in it resists; a live daemon makes its group anew.
func (d *Direct) sweepEmpty(own cgroup) {
	old, _ := filepath.Glob(filepath.Join(own.dir, baseName(d.instance, "????????")))
	for _, dir := range old {
		_ = unix.Rmdir(dir)
	}
}

// probe runs the gate and hangs up: it must end with its own exit status.
func (d *Direct) probe(g *cgroup) error {
	b, err := d.birth(context.Background(), g, -1)
	if err != nil {
		return err
	}
	defer b.pidfd.close()
	_ = b.sock.Close()
	if err := b.pidfd.wait(context.Background()); err != nil {
		return err
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(b.pid, &ws, 0, nil); err != nil {
		return err
	}
	if e := exitOf(ws, unix.Rusage{}); e.Code != gate.ExitUnopened {
		return fmt.Errorf("%s answers a hang-up with %s, not with exit status %d: it is not a gate", d.gatePath, e, gate.ExitUnopened)
	}
	return nil
}

// NotGuaranteed says, a sentence each, what systemd would guarantee and this
// launcher cannot, here.
func (d *Direct) NotGuaranteed() []string {
	s := []string{
		"limits of memory, CPU and tasks are not enforced: that takes systemd",
		"workers do not survive the daemon: they are killed when it ends, in whatever way, a restart included",
		"when the daemon itself is killed by SIGKILL, a worker's descendants stay until the daemon is started again",
	}
	if d.grouped {
		return append(s, "a worker that runs as root can move its descendants out of its cgroup; they are then found by descent and environment only")
	}
	return append(s,
		"workers have no cgroup of their own ("+d.noGroup+"): their processes are found by descent, session and environment, and killed one by one",
		"a descendant that leaves its session and clears its environment is found only when the daemon stops, and never when the daemon itself is killed by SIGKILL",
		"a worker's fork that runs while its processes are killed can be missed until the daemon stops",
	)
}

// Close gives back what NewDirect took. It fails, and changes nothing, while a
// worker is not released.
func (d *Direct) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	if n := len(d.procs); n > 0 {
		d.mu.Unlock()
		return fmt.Errorf("cannot close the launcher: %d workers are not released", n)
	}
	d.closed = true
	d.mu.Unlock()
	d.reaper.close()
	d.fork.close()
	err := unix.Close(d.gateFD)
	if d.grouped {
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		defer cancel()
		err = errors.Join(err, d.base.remove(ctx))
	}
	if err != nil {
		return fmt.Errorf("cannot close the launcher: %w", err)
	}
	return nil
}

// fileID tells whether two paths are the same file.
type fileID struct{ dev, ino uint64 }

func statFile(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fileID{}, fmt.Errorf("cannot stat %s: %w", path, err)
	}
	return fileID{st.Dev, st.Ino}, nil
}

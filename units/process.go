package units

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/snakepitd/snakepitd/units/gate"
)

// Process is one worker's main process and all that descends from it, from the
// held gate until Release.
type Process struct {
	d     *Direct
	name  string
	path  string
	id    ident
	group *cgroup // nil without cgroups
	pidfd *pidfd
	sock  *os.File
	spec  []byte
	out   *output

	exited chan struct{}

	mu        sync.Mutex // a leaf
	exit      Exit
	reaped    bool
	groupGone bool           // the session has emptied: its number says nothing any more
	killed    map[ident]bool // already signalled by us
	failed    bool           // a Release ended with processes left
	released  bool
}

// Start makes the process that will be the worker; it is held at the gate
// until Open. ctx bounds only the waiting: cancelling it later kills nothing.
func (d *Direct) Start(ctx context.Context, s Spec) (*Process, error) {
	p, err := d.start(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", s.Name, err)
	}
	return p, nil
}

func (d *Direct) start(ctx context.Context, s Spec) (_ *Process, err error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	p := &Process{d: d, name: s.Name, path: s.Path, exited: make(chan struct{}), killed: make(map[ident]bool)}
	if p.spec, err = p.encode(s); err != nil {
		return nil, err
	}
	// The name is taken before the process exists, so that nobody takes the
	// newborn for an orphan.
	if err := d.reserve(p); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.forget(p)
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := -1
	if s.Output != nil {
		if p.out, w, err = newOutput(s.Output); err != nil {
			return nil, err
		}
		defer func() { _ = unix.Close(w) }()
	}
	b, err := d.birth(ctx, p.group, w)
	if err != nil {
		p.dropOutput()
		if p.group != nil {
			_ = p.group.removeNow()
		}
		return nil, err
	}
	p.pidfd, p.sock = b.pidfd, b.sock
	id := ident{pid: b.pid}
	if st, err := readStat(b.pid); err == nil {
		id.start = st.start // an unreaped child always has one
	}
	d.mu.Lock()
	p.id = id
	d.mu.Unlock()
	if p.out != nil {
		go p.out.copy()
	}
	go p.watch()
	return p, nil
}

func (p *Process) encode(s Spec) ([]byte, error) {
	g := gate.Spec{
		Parent: p.d.self.pid, Umask: s.Umask, Dir: s.Dir, Path: s.Path, Argv: s.Argv, Env: s.Env,
	}
	if p.d.grouped {
		c := p.d.base.child(s.Name)
		p.group, g.CGroup = &c, c.path
	}
	if c := s.Credential; c != nil {
		g.Credential, g.UID, g.GID = true, int(c.UID), int(c.GID)
		for _, id := range c.Groups {
			g.Groups = append(g.Groups, int(id))
		}
	}
	return g.Encode()
}

func (d *Direct) reserve(p *Process) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if d.procs[p.name] != nil {
		return errors.New("a worker of this name is not released yet")
	}
	d.procs[p.name] = p
	return nil
}

func (d *Direct) forget(p *Process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.procs[p.name] == p {
		delete(d.procs, p.name)
	}
	for id, name := range d.adopted {
		if name == p.name {
			delete(d.adopted, id)
		}
	}
}

// Identity is what to record before Open.
func (p *Process) Identity() Identity {
	i := Identity{PID: p.id.pid, StartTime: p.id.start, Worker: p.name, RunID: p.d.runID}
	if p.group != nil {
		i.CGroup = p.group.dir
	}
	return i
}

// Open opens the gate. nil says that the program was executed, even if it has
// ended since. After an error the process has gone; it still is to be released.
// It does not return before one of both: Kill ends a gate that hangs.
func (p *Process) Open() error {
	_, werr := p.sock.Write(p.spec)
	p.spec = nil
	b, _ := io.ReadAll(io.LimitReader(p.sock, 4096))
	_ = p.sock.Close()
	running, failed, err := gate.DecodeReplies(b)
	if failed == nil && err == nil && running {
		return nil
	}
	_ = p.pidfd.signal(unix.SIGKILL) // a gate that babbles; else it is on its way out
	<-p.exited
	switch {
	case failed != nil:
		return p.gateError(*failed)
	case err != nil:
		return fmt.Errorf("cannot run %s: the gate %s answers garbage: %w", p.path, p.d.gatePath, err)
	case werr != nil && !errors.Is(werr, unix.EPIPE):
		return fmt.Errorf("cannot run %s: cannot open the gate: %w", p.path, werr)
	}
	return fmt.Errorf("cannot run %s: the gate ended before: %s", p.path, p.Exit())
}

func (p *Process) watch() {
	defer close(p.exited)
	err := p.pidfd.wait(context.Background())
	if err != nil {
		p.d.log.Error("cannot watch a worker's process", "worker", p.name, "pid", p.id.pid, "error", err)
		return
	}
	var ws unix.WaitStatus
	var ru unix.Rusage
	// Under the lock: whoever signals by number must know that it is pinned.
	p.mu.Lock()
	n, err := unix.Wait4(p.id.pid, &ws, unix.WNOHANG, &ru)
	p.reaped = true
	p.exit = exitOf(ws, ru)
	if err != nil || n != p.id.pid {
		p.exit = Exit{Code: -1, At: time.Now()}
	}
	p.mu.Unlock()
	if err != nil || n != p.id.pid {
		p.d.log.Error("somebody else waited for a worker's process", "worker", p.name, "pid", p.id.pid, "error", err)
	}
}

// Exited is closed when the main process has ended and is reaped. Descendants
// may live on: that is for Release.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Exit is valid after Exited.
func (p *Process) Exit() Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// Terminate sends SIGTERM to the main process and its process group. A process
// that has ended is no error.
func (p *Process) Terminate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return nil
	}
	// Unreaped, so the number is pinned; as a session leader it cannot have
	// left its group.
	if err := unix.Kill(-p.id.pid, syscall.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot terminate %s: %w", p.name, err)
	}
	return nil
}

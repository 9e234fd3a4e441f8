package units

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pidfd pins one process. Waiting goes through the runtime's poller, so it
// costs a goroutine and no thread. One waiter at a time.
type pidfd struct {
	f  *os.File
	rc syscall.RawConn
}

// newPidfd takes fd over.
func newPidfd(fd int) (*pidfd, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot make a pidfd non-blocking: %w", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	rc, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot watch a pidfd: %w", err)
	}
	return &pidfd{f: f, rc: rc}, nil
}

// openPidfd pins the process that is pid now and started at start. A process
// that is gone, or another one, is ESRCH.
func openPidfd(pid int, start uint64) (*pidfd, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	// With the pidfd held, what /proc says of the pid now is said of the
	// process that is pinned, or that process has gone already.
	st, err := readStat(pid)
	if err != nil || st.start != start {
		_ = unix.Close(fd)
		return nil, unix.ESRCH
	}
	return newPidfd(fd)
}

// wait returns nil when the process has ended (it may be a zombie).
func (p *pidfd) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err := p.rc.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(fds, 0)
			if err == unix.EINTR {
				continue
			}
			return err != nil || n > 0
		}
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// signal answers ESRCH when the process has gone.
func (p *pidfd) signal(sig syscall.Signal) error {
	var err error
	if cerr := p.rc.Control(func(fd uintptr) {
		err = unix.PidfdSendSignal(int(fd), sig, nil, 0)
	}); cerr != nil {
		return unix.ESRCH
	}
	return err
}

func (p *pidfd) close() { _ = p.f.Close() }

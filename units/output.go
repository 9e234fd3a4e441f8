package units

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lastOutput bounds what is read from a pipe that a stranger keeps open.
const lastOutput = 1 << 20

// output copies what a worker writes to its pipe.
type output struct {
	r    *os.File
	w    io.Writer
	done chan struct{}
}

// newOutput also gives the write end, which the caller closes after the fork.
// Only our end is non-blocking: the worker must see an ordinary pipe.
func newOutput(w io.Writer) (*output, int, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, fmt.Errorf("cannot make the output pipe: %w", err)
	}
	_ = unix.SetNonblock(fds[0], true)
	return &output{r: os.NewFile(uintptr(fds[0]), "output"), w: w, done: make(chan struct{})}, fds[1], nil
}

func (o *output) copy() {
	defer close(o.done)
	buf := make([]byte, 32<<10)
	for {
		n, err := o.r.Read(buf)
		if n > 0 {
			// A writer that fails must not stop the reading: the worker would
			// block on a full pipe.
			_, _ = o.w.Write(buf[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			o.rest(buf)
			return
		}
		if err != nil {
			return
		}
	}
}

// rest takes what is in the pipe without waiting for more.
func (o *output) rest(buf []byte) {
	rc, err := o.r.SyscallConn()
	if err != nil {
		return
	}
	for total := 0; total < lastOutput; {
		n := 0
		_ = rc.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) })
		if n <= 0 {
			return
		}
		_, _ = o.w.Write(buf[:n])
		total += n
	}
}

// close reads what is left, tells the copier to end although somebody may
// hold the write end, and waits until Output has it all.
func (o *output) close(ctx context.Context) error {
	_ = o.r.SetReadDeadline(time.Unix(1, 0))
	select {
	case <-o.done:
		return o.r.Close()
	case <-ctx.Done():
		return fmt.Errorf("its output was not taken: %w", ctx.Err())
	}
}

func (p *Process) dropOutput() {
	if p.out != nil {
		_ = p.out.r.Close()
	}
}

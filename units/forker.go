package units

import (
	"context"
	"errors"
	"runtime"
)

var errClosed = errors.New("the launcher is closed")

// forker runs every fork on one locked thread that lives as long as it does:
// the kernel sends PDEATHSIG when the forking thread ends, not the process.
type forker struct {
	jobs chan func()
	quit chan struct{}
	done chan struct{}
}

func newForker() *forker {
	f := &forker{jobs: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	go f.run()
	return f
}

func (f *forker) run() {
	defer close(f.done)
	runtime.LockOSThread()
	// Unlocked, the thread goes back to the runtime; ended locked, it would be
	// destroyed, and whatever it forked with it.
	defer runtime.UnlockOSThread()
	for {
		select {
		case job := <-f.jobs:
			job()
		case <-f.quit:
			return
		}
	}
}

// do runs job on the thread. ctx bounds only the wait for the thread.
func (f *forker) do(ctx context.Context, job func()) error {
	finished := make(chan struct{})
	select {
	case f.jobs <- func() { defer close(finished); job() }:
		<-finished
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
		return errClosed
	}
}

func (f *forker) close() {
	close(f.quit)
	<-f.done
}

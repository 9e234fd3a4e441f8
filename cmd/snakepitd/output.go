package main

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// output is the daemon's stderr for everybody who logs: a Write never waits for
// whoever reads it. One goroutine writes; when its queue is full, lines are dropped,
// counted, and the count is told once there is room again. A supervisor must not hang
// because somebody pressed Ctrl-S.
type output struct {
	to      io.Writer
	lines   chan []byte
	dropped atomic.Int64
	done    chan struct{} // closed when everything has been written
}

// queuedLines is how many lines wait for a slow reader.
const queuedLines = 4096

func newOutput(to io.Writer) *output {
	o := &output{to: to, lines: make(chan []byte, queuedLines), done: make(chan struct{})}
	go o.run()
	return o
}

// Write implements io.Writer.
func (o *output) Write(line []byte) (int, error) {
	if len(line) == 0 {
		return 0, nil // in the queue, nothing means the end
	}
	select {
	case o.lines <- bytes.Clone(line):
	default:
		o.dropped.Add(1)
	}
	return len(line), nil
}

func (o *output) run() {
	defer close(o.done)
	for line := range o.lines {
		if line == nil {
			return
		}
		_, _ = o.to.Write(line) // nobody is left to tell
		if n := o.dropped.Swap(0); n > 0 {
			fmt.Fprintf(o.to, "snakepitd: %d lines were dropped: whoever reads this is too slow\n", n)
		}
	}
}

// flush waits until what was written so far is out, but not longer than a reader that
// does not read deserves.
func (o *output) flush(patience time.Duration) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case o.lines <- nil: // the last one
	case <-timeout.C:
		return
	}
	select {
	case <-o.done:
	case <-timeout.C:
	}
}

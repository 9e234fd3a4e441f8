package units

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exit says how a worker's main process ended.
type Exit struct {
	Code   int            // exit status; -1 when killed by a signal
	Signal syscall.Signal // 0 when it exited by itself
	Core   bool           // the signal left a core dump
	At     time.Time      // when it was seen
	MaxRSS int64          // largest resident set, bytes
}

// String is "exit status 3" or "killed by SIGKILL".
func (e Exit) String() string {
	if e.Signal == 0 {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	name := unix.SignalName(e.Signal)
	if name == "" {
		name = fmt.Sprintf("signal %d", int(e.Signal))
	}
	if e.Core {
		return "killed by " + name + " (core dumped)"
	}
	return "killed by " + name
}

func exitOf(ws unix.WaitStatus, ru unix.Rusage) Exit {
	e := Exit{Code: -1, At: time.Now(), MaxRSS: ru.Maxrss * 1024}
	if ws.Signaled() {
		e.Signal, e.Core = ws.Signal(), ws.CoreDump()
	} else {
		e.Code = ws.ExitStatus()
	}
	return e
}

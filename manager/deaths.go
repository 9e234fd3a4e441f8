package manager

import (
	"strings"
	"time"

	"github.com/snakepitd/snakepitd/units"
)

// keptDeaths is how many deaths of a pool are kept.
const keptDeaths = 64

// Causes of a death, the field that programs read.
const (
	CauseExit        = "exit"         // it ended by itself
	CauseSignal      = "signal"       // somebody's signal ended it
	CauseStartFailed = "start-failed" // it never became ready
	CauseUnhealthy   = "unhealthy"    // it lived but could not be reached
	CauseStopped     = "stopped"      // it was not wanted any more
	CauseRestart     = "restart"      // a person asked for a new one
)

// Death is the end of one worker and its cause.
type Death struct {
	Pool, Worker string
	PID          int
	At           time.Time
	Cause        string
	Reason       string // one sentence
	Exit         units.Exit
	Uptime       time.Duration
	Calls        uint64
	Output       string // the last lines it wrote
	Left         int    // processes of it that outlived its main process
}

// death judges the end of a worker. planned and wanted are its slot's at the
// moment of the end.
func (w *worker) death(pool string, exit units.Exit, planned, wanted bool) *Death {
	d := &Death{Pool: pool, Worker: w.id.String(), At: time.Now(), Exit: exit}
	if w.process != nil {
		d.PID = w.process.Identity().PID
	}
	if !w.started.IsZero() {
		d.Uptime = d.At.Sub(w.started)
	}
	switch {
	case !wanted:
		d.Cause, d.Reason = CauseStopped, "stopped ("+exit.String()+")"
	case planned:
		d.Cause, d.Reason = CauseRestart, "restart was asked for ("+exit.String()+")"
	case w.stopNote != "":
		d.Cause, d.Reason = CauseUnhealthy, w.stopNote
	case w.ready.IsZero():
		d.Cause, d.Reason = CauseStartFailed, w.failedStart(exit)
	case exit.Signal != 0:
		d.Cause, d.Reason = CauseSignal, exit.String()
	default:
		d.Cause, d.Reason = CauseExit, exit.String()
	}
	return d
}

// note keeps why the worker cannot become ready; what is told later explains what
// was told before.
func (w *worker) note(cause string) {
	switch {
	case cause == "":
	case w.bootNote == "":
		w.bootNote = cause
	default:
		w.bootNote += ": " + cause
	}
}

// failedStart says why the worker never became ready.
func (w *worker) failedStart(exit units.Exit) string {
	if w.bootNote != "" {
		return w.bootNote
	}
	return "it ended: " + exit.String() + " before it was ready"
}

// finish completes a death with what is known after release.
func (d *Death) finish(w *worker, left int) {
	d.Left, d.Output = left, w.tail.String()
	if d.Cause == CauseStartFailed {
		d.Reason = w.failedStart(d.Exit) // boot may have told more since
		if last := lastLine(d.Output); last != "" && !strings.Contains(d.Reason, last) {
			d.Reason += ": " + last
		}
	}
}

// lastLine is the last line with something in it.
func lastLine(s string) string {
	s = strings.TrimRight(s, " \t\r\n")
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		s = s[i+1:]
	}
	return strings.TrimSpace(s)
}

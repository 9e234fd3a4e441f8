package registry

import (
	"fmt"
	"path/filepath"
	"time"
	"unicode/utf8"
)

// States of a record.
const (
	StateStarting = "starting" // written before the process exists: it may or may not have come
	StateRunning  = "running"  // the process exists, PID and StartTime name it
)

// Record is what the next daemon needs to find, recognise and release a worker.
type Record struct {
	Worker    WorkerID  `json:"worker"`
	RunID     string    `json:"run_id"`           // the daemon that started it
	State     string    `json:"state"`            // StateStarting or StateRunning
	PID       int       `json:"pid,omitempty"`    // 0 while starting
	StartTime uint64    `json:"start,omitempty"`  // clock ticks since boot, field 22 of /proc/PID/stat
	CGroup    string    `json:"cgroup,omitempty"` // absolute directory, "" = none of its own
	Port      int       `json:"port,omitempty"`   // TCP port on loopback, 0 = Unix socket
	Socket    string    `json:"socket,omitempty"` // path of its Unix socket, "" = TCP
	Created   time.Time `json:"created,omitzero"` // when the first record of the worker was written
}

// check refuses a record that a reader could not act on safely: what it names gets
// killed.
func (r Record) check() error {
	if err := r.Worker.check(); err != nil {
		return err
	}
	switch {
	case r.State != StateStarting && r.State != StateRunning:
		return fmt.Errorf("%s has the unknown state %.40q", r.Worker, r.State)
	case r.State == StateRunning && r.PID <= 1:
		return fmt.Errorf("%s is running with pid %d", r.Worker, r.PID)
	case r.PID < 0 || r.PID == 1:
		return fmt.Errorf("%s has pid %d", r.Worker, r.PID)
	case r.Port < 0 || r.Port > 65535:
		return fmt.Errorf("%s has port %d", r.Worker, r.Port)
	case r.CGroup != "" && (!filepath.IsAbs(r.CGroup) || filepath.Clean(r.CGroup) != r.CGroup):
		return fmt.Errorf("%s has the cgroup %.80q, which is not a plain absolute path", r.Worker, r.CGroup)
	case !utf8.ValidString(r.RunID + r.CGroup + r.Socket):
		return fmt.Errorf("%s has text that is not UTF-8 and would not survive JSON", r.Worker)
	}
	return nil
}

package units

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
)

// Names of the environment variables by which a process without a cgroup of
// its own is known to descend from a worker. Whoever fills Spec.Env sets both.
const (
	envWorker = "SNAKEPIT_WORKER"
	envRunID  = "SNAKEPIT_RUN_ID"
)

// Spec says what a worker runs. Nothing is inherited from the daemon: Env is
// the whole environment and Argv the whole argument vector.
type Spec struct {
	Name       string      // the worker, "text-0-7"; unique until it is released
	Path       string      // absolute path of the program
	Argv       []string    // Argv[0] included
	Env        []string    // should have SNAKEPIT_WORKER and SNAKEPIT_RUN_ID
	Dir        string      // working directory, "" = /
	Umask      int         // file mode creation mask
	Credential *Credential // ids to take; nil: the daemon's own
	// Output gets stdout and stderr as they come, from one goroutine; nil
	// discards them. A Write that blocks holds up the worker, as a pipe does.
	Output io.Writer
}

// Credential is whom a worker runs as.
type Credential struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups, all of them
}

// Identity names one process for good: a pid comes again, a pid with a start
// time does not on the same boot. CGroup, Worker and RunID help to find what
// the process left behind when it is gone itself.
type Identity struct {
	PID       int
	StartTime uint64 // clock ticks since boot, field 22 of /proc/PID/stat
	CGroup    string // absolute directory, "" = none
	Worker    string // Spec.Name, "" = not known
	RunID     string // the life of the daemon that started it, "" = not known
}

// A worker's name becomes a directory's name.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$`)

func (s Spec) check() error {
	switch {
	case !nameForm.MatchString(s.Name):
		return fmt.Errorf("worker name %q is not of the form %s", s.Name, nameForm)
	case !filepath.IsAbs(s.Path):
		return fmt.Errorf("program %q is not an absolute path", s.Path)
	case len(s.Argv) == 0:
		return errors.New("the argument vector is empty")
	case s.Dir != "" && !filepath.IsAbs(s.Dir):
		return fmt.Errorf("working directory %q is not an absolute path", s.Dir)
	}
	return nil
}

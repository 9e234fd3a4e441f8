package units

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/snakepitd/snakepitd/units/gate"
)

// gateError says in words what a gate reported as stage and number.
func (p *Process) gateError(r gate.Reply) error {
	var err error = r.Errno
	switch r.Stage {
	case gate.StageExec:
		return p.execError(r.Errno)
	case gate.StageDir:
		return fmt.Errorf("cannot enter the working directory of %s: %w", p.name, err)
	case gate.StageIDs:
		return fmt.Errorf("cannot take the user and groups of %s: %w", p.name, err)
	case gate.StageCGroup:
		return fmt.Errorf("cannot run %s: the process is not in its cgroup", p.path)
	case gate.StagePrivs:
		return fmt.Errorf("cannot run %s: cannot set no_new_privs: %w", p.path, err)
	case gate.StageParent:
		return fmt.Errorf("cannot run %s: the gate is not a child of the daemon any more", p.path)
	default:
		return fmt.Errorf("cannot run %s: the gate %s does not understand this daemon (versions differ?)", p.path, p.d.gatePath)
	}
}

func (p *Process) execError(no syscall.Errno) error {
	why := ""
	if no == syscall.ENOEXEC {
		why = " (a script without a #! line?)"
	}
	if no == syscall.E2BIG {
		why = ": arguments and environment are too large"
	}
	if no == syscall.ENOENT {
		// The kernel says the same of a missing interpreter.
		if _, err := os.Stat(p.path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot run %s: its interpreter (the #! line or the loader) does not exist: %w", p.path, no)
		}
	}
	return fmt.Errorf("cannot run %s: %w%s", p.path, no, why)
}

// Command snakepit-gate is the held child that becomes a worker. snakepitd
// forks it, records the process, and only then opens the gate by sending a
// gate.Spec over descriptor 3; see package units/gate. When the daemon hangs
// up before, nothing is run and the exit status is 125.
//
// It is a binary of its own because its start is paid by every worker, and it
// imports no more than it must for the same reason.
package main

import (
	"errors"
	"runtime"
	"syscall"

	"github.com/snakepitd/snakepitd/units/gate"
)

// prctl options that package syscall does not name.
const (
	prSetPdeathsig  = 1
	prSetName       = 15
	prSetNoNewPrivs = 38

	sysCloseRange             = 436 // the same on all architectures, as all calls since 424
	closeRangeCloexec         = 4
	firstOfNobody     uintptr = gate.FD + 1
)

func main() {
	// PDEATHSIG, no_new_privs and the exec must happen on one thread.
	runtime.LockOSThread()
	name := [...]byte{'s', 'n', 'a', 'k', 'e', 'p', 'i', 't', '-', 'g', 'a', 't', 'e', 0}
	setName(&name[0])
	syscall.CloseOnExec(gate.FD)
	// What the daemon itself inherited without close-on-exec is not the
	// worker's. Kernels before 5.11 cannot; nothing of the daemon's own leaks.
	_, _, _ = syscall.RawSyscall(sysCloseRange, firstOfNobody, uintptr(^uint32(0)), closeRangeCloexec)
	b, ok := readSpec()
	if !ok {
		syscall.Exit(gate.ExitUnopened)
	}
	s, err := gate.Decode(b)
	if err != nil {
		fail(gate.StageSpec, syscall.EPROTO)
	}
	become(s)
}

// become runs the steps in their order and never returns.
func become(s gate.Spec) {
	if s.CGroup != "" && ownCGroup() != s.CGroup {
		fail(gate.StageCGroup, syscall.ESRCH)
	}
	syscall.Umask(s.Umask)
	if s.Dir != "" && !s.Credential {
		check(gate.StageDir, syscall.Chdir(s.Dir))
	}
	if s.Credential {
		check(gate.StageIDs, syscall.Setgroups(s.Groups))
		check(gate.StageIDs, syscall.Setresgid(s.GID, s.GID, s.GID))
		check(gate.StageIDs, syscall.Setresuid(s.UID, s.UID, s.UID))
		// With the worker's ids: what root may enter says nothing.
		if s.Dir != "" {
			check(gate.StageDir, syscall.Chdir(s.Dir))
		}
	}
	check(gate.StagePrivs, prctl(prSetNoNewPrivs, 1))
	// A change of ids clears PDEATHSIG, hence only now; and a parent that died
	// before it was set would never send it, hence the comparison after.
	check(gate.StageParent, prctl(prSetPdeathsig, uintptr(syscall.SIGKILL)))
	if syscall.Getppid() != s.Parent {
		fail(gate.StageParent, syscall.ESRCH)
	}
	reply(gate.StageRunning, 0)
	err := syscall.Exec(s.Path, s.Argv, s.Env)
	check(gate.StageExec, err)
	fail(gate.StageExec, syscall.EINVAL)
}

// readSpec blocks until the daemon opens the gate; false when it hung up.
func readSpec() ([]byte, bool) {
	var head [4]byte
	if !readFull(head[:]) {
		return nil, false
	}
	n := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3])
	if n > gate.MaxSpec {
		fail(gate.StageSpec, syscall.E2BIG)
	}
	b := make([]byte, n)
	return b, readFull(b)
}

func readFull(b []byte) bool {
	for len(b) > 0 {
		n, err := syscall.Read(gate.FD, b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// ownCGroup gives the path on the unified hierarchy, "" when there is none.
func ownCGroup() string {
	fd, err := syscall.Open("/proc/self/cgroup", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = syscall.Close(fd) }()
	var text []byte
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		text = append(text, buf[:n]...)
	}
	for start := 0; start < len(text); {
		end := start
		for end < len(text) && text[end] != '\n' {
			end++
		}
		if line := text[start:end]; len(line) > 3 && string(line[:3]) == "0::" {
			return string(line[3:])
		}
		start = end + 1
	}
	return ""
}

func check(stage gate.Stage, err error) {
	if err == nil {
		return
	}
	var no syscall.Errno
	if !errors.As(err, &no) {
		no = syscall.EIO
	}
	fail(stage, no)
}

func fail(stage gate.Stage, no syscall.Errno) {
	reply(stage, no)
	syscall.Exit(gate.ExitUnopened)
}

// reply is not checked: a daemon that has gone reads nothing.
func reply(stage gate.Stage, no syscall.Errno) {
	_, _ = syscall.Write(gate.FD, gate.Reply{Stage: stage, Errno: no}.Encode())
}

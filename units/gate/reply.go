package gate

import (
	"strconv"
	"syscall"
)

// Stage is the step of the gate's work that a Reply is about.
type Stage byte

// The steps in their order.
const (
	StageSpec    Stage = 's' // read and understand the spec
	StageCGroup  Stage = 'g' // the process is in the cgroup it should be in
	StageDir     Stage = 'd' // enter the working directory
	StageIDs     Stage = 'i' // take the worker's ids
	StagePrivs   Stage = 'n' // no_new_privs
	StageParent  Stage = 'p' // the daemon is still the parent; PDEATHSIG
	StageExec    Stage = 'e' // execve
	StageRunning Stage = 'x' // not a failure: the gate is about to exec
)

// Reply is what the gate sends back: StageRunning right before the exec, whose
// success is then seen as the end of the stream, or the stage that failed.
type Reply struct {
	Stage Stage
	Errno syscall.Errno
}

// Encode gives the wire form: stage, decimal error number, newline.
func (r Reply) Encode() []byte {
	return append(strconv.AppendInt([]byte{byte(r.Stage)}, int64(r.Errno), 10), '\n')
}

// DecodeReplies reads all that a gate sent before the end of its stream. It
// returns whether the gate got as far as the exec, and the failure if any.
func DecodeReplies(b []byte) (running bool, failed *Reply, err error) {
	for len(b) > 0 {
		end := -1
		for i, c := range b {
			if c == '\n' {
				end = i
				break
			}
		}
		if end < 2 {
			return running, failed, ErrSpec
		}
		n, aerr := strconv.Atoi(string(b[1:end]))
		if aerr != nil || n < 0 {
			return running, failed, ErrSpec
		}
		switch s := Stage(b[0]); s {
		case StageRunning:
			running = true
		case StageSpec, StageCGroup, StageDir, StageIDs, StagePrivs, StageParent, StageExec:
			failed = &Reply{Stage: s, Errno: syscall.Errno(n)}
		default:
			return running, failed, ErrSpec
		}
		b = b[end+1:]
	}
	return running, failed, nil
}

package units

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// An exec in progress shows an empty environment for some microseconds; a
// descendant that is met just then must not pass for one that cleared it.
const (
	envTries = 10
	envPause = time.Millisecond
)

// readEnv gives two variables of a process's environment as it was at its
// exec. ok is false when it may not be read or the process has gone.
func readEnv(pid int) (worker, runID string, ok bool) {
	proc := "/proc/" + strconv.Itoa(pid)
	settled := 0
	for range envTries {
		// Read before the environment: a process that has arguments has
		// got over its exec.
		args, _ := os.ReadFile(proc + "/cmdline")
		b, err := os.ReadFile(proc + "/environ")
		if err != nil {
			return "", "", false
		}
		if len(b) > 0 {
			worker, runID = marks(b)
			return worker, runID, true
		}
		if s, err := readStat(pid); err != nil || s.dead() {
			return "", "", false
		}
		if len(args) == 0 {
			settled = 0
		} else if settled++; settled == 2 {
			break
		}
		<-time.After(envPause)
	}
	return "", "", true
}

func marks(environ []byte) (worker, runID string) {
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if w, found := bytes.CutPrefix(v, []byte(envWorker+"=")); found {
			worker = string(w)
		}
		if r, found := bytes.CutPrefix(v, []byte(envRunID+"=")); found {
			runID = string(r)
		}
	}
	return worker, runID
}

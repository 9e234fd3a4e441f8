package registry

import (
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strconv"
	"strings"
)

// WorkerID names one incarnation of a worker. It is never used a second time in
// the same run directory.
type WorkerID struct {
	Pool       string // [a-z][a-z0-9_]{0,30}
	Slot       int    // from 0
	Generation int    // from 1
}

const (
	maxPoolName = 31        // bytes
	maxNumber   = 1<<31 - 1 // of slots and generations
)

// String returns the name of the worker: text-0-7.
func (id WorkerID) String() string {
	return id.SlotName() + "-" + strconv.Itoa(id.Generation)
}

// SlotName returns the name of the worker's slot, which outlives it: text-0.
func (id WorkerID) SlotName() string {
	return id.Pool + "-" + strconv.Itoa(id.Slot)
}

// ParseWorkerID reads what String wrote, and nothing else: no sign, no leading
// zero, so that a worker has one spelling.
func ParseWorkerID(s string) (WorkerID, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return WorkerID{}, fmt.Errorf("%.80q is not a worker: want <pool>-<slot>-<generation>, as in text-0-7", s)
	}
	slot, slotErr := strconv.Atoi(parts[1])
	generation, generationErr := strconv.Atoi(parts[2])
	id := WorkerID{Pool: parts[0], Slot: slot, Generation: generation}
	if slotErr != nil || generationErr != nil || id.check() != nil || id.String() != s {
		return WorkerID{}, fmt.Errorf("%.80q is not a worker: want <pool>-<slot>-<generation>, as in text-0-7", s)
	}
	return id, nil
}

// MarshalText writes the id as String does.
func (id WorkerID) MarshalText() ([]byte, error) {
	return []byte(id.String()), nil
}

// UnmarshalText reads the id as ParseWorkerID does.
func (id *WorkerID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseWorkerID(string(text))
	return err
}

func (id WorkerID) check() error {
	if !isPoolName(id.Pool) || id.Slot < 0 || id.Slot > maxNumber || id.Generation < 1 || id.Generation > maxNumber {
		return fmt.Errorf("%.80q is not the name of a worker", id.String())
	}
	return nil
}

// compare orders ids by pool, slot and generation.
func (id WorkerID) compare(other WorkerID) int {
	return cmp.Or(
		cmp.Compare(id.Pool, other.Pool),
		cmp.Compare(id.Slot, other.Slot),
		cmp.Compare(id.Generation, other.Generation),
	)
}

func isPoolName(s string) bool {
	if s == "" || len(s) > maxPoolName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// NewRunID returns a name for one life of the daemon: 8 characters of [a-z2-7].
func NewRunID() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails: it ends the program first
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

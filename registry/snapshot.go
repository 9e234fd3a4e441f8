package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	snapshotName = "run-state.json"
	tempName     = snapshotName + ".tmp"

	// schema is the version of the snapshot's form. A reader knows its own version
	// and, from 2 on, the one before.
	schema = 1
	// maxSnapshot bounds what is read and written, in bytes: some 50000 records.
	maxSnapshot = 16 << 20
	// maxAside is how many snapshots that were set aside are kept.
	maxAside = 5
	// asideTime sorts as text and holds no dash.
	asideTime = "20060102T150405.000000000Z"
)

// Why a snapshot is set aside; part of its new name.
const (
	reasonCorrupt   = "corrupt"
	reasonForeign   = "foreign"
	reasonNewer     = "newer"
	reasonOtherBoot = "other-boot"
	reasonTooLarge  = "too-large"
)

// distrust is why a snapshot is not used.
type distrust struct {
	reason string
	err    error
}

func (d distrust) Error() string { return d.err.Error() }
func (d distrust) Unwrap() error { return d.err }

func distrusted(reason, format string, args ...any) error {
	return distrust{reason, fmt.Errorf(format, args...)}
}

// state is what a snapshot holds.
type state struct {
	RunID string `json:"run_id"` // the daemon that wrote it
	// Floor is below every generation of a slot that Generations does not name.
	Floor       int            `json:"floor"`
	Generations map[string]int `json:"generations"` // slot name -> last generation given out
	Records     []Record       `json:"records"`     // sorted by worker
}

// envelope makes a state checkable. The checksum covers everything else, so that a
// torn or edited file never passes.
type envelope struct {
	Schema   int             `json:"schema"`
	BootID   string          `json:"boot_id"`
	Checksum string          `json:"checksum"`
	State    json.RawMessage `json:"state"`
}

func (e envelope) sum() (string, error) {
	var body bytes.Buffer
	fmt.Fprintf(&body, "%d\n%s\n", e.Schema, e.BootID)
	// Compact: the sum is of the content, whatever an editor does to the white space.
	if err := json.Compact(&body, e.State); err != nil {
		return "", err
	}
	sum := sha256.Sum256(body.Bytes())
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

func encode(s state, bootID string) ([]byte, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	e := envelope{Schema: schema, BootID: bootID, State: body}
	if e.Checksum, err = e.sum(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	if len(data) >= maxSnapshot { // never write what no reader takes
		return nil, fmt.Errorf("%d records need %d bytes, more than the %d that a snapshot may have", len(s.Records), len(data), maxSnapshot)
	}
	return append(data, '\n'), nil
}

// decode reads a snapshot of this boot. Its error is always a distrust.
func decode(data []byte, bootID string) (state, error) {
	if len(data) > maxSnapshot {
		return state{}, distrusted(reasonTooLarge, "it has more than %d bytes", maxSnapshot)
	}
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return state{}, distrusted(reasonCorrupt, "it is not the JSON of a snapshot: %w", err)
	}
	return decodeState(e, bootID)
}

func decodeState(e envelope, bootID string) (state, error) {
	// The version comes first: a newer form may compute its checksum otherwise.
	if e.Schema > schema {
		return state{}, distrusted(reasonNewer, "a newer snakepitd wrote it: schema %d, this one knows %d", e.Schema, schema)
	}
	if e.Schema < schema || e.BootID == "" || e.State == nil {
		return state{}, distrusted(reasonForeign, "it has no schema, boot id or state of snakepitd")
	}
	if sum, err := e.sum(); err != nil || sum != e.Checksum {
		return state{}, distrusted(reasonCorrupt, "its checksum does not match")
	}
	if e.BootID != bootID {
		return state{}, distrusted(reasonOtherBoot, "it is of another boot: no process or cgroup of then exists")
	}
	var s state
	if err := json.Unmarshal(e.State, &s); err != nil {
		return state{}, distrusted(reasonCorrupt, "cannot read its state: %w", err)
	}
	if err := s.check(); err != nil {
		return state{}, distrusted(reasonCorrupt, "%w", err)
	}
	return s, nil
}

func (s state) check() error {
	if s.Floor < 0 || s.Floor >= maxNumber {
		return fmt.Errorf("the floor is %d", s.Floor)
	}
	for slot, generation := range s.Generations {
		if _, err := ParseWorkerID(slot + "-1"); err != nil || generation < 1 || generation > maxNumber {
			return fmt.Errorf("%.80q with generation %d is not a slot's", slot, generation)
		}
	}
	seen := make(map[WorkerID]bool, len(s.Records))
	for _, rec := range s.Records {
		if err := rec.check(); err != nil {
			return err
		}
		if seen[rec.Worker] || s.Generations[rec.Worker.SlotName()] < rec.Worker.Generation {
			return fmt.Errorf("%s is twice in it, or above its slot's generation", rec.Worker)
		}
		seen[rec.Worker] = true
	}
	return nil
}

// readSnapshot returns the snapshot of dir. Its error is fs.ErrNotExist or a
// distrust.
func readSnapshot(dir, bootID string) (state, error) {
	// Neither a link nor a FIFO may lead us astray or hold us up.
	f, err := os.OpenFile(filepath.Join(dir, snapshotName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, fs.ErrNotExist
	}
	if err != nil {
		return state{}, distrusted(reasonForeign, "cannot open it: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return state{}, distrusted(reasonForeign, "cannot look at it: %w", err)
	}
	if !info.Mode().IsRegular() {
		return state{}, distrusted(reasonForeign, "it is not a regular file")
	}
	if uid, ok := owner(info); !ok || uid != os.Geteuid() {
		return state{}, distrusted(reasonForeign, "it belongs to uid %d", uid)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSnapshot+1))
	if err != nil {
		return state{}, distrusted(reasonCorrupt, "cannot read it: %w", err)
	}
	return decode(data, bootID)
}

// writeSnapshot replaces the snapshot of dir whole, or leaves it as it is.
//
// There is no fsync. A record means something only as long as this boot lasts: what
// is lost with the power names processes that are lost with it, and the boot id says
// so to the next reader. Against every end of the daemon, SIGKILL too, the kernel's
// page cache is durable; there what counts is that rename is atomic, so that no
// reader ever sees half a snapshot. The directory is normally a tmpfs, which has
// nothing to sync to anyway.
func writeSnapshot(dir string, data []byte) error {
	temp := filepath.Join(dir, tempName)
	if err := writeFile(temp, data); err != nil {
		return errors.Join(err, removeIfThere(temp))
	}
	if err := os.Rename(temp, filepath.Join(dir, snapshotName)); err != nil {
		return errors.Join(err, removeIfThere(temp))
	}
	return nil
}

func writeFile(path string, data []byte) error {
	// The lock makes us the only writer: what has this name is a dead daemon's.
	if err := removeIfThere(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	// Some file systems tell of a full disk or a quota only here.
	return errors.Join(err, f.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// setAside moves the snapshot out of the way for a person to look at, and forgets
// all but the newest of its kind. It returns the new path.
func setAside(dir, reason string, now time.Time) (string, error) {
	aside := filepath.Join(dir, snapshotName+"."+reason+"-"+now.UTC().Format(asideTime))
	if err := os.Rename(filepath.Join(dir, snapshotName), aside); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return aside, err
	}
	var kept []string
	for _, e := range entries {
		if _, ok := asideStamp(e.Name()); ok {
			kept = append(kept, e.Name())
		}
	}
	slices.SortFunc(kept, func(a, b string) int {
		sa, _ := asideStamp(a)
		sb, _ := asideStamp(b)
		return strings.Compare(sa, sb)
	})
	for _, name := range kept[:max(0, len(kept)-maxAside)] {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
	}
	return aside, err
}

// asideStamp returns the time in the name of a snapshot that was set aside.
func asideStamp(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, snapshotName+".")
	i := strings.LastIndexByte(rest, '-')
	if !ok || i < 0 {
		return "", false
	}
	switch rest[:i] {
	case reasonCorrupt, reasonForeign, reasonNewer, reasonOtherBoot, reasonTooLarge:
	default:
		return "", false
	}
	_, err := time.Parse(asideTime, rest[i+1:])
	return rest[i+1:], err == nil
}

func owner(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, false
	}
	return int(st.Uid), true
}

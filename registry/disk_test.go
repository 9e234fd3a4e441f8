package registry

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A full disk is a real one: a tiny tmpfs in the child's own mount namespace, and,
// where that is not allowed, a limit of the file size.
func TestFullDisk(t *testing.T) {
	cmd := child(t, "full-disk", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || strings.Contains(string(out), "cannot mount") {
		t.Skipf("no mount namespace here: %v %s", err, out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestFileSizeLimit(t *testing.T) {
	if out, err := child(t, "file-limit", t.TempDir()).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// disk is a full disk to come: fill makes every further write fail with want.
type disk struct {
	fill, empty func() error
	want        error
}

func mountTiny(dir string) (disk, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return disk{}, fmt.Errorf("cannot mount privately: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0711"); err != nil {
		return disk{}, fmt.Errorf("cannot mount a tmpfs: %w", err)
	}
	ballast := filepath.Join(dir, "ballast")
	fill := func() error {
		if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("the disk is not full: %w", err)
		}
		return nil
	}
	return disk{fill: fill, empty: func() error { return os.Remove(ballast) }, want: unix.ENOSPC}, nil
}

func limitFiles(string) (disk, error) {
	signal.Ignore(unix.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		return disk{}, err
	}
	limit := func(n uint64) error { return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: old.Max}) }
	return disk{fill: func() error { return limit(64) }, empty: func() error { return limit(old.Cur) }, want: unix.EFBIG}, nil
}

func fullDiskChild(dir string, prepare func(string) (disk, error)) {
	d, err := prepare(dir)
	if err == nil {
		err = surviveFullDisk(dir, d)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func surviveFullDisk(dir string, d disk) error {
	r, err := Open(dir, "first", discard())
	if err != nil {
		return err
	}
	old, refused := record(r.NextWorker("text", 0)), record(r.NextWorker("text", 1))
	if err := r.Put(old); err != nil {
		return err
	}
	path := filepath.Join(dir, snapshotName)
	before, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	asBefore := func(what string, got error) error {
		after, err := os.ReadFile(path)
		switch {
		case !errors.Is(got, d.want) || !strings.Contains(got.Error(), "cannot write the run state"):
			return fmt.Errorf("%s: %w; want %w", what, got, d.want)
		case err != nil || !bytes.Equal(before, after):
			return fmt.Errorf("%s changed the snapshot: %w", what, err)
		case !cmp.Equal([]Record{old}, r.Records()):
			return fmt.Errorf("%s changed the records: %v", what, r.Records())
		}
		if _, err := os.Lstat(filepath.Join(dir, tempName)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s left a temporary file: %w", what, err)
		}
		return nil
	}

	if err := d.fill(); err != nil {
		return err
	}
	err = errors.Join(asBefore("Put", r.Put(refused)), asBefore("Remove", r.Remove(old.Worker)))
	// A daemon that starts on a full disk still finds what was left.
	r.Close()
	if r, err2 := Open(dir, "second", discard()); err2 != nil || !cmp.Equal([]Record{old}, r.Leftovers()) {
		err = errors.Join(err, fmt.Errorf("Open on a full disk: %w", err2))
	} else {
		r.Close()
	}
	if r, err = reopen(dir, err); err != nil {
		return err
	}
	if err := d.empty(); err != nil {
		return err
	}
	if err := errors.Join(r.Remove(old.Worker), r.Put(refused), r.Close()); err != nil {
		return fmt.Errorf("with space again: %w", err)
	}
	r, err = reopen(dir, nil)
	if err == nil && !cmp.Equal([]Record{refused}, r.Leftovers()) {
		err = fmt.Errorf("the next daemon found %v", r.Leftovers())
	}
	return err
}

func reopen(dir string, err error) (*Registry, error) {
	if err != nil {
		return nil, err
	}
	return Open(dir, "again", discard())
}

// Non-root only: whoever may not write to the directory is told so.
func TestReadOnlyDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	r := mustOpen(t, dir)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	if err := r.Put(record(r.NextWorker("text", 0))); !errors.Is(err, os.ErrPermission) || len(r.Records()) != 0 {
		t.Errorf("Put = %v, records %v", err, r.Records())
	}
}

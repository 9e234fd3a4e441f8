package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	lockName = "lock"
	// dirMode lets workers of other users through to their sockets, and not look around.
	dirMode = 0o711
)

// ErrLocked says that another daemon uses the directory.
type ErrLocked struct {
	Dir string
	PID int // of the holder, 0 if it left no pid
}

func (e ErrLocked) Error() string {
	who := "another snakepitd"
	if e.PID != 0 {
		who += fmt.Sprintf(" (pid %d)", e.PID)
	}
	return fmt.Sprintf("%s uses the directory %s: stop it first, or give this one a runtime_dir of its own", who, e.Dir)
}

// takeLock returns the locked file, and whether a daemon has used dir before. The
// lock is the kernel's (flock) and ends with the last holder of the descriptor, so a
// dead daemon never blocks a living one. The file itself stays: were it removed, two
// daemons could hold locks on two files of this name, and it is the witness that dir
// is not new.
func takeLock(dir string) (f *os.File, used bool, err error) {
	path := filepath.Join(dir, lockName)
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
	if errors.Is(err, fs.ErrExist) {
		used = true
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	}
	if err != nil {
		return nil, false, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid := readPID(f)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, false, ErrLocked{Dir: dir, PID: pid}
		}
		return nil, false, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return f, used, nil
}

// writePID leaves our pid for the message of ErrLocked; the lock holds without it.
func writePID(f *os.File) error {
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := f.WriteAt([]byte(pid), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(pid)))
}

func readPID(f *os.File) int {
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0)
	line, _, _ := bytes.Cut(b[:n], []byte("\n"))
	pid, err := strconv.Atoi(string(line))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// makeDir makes dir, or checks that it is safe to use.
func makeDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	made := true
	if err := os.Mkdir(dir, dirMode); errors.Is(err, fs.ErrExist) {
		made = false
	} else if err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("it is not a directory")
	}
	if uid, ok := owner(info); !ok || uid != os.Geteuid() {
		// Its owner could plant a run state that makes us kill what they like.
		return fmt.Errorf("it belongs to uid %d, not to uid %d that snakepitd runs as", uid, os.Geteuid())
	}
	if !made {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		made = len(entries) == 0
	}
	if made {
		return os.Chmod(dir, dirMode) // whatever the umask was
	}
	// What is in use keeps its mode: with runtime_dir = "/run" by mistake, a chmod
	// would shut everybody else out.
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("others may write to it (mode %04o): chmod go-w it, or use a new directory", mode)
	}
	return nil
}

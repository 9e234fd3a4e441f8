package units

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procStat is the part of /proc/PID/stat that tells who descends from whom.
type procStat struct {
	pid, ppid, pgrp, sid int
	start                uint64 // clock ticks since boot
	state                byte
	threads              int
	comm                 string
}

// ident pins a process within one boot.
type ident struct {
	pid   int
	start uint64
}

func (s procStat) ident() ident { return ident{s.pid, s.start} }

// dead is a zombie, or a process on its very last steps. A first thread that
// ended while others run shows as Z too, and is not.
func (s procStat) dead() bool { return s.state == 'X' || s.state == 'Z' && s.threads <= 1 }

func (s procStat) String() string { return fmt.Sprintf("%d %s", s.pid, s.comm) }

// table is one look at all processes; it is not atomic, so whoever needs
// certainty looks again until nothing changes.
type table map[int]procStat

func readTable() (table, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	t := make(table, len(names))
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		if st, err := readStat(pid); err == nil {
			t[pid] = st
		}
	}
	return t, nil
}

// children lists by parent.
func (t table) children() map[int][]procStat {
	kids := make(map[int][]procStat)
	for _, s := range t {
		kids[s.ppid] = append(kids[s.ppid], s)
	}
	return kids
}

func readStat(pid int) (procStat, error) {
	var buf [1024]byte
	n, err := readInto("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	if err != nil {
		return procStat{}, err
	}
	return parseStat(buf[:n])
}

// parseStat copes with a command name that holds blanks and parentheses.
func parseStat(b []byte) (procStat, error) {
	bad := fmt.Errorf("cannot parse process status %q", b)
	open, closed := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 2 || closed < open {
		return procStat{}, bad
	}
	pid, err := strconv.Atoi(string(b[:open-1]))
	if err != nil {
		return procStat{}, bad
	}
	f := strings.Fields(string(b[closed+1:]))
	if len(f) < 20 || len(f[0]) != 1 {
		return procStat{}, bad
	}
	s := procStat{pid: pid, state: f[0][0], comm: string(b[open+1 : closed])}
	for i, to := range []*int{&s.ppid, &s.pgrp, &s.sid} {
		if *to, err = strconv.Atoi(f[1+i]); err != nil {
			return procStat{}, bad
		}
	}
	if s.threads, err = strconv.Atoi(f[17]); err != nil {
		return procStat{}, bad
	}
	if s.start, err = strconv.ParseUint(f[19], 10, 64); err != nil {
		return procStat{}, bad
	}
	return s, nil
}

// readInto reads a small file of /proc with three system calls.
func readInto(path string, buf []byte) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), err
	}
}

package units

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// peerWait is how long a server may take to accept a connection before
	// OwnsConn gives up; there is no event to wait for.
	peerWait = 2 * time.Second
	peerPoll = time.Millisecond // first interval, doubled up to 16 times this
)

// OwnsConn checks that the server end of a connection belongs to a process of
// this worker: over TCP loopback by the socket's inode among the worker's
// descriptors, over a Unix socket by the peer's credentials. A server that has
// not accepted yet gets two seconds.
func (p *Process) OwnsConn(c net.Conn) error {
	var err error
	switch c := c.(type) {
	case *net.UnixConn:
		err = p.ownsUnix(c)
	default:
		err = p.ownsTCP(c)
	}
	if err != nil {
		return fmt.Errorf("connection to %s is not to worker %s: %w", c.RemoteAddr(), p.name, err)
	}
	return nil
}

func (p *Process) ownsUnix(c syscall.Conn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	if cerr := rc.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	if p.Owns(int(cred.Pid)) {
		return nil
	}
	if s, err := readStat(int(cred.Pid)); err == nil {
		return fmt.Errorf("it belongs to process %s (uid %d)", s, cred.Uid)
	}
	return fmt.Errorf("it belongs to process %d (uid %d)", cred.Pid, cred.Uid)
}

func (p *Process) ownsTCP(c net.Conn) error {
	local, lerr := netip.ParseAddrPort(c.LocalAddr().String())
	remote, rerr := netip.ParseAddrPort(c.RemoteAddr().String())
	if lerr != nil || rerr != nil {
		return errors.New("it is neither a TCP nor a Unix connection")
	}
	deadline := time.NewTimer(peerWait)
	defer deadline.Stop()
	for wait := peerPoll; ; wait = min(2*wait, 16*peerPoll) {
		final, err := p.checkPeer(remote, local)
		if err == nil || final {
			return err
		}
		select {
		case <-time.After(wait):
		case <-deadline.C:
			return err
		}
	}
}

// checkPeer looks once; final says that waiting cannot change the answer.
func (p *Process) checkPeer(server, client netip.AddrPort) (final bool, err error) {
	sock, err := findSocket(server, client)
	if err != nil {
		return false, err
	}
	if sock.inode == 0 {
		return false, errors.New("the server has not accepted it")
	}
	members, err := p.members()
	if err != nil {
		return false, err
	}
	hidden := 0
	for _, m := range members {
		has, err := hasSocket(m.pid, sock.inode)
		if has {
			return true, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			hidden++
		}
	}
	if hidden > 0 {
		// Accepted sockets carry the cgroup of the process that made the
		// listener, which the kernel tells anyone.
		return true, p.checkHidden(server, client)
	}
	if s, ok := holder(sock.inode); ok {
		return true, fmt.Errorf("it belongs to process %s (uid %d)", s, sock.uid)
	}
	// Accepted a moment ago and not in the table of descriptors yet, or held
	// by a process that we may not look into.
	return false, fmt.Errorf("no process that can be looked into holds it (uid %d)", sock.uid)
}

// tcpSocket is a row of /proc/net/tcp.
type tcpSocket struct {
	inode uint64 // 0 = not accepted
	uid   int
}

// findSocket finds the server's end. An IPv4 connection may belong to a socket
// of the IPv6 family with mapped addresses, as grpcio makes them.
func findSocket(local, remote netip.AddrPort) (tcpSocket, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	var read error
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				read = err
			}
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] == "0A" { // a listener
				continue
			}
			if a, ok := parseHexAddr(f[1]); !ok || a != local {
				continue
			}
			if a, ok := parseHexAddr(f[2]); !ok || a != remote {
				continue
			}
			inode, err := strconv.ParseUint(f[9], 10, 64)
			if err != nil {
				continue
			}
			uid, _ := strconv.Atoi(f[7])
			return tcpSocket{inode: inode, uid: uid}, nil
		}
	}
	if read != nil {
		return tcpSocket{}, fmt.Errorf("cannot list TCP connections: %w", read)
	}
	return tcpSocket{}, errors.New("the kernel lists no server end of it")
}

// hasSocket looks for a socket among a process's descriptors.
func hasSocket(pid int, inode uint64) (bool, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	want := "socket:[" + strconv.FormatUint(inode, 10) + "]"
	for _, n := range names {
		if to, err := os.Readlink(dir + "/" + n); err == nil && to == want {
			return true, nil
		}
	}
	return false, nil
}

// holder finds a process that holds the socket, for the error's text.
func holder(inode uint64) (procStat, bool) {
	t, err := readTable()
	if err != nil {
		return procStat{}, false
	}
	for pid, s := range t {
		if has, _ := hasSocket(pid, inode); has {
			return s, true
		}
	}
	return procStat{}, false
}

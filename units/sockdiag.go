package units

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	sockDiagByFamily  = 20
	inetDiagCgroupID  = 21
	inetDiagReqSize   = 56 // sizeof(struct inet_diag_req_v2)
	inetDiagReplySize = 72 // sizeof(struct inet_diag_msg)
)

// checkHidden decides by the cgroup that the kernel knows of a socket, for a
// worker of another uid whose descriptors may not be read.
func (p *Process) checkHidden(server, client netip.AddrPort) error {
	if p.group == nil {
		return errors.New("the worker's descriptors may not be read, and it has no cgroup to compare")
	}
	id, err := socketCGroup(server, client)
	if err != nil {
		return fmt.Errorf("the worker's descriptors may not be read, and the socket's cgroup is not known: %w", err)
	}
	f, err := statFile(p.group.dir)
	if err != nil {
		return err
	}
	if id != f.ino { // a cgroup's id is its directory's inode
		return fmt.Errorf("its listener was made in another cgroup (id %d, the worker's is %d)", id, f.ino)
	}
	return nil
}

// socketCGroup asks sock_diag for the one socket with these ends.
func socketCGroup(local, remote netip.AddrPort) (uint64, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	tv := unix.Timeval{Sec: 1}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if err := unix.Sendto(fd, diagRequest(local, remote), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	buf := make([]byte, 8192)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return 0, err
	}
	return parseDiag(buf[:n])
}

func diagRequest(local, remote netip.AddrPort) []byte {
	ne := binary.NativeEndian
	b := make([]byte, unix.NLMSG_HDRLEN+inetDiagReqSize)
	ne.PutUint32(b[0:], uint32(len(b)))
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST)
	r := b[unix.NLMSG_HDRLEN:]
	l, rem := local.Addr().Unmap(), remote.Addr().Unmap()
	r[0] = unix.AF_INET6
	if l.Is4() {
		r[0] = unix.AF_INET // finds a mapped IPv6 socket too
	}
	r[1] = unix.IPPROTO_TCP
	ne.PutUint32(r[4:], 0xffffffff) // any state
	// The kernel looks up from the socket's own side: source is local.
	binary.BigEndian.PutUint16(r[8:], local.Port())
	binary.BigEndian.PutUint16(r[10:], remote.Port())
	copy(r[12:28], l.AsSlice())
	copy(r[28:44], rem.AsSlice())
	ne.PutUint64(r[48:], 0xffffffffffffffff) // no cookie
	return b
}

func parseDiag(b []byte) (uint64, error) {
	ne := binary.NativeEndian
	if len(b) < unix.NLMSG_HDRLEN+4 {
		return 0, errors.New("short answer of sock_diag")
	}
	if ne.Uint16(b[4:]) == unix.NLMSG_ERROR {
		return 0, unix.Errno(-int32(ne.Uint32(b[unix.NLMSG_HDRLEN:])))
	}
	b = b[:min(len(b), int(ne.Uint32(b)))]
	if len(b) < unix.NLMSG_HDRLEN+inetDiagReplySize {
		return 0, errors.New("short answer of sock_diag")
	}
	for a := b[unix.NLMSG_HDRLEN+inetDiagReplySize:]; len(a) >= 4; {
		size, kind := int(ne.Uint16(a)), ne.Uint16(a[2:])
		if size < 4 || size > len(a) {
			break
		}
		if kind == inetDiagCgroupID && size >= 12 {
			return ne.Uint64(a[4:]), nil
		}
		a = a[min(len(a), (size+3)&^3):]
	}
	return 0, errors.New("the kernel does not tell a socket's cgroup")
}

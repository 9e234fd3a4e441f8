package units

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	notifySize  = 4096 // longest datagram in bytes, systemd's own limit
	sunPathSize = 107  // longest path of a Unix socket in bytes
)

// Message is one sd_notify datagram. PID and UID are the kernel's word, the
// fields the sender's. Of a field that repeats the last is kept.
type Message struct {
	PID, UID int
	Fields   map[string]string
}

// NotifySocket is the daemon's own NOTIFY_SOCKET for its workers. Anybody may
// write to it (mode 0666): the receiver has to check Message.PID.
type NotifySocket struct {
	path string
	conn *net.UnixConn
	log  *slog.Logger

	warned  time.Time // last warning, so that a stranger cannot flood the log
	dropped int       // datagrams since then
}

// ListenNotify binds path; a socket file that is there already is replaced.
func ListenNotify(path string, log *slog.Logger) (*NotifySocket, error) {
	if len(path) > sunPathSize {
		return nil, fmt.Errorf("cannot listen on %s: a socket's path has at most %d bytes, this one has %d", path, sunPathSize, len(path))
	}
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() == os.ModeSocket {
		_ = os.Remove(path)
	}
	// Credentials are switched on before anybody can send.
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		if cerr := rc.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), "unixgram", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		_ = pc.Close()
		_ = os.Remove(path)
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &NotifySocket{path: path, conn: pc.(*net.UnixConn), log: log}, nil
}

// Serve hands every well-formed datagram to handle, one at a time, until
// Close. Others are dropped with a warning.
func (n *NotifySocket) Serve(handle func(Message)) error {
	buf, oob := make([]byte, notifySize+1), make([]byte, 1024)
	for {
		nb, noob, flags, _, err := n.conn.ReadMsgUnix(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot receive notifications: %w", err)
		}
		m, err := n.message(buf[:nb], oob[:noob], flags)
		if err != nil {
			n.warn(m, err)
			continue
		}
		handle(m)
	}
}

func (n *NotifySocket) message(b, oob []byte, flags int) (Message, error) {
	m := sender(oob)
	if flags&unix.MSG_TRUNC != 0 || len(b) > notifySize {
		return m, fmt.Errorf("longer than %d bytes", notifySize)
	}
	if m.PID == 0 {
		return m, errors.New("no credentials of the sender")
	}
	fields, err := parseNotify(b)
	m.Fields = fields
	return m, err
}

// sender reads the credentials, and closes descriptors that came along.
func sender(oob []byte) Message {
	var m Message
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return m
	}
	for i := range msgs {
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
		if c, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			m.PID, m.UID = int(c.Pid), int(c.Uid)
		}
	}
	return m
}

// parseNotify reads KEY=VALUE lines.
func parseNotify(b []byte) (map[string]string, error) {
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return nil, errors.New("not a text")
	}
	fields := make(map[string]string)
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		key, value, ok := bytes.Cut(line, []byte{'='})
		if !ok || len(key) == 0 {
			return nil, errors.New("a line is not KEY=VALUE")
		}
		fields[string(key)] = string(value)
	}
	if len(fields) == 0 {
		return nil, errors.New("empty")
	}
	return fields, nil
}

func (n *NotifySocket) warn(m Message, err error) {
	n.dropped++
	if now := time.Now(); now.Sub(n.warned) >= time.Second {
		n.log.Warn("notification dropped", "pid", m.PID, "uid", m.UID, "error", err, "dropped", n.dropped)
		n.warned, n.dropped = now, 0
	}
}

// Close ends Serve and removes the socket file.
func (n *NotifySocket) Close() error {
	err := n.conn.Close()
	_ = os.Remove(n.path)
	return err
}

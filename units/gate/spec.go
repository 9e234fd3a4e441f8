// Package gate is what the daemon and the small held child, the gate, say to
// each other. The daemon forks cmd/snakepit-gate, records the process, and
// only then sends the Spec over the socket that the child has as FD; the child
// becomes the worker. Nothing of a Spec is ever in the child's arguments or
// environment.
//
// The package imports nothing but errors, strconv and syscall: its weight is
// paid by every start of a worker.
package gate

import (
	"errors"
	"strconv"
)

// FD is the descriptor on which the gate finds its socket.
const FD = 3

// ExitUnopened is the exit status of a gate that ran nothing: the daemon hung
// up before, or a step before the exec failed.
const ExitUnopened = 125

// MaxSpec is the largest encoded Spec in bytes. The kernel takes about 2 MiB
// of arguments and environment; a Spec beyond this cannot be run anyway.
const MaxSpec = 8 << 20

const magic = "snakepit-gate/1"

// Spec is what the gate has to become.
type Spec struct {
	Parent     int      // pid of the daemon; the gate gives up when it is not its parent
	CGroup     string   // path as in /proc/self/cgroup ("/a/b"); "" = not checked
	Umask      int      // file mode creation mask
	Dir        string   // working directory, "" = leave
	Path       string   // absolute path of the program
	Credential bool     // whether UID, GID and Groups are to be taken
	UID, GID   int      // ids of the worker
	Groups     []int    // supplementary groups
	Argv       []string // argument vector, Argv[0] included
	Env        []string // the whole environment
}

// ErrSpec says that the bytes are not an encoded Spec.
var ErrSpec = errors.New("not a spec of this gate's version")

// Encode gives the wire form: four bytes of length, big endian, then fields
// that each end in NUL. No field can hold a NUL since the kernel's strings
// cannot either; bytes that are not UTF-8 pass through unchanged, which JSON
// would not grant.
func (s Spec) Encode() ([]byte, error) {
	b := make([]byte, 4, 4096)
	bad := false
	str := func(v string) {
		for i := 0; i < len(v); i++ {
			if v[i] == 0 {
				bad = true
			}
		}
		b = append(append(b, v...), 0)
	}
	num := func(v int) { str(strconv.Itoa(v)) }
	list := func(v []string) {
		num(len(v))
		for _, e := range v {
			str(e)
		}
	}
	str(magic)
	num(s.Parent)
	str(s.CGroup)
	num(s.Umask)
	str(s.Dir)
	str(s.Path)
	if s.Credential {
		num(1)
	} else {
		num(0)
	}
	num(s.UID)
	num(s.GID)
	num(len(s.Groups))
	for _, g := range s.Groups {
		num(g)
	}
	list(s.Argv)
	list(s.Env)
	if bad {
		return nil, errors.New("a NUL byte in path, directory, arguments or environment")
	}
	n := len(b) - 4
	if n > MaxSpec {
		return nil, errors.New("arguments and environment have " + strconv.Itoa(n) + " bytes, at most " + strconv.Itoa(MaxSpec) + " can be passed")
	}
	b[0], b[1], b[2], b[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return b, nil
}

// Decode reads the fields that follow the four bytes of length.
func Decode(b []byte) (Spec, error) {
	var s Spec
	d := decoder{rest: b, ok: true}
	if d.str() != magic {
		return Spec{}, ErrSpec
	}
	s.Parent = d.num()
	s.CGroup = d.str()
	s.Umask = d.num()
	s.Dir = d.str()
	s.Path = d.str()
	s.Credential = d.num() == 1
	s.UID = d.num()
	s.GID = d.num()
	for range d.count() {
		s.Groups = append(s.Groups, d.num())
	}
	s.Argv = d.list()
	s.Env = d.list()
	if !d.ok || len(d.rest) != 0 {
		return Spec{}, ErrSpec
	}
	return s, nil
}

type decoder struct {
	rest []byte
	ok   bool
}

func (d *decoder) str() string {
	for i, c := range d.rest {
		if c == 0 {
			v := string(d.rest[:i])
			d.rest = d.rest[i+1:]
			return v
		}
	}
	d.ok = false
	d.rest = nil
	return ""
}

func (d *decoder) num() int {
	n, err := strconv.Atoi(d.str())
	if err != nil {
		d.ok = false
	}
	return n
}

// count reads a number of fields to come; each takes a byte at least, so that
// a wild number cannot make the gate loop or allocate.
func (d *decoder) count() int {
	n := d.num()
	if n < 0 || n > len(d.rest) {
		d.ok = false
		return 0
	}
	return n
}

func (d *decoder) list() []string {
	n := d.count()
	if n == 0 {
		return nil
	}
	v := make([]string, 0, n)
	for range n {
		v = append(v, d.str())
	}
	return v
}

package units

import (
	"bytes"
	"sync"
)

// tailSize is how much of a worker's output is kept, in bytes.
const tailSize = 8 << 10

// Tail is a writer that keeps the last 8 KiB. Its zero value is ready; it may
// be read while it is written to.
type Tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool // something before buf was dropped
}

// Write never fails.
func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	if n > tailSize {
		b, t.cut = b[n-tailSize:], true
	}
	if over := len(t.buf) + len(b) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
	t.buf = append(t.buf, b...)
	return n, nil
}

// String gives the kept lines, whole ones: what is left of a line whose
// beginning was dropped is left out, unless it is all there is.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		if i := bytes.IndexByte(t.buf, '\n'); i >= 0 && i < len(t.buf)-1 {
			return string(t.buf[i+1:])
		}
	}
	return string(t.buf)
}

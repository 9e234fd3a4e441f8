package gate

import (
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpecSurvives(t *testing.T) {
	want := Spec{
		Parent: 7, CGroup: "/a/b", Umask: 0o27, Dir: "/", Path: "/bin/x", Credential: true, UID: 1, GID: 2,
		Groups: []int{3, 4}, Argv: []string{"x", "", "\xff"}, Env: []string{"A=\xfe\n"},
	}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b[4:])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := (Spec{Path: "a\x00b"}).Encode(); err == nil {
		t.Error("a NUL was taken")
	}
	if _, err := (Spec{Dir: strings.Repeat("x", MaxSpec)}).Encode(); err == nil {
		t.Error("a huge spec was taken")
	}
}

func TestReplies(t *testing.T) {
	b := append(Reply{Stage: StageRunning}.Encode(), Reply{Stage: StageExec, Errno: syscall.ENOENT}.Encode()...)
	running, failed, err := DecodeReplies(b)
	if !running || failed == nil || failed.Errno != syscall.ENOENT || err != nil {
		t.Error(running, failed, err)
	}
	if _, _, err := DecodeReplies([]byte("hello\n")); err == nil {
		t.Error("garbage was taken")
	}
}

func FuzzDecode(f *testing.F) {
	b, err := Spec{Argv: []string{"x"}, Env: []string{"A=1"}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(again[4:]); err != nil || !cmp.Equal(s, got) {
			t.Errorf("%v, %v", got, err)
		}
		_, _, _ = DecodeReplies(b)
	})
}

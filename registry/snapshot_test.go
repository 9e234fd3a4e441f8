package registry

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSnapshotIsReadAsWritten(t *testing.T) {
	want := state{
		RunID: "abcdefgh", Floor: 3, Generations: map[string]int{"text-0": 7, "a_1-12": 4},
		Records: []Record{{Worker: WorkerID{"text", 0, 7}, RunID: "x<&>\u2028", State: StateStarting, Socket: "/run/s n/ü.sock"}},
	}
	data, err := encode(want, "boot")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(data, "boot")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSnapshotAnyFlippedByteIsSeen(t *testing.T) {
	data := snapshotOf(t, "boot")
	want, err := decode(data, "boot")
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x01
		// White space, and the case of a key, say nothing: the content must be the same.
		if got, err := decode(bad, "boot"); err == nil && !cmp.Equal(want, got) {
			t.Errorf("byte %d (%q) can be changed unseen", i, data[i])
		}
	}
}

func TestTooManyRecordsAreRefused(t *testing.T) {
	s := state{Records: []Record{{Worker: WorkerID{"text", 0, 1}, Socket: strings.Repeat("x", maxSnapshot)}}}
	if _, err := encode(s, "boot"); err == nil {
		t.Error("a snapshot was written that no reader takes")
	}
}

func FuzzRunState(f *testing.F) {
	good := snapshotOf(f, "boot")
	f.Add(good)
	f.Add(good[:len(good)-9])
	f.Add(snapshotOf(f, "other"))
	for _, s := range []string{"", "null", "[]", "{}", `{"schema":1}`, `{"schema":2}`, `{"schema":1,"boot_id":"boot","state":null}`, `{"schema":1,"boot_id":"boot","state":{"records":[null]}}`, "\x00"} {
		f.Add([]byte(s))
	}
	check := func(t *testing.T, s state, err error) {
		var d distrust
		if err != nil {
			if !errors.As(err, &d) || d.reason == "" {
				t.Fatalf("%v has no reason", err)
			}
			return
		}
		data, err := encode(s, "boot")
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := decode(data, "boot")
		if err != nil || !cmp.Equal(s, again) {
			t.Fatalf("read again: %v\n%s", err, cmp.Diff(s, again))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decode(data, "boot")
		check(t, s, err)
		// The same bytes as a state with a right checksum: a fuzzer cannot guess one.
		e := envelope{Schema: schema, BootID: "boot", State: data}
		if sum, err := e.sum(); err == nil {
			e.Checksum = sum
			s, err := decodeState(e, "boot")
			check(t, s, err)
		}
	})
}

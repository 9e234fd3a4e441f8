package registry

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRecordsOutliveTheDaemon(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "snakepit")
	r := mustOpen(t, dir)
	if len(r.Leftovers()) != 0 || len(r.Records()) != 0 || r.SetAside() != "" {
		t.Fatal("a new directory is not empty")
	}
	first, second := record(r.NextWorker("text", 0)), record(r.NextWorker("text", 1))
	if first.Worker.String() != "text-0-1" {
		t.Errorf("the first worker is %s", first.Worker)
	}
	for _, rec := range []Record{second, first} {
		if err := r.Put(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	r = mustOpen(t, dir)
	want := []Record{first, second}
	if diff := cmp.Diff(want, r.Leftovers()); diff != "" {
		t.Error(diff)
	}
	if got := r.NextWorker("text", 0).String(); got != "text-0-2" {
		t.Errorf("next is %s; want text-0-2", got)
	}
	if err := r.Put(second); err != nil { // taken over: no leftover any more
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[:1], r.Leftovers()); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		if err := r.Remove(first.Worker); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Leftovers()) != 0 {
		t.Error("a removed leftover is still one")
	}
	if diff := cmp.Diff(want[1:], r.Records()); diff != "" {
		t.Error(diff)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Put(first); !errors.Is(err, ErrClosed) {
		t.Errorf("Put after Close: %v", err)
	}
	if err := r.Remove(first.Worker); !errors.Is(err, ErrClosed) {
		t.Errorf("Remove after Close: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestDirectory(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "run")
	mustOpen(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("mode %v, %v; want 0711", info.Mode(), err)
	}

	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := Open(shared, NewRunID(), discard())
	if err == nil || !strings.Contains(err.Error(), "others may write to it (mode 0777)") {
		t.Errorf("Open of a shared directory: %v", err)
	}
	if info, _ := os.Stat(shared); info.Mode().Perm() != 0o777 {
		t.Errorf("its mode was changed to %v", info.Mode())
	}
	file := filepath.Join(shared, "lock")
	if _, err := Open(file, NewRunID(), discard()); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	daemon := holder(t, dir)
	_, err := Open(dir, NewRunID(), discard())
	var locked ErrLocked
	if !errors.As(err, &locked) || locked.PID != daemon.Process.Pid || locked.Dir != dir {
		t.Fatalf("Open = %v; want ErrLocked with pid %d", err, daemon.Process.Pid)
	}
	for _, word := range []string{dir, fmt.Sprint("pid ", daemon.Process.Pid), "stop it"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}

	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	daemon.Wait()
	r := mustOpen(t, dir)
	if left := r.Leftovers(); len(left) != 1 || left[0].Worker.String() != "text-0-1" {
		t.Errorf("after SIGKILL the leftovers are %v", left)
	}
	// The same within one process.
	if _, err := Open(dir, NewRunID(), discard()); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("a second Open: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir)
}

func TestPutRefusesBadRecords(t *testing.T) {
	r := mustOpen(t, t.TempDir())
	id := WorkerID{"text", 0, 1}
	for name, spoil := range map[string]func(*Record){
		"pool":       func(rec *Record) { rec.Worker.Pool = "te-xt" },
		"generation": func(rec *Record) { rec.Worker.Generation = 0 },
		"state":      func(rec *Record) { rec.State = "" },
		"pid 0":      func(rec *Record) { rec.PID = 0 },
		"pid 1":      func(rec *Record) { rec.PID = 1 },
		"port":       func(rec *Record) { rec.Port = 65536 },
		"cgroup":     func(rec *Record) { rec.CGroup = "relative" },
		"dots":       func(rec *Record) { rec.CGroup = "/sys/fs/cgroup/x/../.." },
		"not UTF-8":  func(rec *Record) { rec.Socket = "/run/\xff" },
	} {
		rec := record(id)
		spoil(&rec)
		if err := r.Put(rec); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if len(r.Records()) != 0 {
		t.Error("a refused record is kept")
	}
}

func TestBadSnapshotIsSetAside(t *testing.T) {
	good := snapshotOf(t, "thisboot")
	for name, c := range map[string]struct {
		reason string
		write  func(path string) error
	}{
		"empty":      {reasonCorrupt, content(nil)},
		"torn":       {reasonCorrupt, content(good[:len(good)/2])},
		"edited":     {reasonCorrupt, content(bytes.Replace(good, []byte("4711"), []byte("4712"), 1))},
		"other boot": {reasonOtherBoot, content(snapshotOf(t, "otherboot"))},
		"newer":      {reasonNewer, content([]byte(`{"schema": 2, "anything": {}}`))},
		"foreign":    {reasonForeign, content([]byte(`{"name": "left-pad"}`))},
		"too large":  {reasonTooLarge, content(make([]byte, maxSnapshot+1))},
		"directory":  {reasonForeign, func(path string) error { return os.Mkdir(path, 0o700) }},
		"link":       {reasonForeign, func(path string) error { return os.Symlink("/etc/passwd", path) }},
		"fifo":       {reasonForeign, func(path string) error { return syscall.Mkfifo(path, 0o600) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.write(filepath.Join(dir, snapshotName)); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			now := time.Date(2026, time.November, 23, 11, 0, 0, 0, time.UTC)
			r, err := open(dir, "run", "thisboot", now, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if len(r.Records()) != 0 {
				t.Errorf("it was trusted: %v", r.Records())
			}
			want := filepath.Join(dir, snapshotName+"."+c.reason+"-20261123T110000.000000000Z")
			if r.SetAside() != want {
				t.Errorf("SetAside() = %s; want %s", r.SetAside(), want)
			}
			if _, err := os.Lstat(want); err != nil {
				t.Error(err)
			}
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "reason="+c.reason) {
				t.Errorf("the log does not warn with the reason:\n%s", log.String())
			}
			id := r.NextWorker("text", 0)
			if id.Generation < 28_000_000 {
				t.Errorf("next is %s, which may have been before", id)
			}
			if err := r.Put(record(id)); err != nil {
				t.Error(err)
			}
		})
	}
}

func content(data []byte) func(string) error {
	return func(path string) error { return os.WriteFile(path, data, 0o600) }
}

func snapshotOf(t testing.TB, bootID string) []byte {
	t.Helper()
	data, err := encode(state{RunID: "abcdefgh", Generations: map[string]int{"text-0": 7}, Records: []Record{record(WorkerID{"text", 0, 7})}}, bootID)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSetAsideIsBounded(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, time.November, 23, 11, 0, 0, 0, time.UTC)
	other := filepath.Join(dir, snapshotName+".mine-20200101T000000.000000000Z")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var newest string
	for i := range 3 * maxAside {
		bad := []byte(`{"schema": 99}`) // two reasons by turns: it is time that counts
		if i%2 == 0 {
			bad = nil
		}
		if err := os.WriteFile(filepath.Join(dir, snapshotName), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := open(dir, "run", "boot", now.Add(time.Duration(i)*time.Second), discard())
		if err != nil {
			t.Fatal(err)
		}
		newest = r.SetAside()
		r.Close()
	}
	kept, _ := filepath.Glob(filepath.Join(dir, snapshotName+".*-*"))
	if len(kept) != maxAside+1 {
		t.Errorf("kept %d: %v", len(kept), kept)
	}
	for _, path := range []string{newest, other} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestGenerationsNeverRepeat(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		now := time.Date(2026, time.November, 23, 11, 0, 0, 0, time.UTC)
		boot := func() *Registry {
			r, err := open(dir, "run", "boot", now, discard())
			if err != nil {
				rt.Fatal(err)
			}
			return r
		}
		r := boot()
		defer func() { r.Close() }()
		model, used := make(map[WorkerID]Record), make(map[WorkerID]bool)
		slot := rapid.IntRange(0, 2)
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				rec := record(r.NextWorker("text", slot.Draw(t, "slot")))
				if used[rec.Worker] {
					t.Fatalf("%s came twice", rec.Worker)
				}
				used[rec.Worker] = true
				now = now.Add(time.Second) // a slot has less than one a second
				if err := r.Put(rec); err != nil {
					t.Fatal(err)
				}
				model[rec.Worker] = rec
			},
			"remove": func(t *rapid.T) {
				for id := range model {
					if err := r.Remove(id); err != nil {
						t.Fatal(err)
					}
					delete(model, id)
					return
				}
			},
			"named only": func(t *rapid.T) { used[r.NextWorker("text", slot.Draw(t, "slot"))] = true; now = now.Add(time.Second) },
			"restart": func(t *rapid.T) {
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				r = boot()
			},
			"crash": func(*rapid.T) {
				r.lock.Close() // nothing else is written
				r = boot()
				for id := range used { // named only: no process had it
					if r.generations[id.SlotName()] < id.Generation {
						delete(used, id)
					}
				}
			},
			"lost": func(*rapid.T) {
				r.Close()
				os.Remove(filepath.Join(dir, snapshotName))
				clear(model)
				r = boot()
			},
			"": func(t *rapid.T) {
				if diff := cmp.Diff(sorted(model), r.Records()); diff != "" {
					t.Fatal(diff)
				}
			},
		})
	})
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	r := mustOpen(t, dir)
	var wg sync.WaitGroup
	for slot := range 8 {
		wg.Go(func() {
			for range 10 {
				rec := record(r.NextWorker("text", slot))
				if err := errors.Join(r.Put(rec), r.Remove(rec.Worker), r.Put(rec)); err != nil {
					t.Error(err)
				}
				r.Records()
			}
		})
	}
	wg.Wait()
	want := r.Records()
	r.Close()
	if diff := cmp.Diff(want, mustOpen(t, dir).Leftovers()); diff != "" || len(want) != 80 {
		t.Errorf("%d records; %s", len(want), diff)
	}
}

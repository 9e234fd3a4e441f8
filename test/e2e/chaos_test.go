package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/snakepitd/snakepitd/test/daemontest"
	"github.com/snakepitd/snakepitd/test/textpool"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// tally counts the answers of one kind of call.
type tally struct{ ok, typed, other atomic.Int64 }

func (c *tally) add(t *testing.T, id string, reply *textpool.AnalyzeReply, err error) {
	switch {
	case err == nil && reply.GetId() == id && reply.GetName() == id:
		c.ok.Add(1)
	case err == nil:
		c.other.Add(1)
		t.Errorf("%s got the reply of %s", id, reply.GetId())
	case reason(err) != "":
		c.typed.Add(1)
	default:
		c.other.Add(1)
		t.Errorf("%s got an error that is not typed: %v", id, err)
	}
}

func (c *tally) share() float64 {
	return float64(c.ok.Load()) / float64(max(1, c.ok.Load()+c.typed.Load()+c.other.Load()))
}

// footprint is what must be where it was: files of the runtime directory,
// descriptors and children of the daemon, its goroutines.
type footprint struct {
	files                     []string
	fds, children, goroutines int
}

func measure(t *testing.T, d *daemontest.Daemon) footprint {
	t.Helper()
	var f footprint
	err := filepath.WalkDir(d.Dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !strings.HasPrefix(filepath.Base(path), "matplotlib") {
			f.files = append(f.files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(f.files)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	f.fds = len(fds)
	f.children = len(children(t, d.Cmd.Process.Pid))
	st, err := d.Control.Status(t.Context(), &snakepitv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	f.goroutines = int(st.GetDaemon().GetGoroutines())
	return f
}

// children are the processes whose parent is pid, zombies included.
func children(t *testing.T, pid int) (pids []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, after, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(after); len(f) > 1 && f[1] == fmt.Sprint(pid) {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	return pids
}

// storm runs callers against the pool for the given time while it is disturbed at
// every tick.
func storm(t *testing.T, d *daemontest.Daemon, callers int, every, lasts time.Duration, disturb func()) (idempotent, plain *tally) {
	t.Helper()
	idempotent, plain = &tally{}, &tally{}
	client := textpool.NewTextClient(dial(t, d))
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d/%d", c, i)
				call, done := context.WithTimeout(t.Context(), 20*time.Second) // its answer is awaited even after the storm
				to := plain
				if (c+i)%2 == 0 {
					to = idempotent
					call = metadata.AppendToOutgoingContext(call, "snakepit-idempotent", "1")
				}
				reply, err := client.Analyze(call, &textpool.AnalyzeRequest{Id: id, Name: id, Text: "a storm is coming"})
				done()
				to.add(t, id, reply, err)
			}
		})
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			disturb()
		}
	}
	wg.Wait()
	return idempotent, plain
}

func killOne(t *testing.T, d *daemontest.Daemon) {
	t.Helper()
	p, err := d.Pool(t.Context(), "text")
	if err != nil {
		t.Fatal(err)
	}
	var ready []int
	for _, s := range p.GetSlots() {
		if s.GetState() == "ready" {
			ready = append(ready, int(s.GetPid()))
		}
	}
	if len(ready) > 0 {
		syscall.Kill(ready[rand.IntN(len(ready))], syscall.SIGKILL)
	}
}

// TestOneKillASecond: nearly every call that may be repeated succeeds, every other
// one gets exactly one answer or one typed error, and nothing is left behind.
func TestOneKillASecond(t *testing.T) {
	lasts := 8 * time.Second
	if long() {
		lasts = 60 * time.Second
	}
	d := start(t, daemontest.TextPool(repo(), 4, ""))
	awaitPool(t, d, "text", daemontest.AllReady)
	storm(t, d, 8, time.Hour, time.Second, nil) // warm up: connections, caches
	before := measure(t, d)
	idempotent, plain := storm(t, d, 8, time.Second, lasts, func() { killOne(t, d) })
	p := awaitPool(t, d, "text", daemontest.AllReady)
	t.Logf("idempotent: %d ok, %d typed errors; plain: %d ok, %d typed errors; %d deaths, %d calls",
		idempotent.ok.Load(), idempotent.typed.Load(), plain.ok.Load(), plain.typed.Load(), p.GetDeaths(), p.GetCalls())
	if share := idempotent.share(); share < 0.99 {
		t.Errorf("%.2f %% of the idempotent calls succeeded, want at least 99 %%", 100*share)
	}
	if min := uint64(lasts/time.Second) / 2; p.GetDeaths() < min {
		t.Errorf("only %d workers died: this was no storm", p.GetDeaths())
	}
	if p.GetUnexpectedEvents() != 0 {
		t.Errorf("%d unexpected events", p.GetUnexpectedEvents())
	}
	settled(t, d, before)
}

// TestRestartUnderLoad: a worker that is told to stop, by a person through the daemon
// or by a stranger's SIGTERM, costs callers nothing but typed errors.
func TestRestartUnderLoad(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 3, ""))
	awaitPool(t, d, "text", daemontest.AllReady)
	turn := 0
	idempotent, plain := storm(t, d, 8, 700*time.Millisecond, 6*time.Second, func() {
		switch turn++; turn % 3 {
		case 0:
			restart(t, d, "text", false)
		case 1:
			restart(t, d, "text-0", true)
		case 2:
			p, err := d.Pool(t.Context(), "text")
			if err != nil {
				t.Fatal(err)
			}
			if pid := int(p.GetSlots()[1].GetPid()); pid > 1 {
				syscall.Kill(pid, syscall.SIGTERM)
			}
		}
	})
	t.Logf("idempotent: %d ok, %d typed errors; plain: %d ok, %d typed errors", idempotent.ok.Load(), idempotent.typed.Load(), plain.ok.Load(), plain.typed.Load())
	if share := idempotent.share(); share < 0.99 {
		t.Errorf("%.2f %% of the idempotent calls succeeded, want at least 99 %%", 100*share)
	}
}

// settled waits until the daemon's footprint is what it was before.
func settled(t *testing.T, d *daemontest.Daemon, before footprint) {
	t.Helper()
	var after footprint
	defer func() {
		if t.Failed() {
			t.Logf("before: %+v\nafter: %+v", before, after)
		}
	}()
	eventually(t, "files, descriptors, children and goroutines are where they were", func() bool {
		after = measure(t, d)
		return fmt.Sprint(after.files) == fmt.Sprint(before.files) && after.fds <= before.fds+1 &&
			after.children == before.children && after.goroutines <= before.goroutines+3
	})
}

// TestTenKillsASecond: the pool becomes failed and says so to callers at once, with
// the cause; it recovers by itself.
func TestTenKillsASecond(t *testing.T) {
	if !long() {
		t.Skip("takes the 30 s of the cool-down: make test-all")
	}
	d := start(t, daemontest.TextPool(repo(), 4, ""))
	awaitPool(t, d, "text", daemontest.AllReady)
	before := measure(t, d)
	client := textpool.NewTextClient(dial(t, d))
	failed := func(p *snakepitv1.Pool) bool { return p.GetState() == "failed" }
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	eventually(t, "the pool becomes failed", func() bool {
		<-tick.C
		killOne(t, d)
		p, err := d.Pool(t.Context(), "text")
		return err == nil && failed(p)
	})
	began := time.Now()
	_, err := client.Analyze(within(t, 20*time.Second), &textpool.AnalyzeRequest{})
	if status.Code(err) != codes.Unavailable || reason(err) != "NO_WORKER" || !strings.Contains(err.Error(), "crash loop") || !strings.Contains(err.Error(), "SIGKILL") {
		t.Errorf("the caller got %v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the caller waited %s", took)
	}
	awaitPool(t, d, "text", daemontest.AllReady)
	if _, err := client.Analyze(within(t, 20*time.Second), &textpool.AnalyzeRequest{}); err != nil {
		t.Errorf("after the cool-down: %v", err)
	}
	settled(t, d, before)
}

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/snakepitd/snakepitd/test/daemontest"
	"github.com/snakepitd/snakepitd/test/textpool"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// ready waits for the pool and shows it.
func (s *show) ready(ctx context.Context, began time.Time) error {
	pool, err := s.daemon.AwaitPool(ctx, "text", daemontest.AllReady)
	if err != nil {
		return err
	}
	var ports []string
	for _, slot := range pool.GetSlots() {
		ports = append(ports, strconv.Itoa(int(slot.GetPort())))
	}
	fmt.Println("\na pool of warm Python workers")
	s.claim(int(pool.GetReady()) == workers, "%d workers ready in %.2f s on ports %s", pool.GetReady(), time.Since(began).Seconds(), strings.Join(ports, " "))
	st, err := s.daemon.Control.Status(ctx, &snakepitv1.StatusRequest{})
	if err != nil {
		return err
	}
	for _, line := range st.GetDaemon().GetNotGuaranteed() {
		fmt.Printf("      off without systemd: %s\n", line)
	}
	return nil
}

// licences sends every licence text of the machine through the pool.
func (s *show) licences(ctx context.Context, conn *grpc.ClientConn) error {
	files, err := filepath.Glob("/usr/share/common-licenses/*")
	if err != nil || len(files) == 0 {
		return fmt.Errorf("there are no licence texts in /usr/share/common-licenses: %w", err)
	}
	client := textpool.NewTextClient(conn)
	replies := make([]*textpool.AnalyzeReply, len(files))
	errs := make([]error, len(files))
	work := make(chan int)
	var wg sync.WaitGroup
	began := time.Now()
	for range callers {
		wg.Go(func() {
			for i := range work {
				text, err := os.ReadFile(files[i])
				if err == nil {
					replies[i], err = client.Analyze(ctx, &textpool.AnalyzeRequest{Name: filepath.Base(files[i]), Text: string(text), Id: strconv.Itoa(i)})
				}
				errs[i] = err
			}
		})
	}
	for i := range files {
		work <- i
	}
	close(work)
	wg.Wait()
	took := time.Since(began)

	ok, right := 0, 0
	byWorker := map[string]int{}
	for i, r := range replies {
		if errs[i] != nil {
			fmt.Printf("      %s: %v\n", files[i], errs[i])
			continue
		}
		ok++
		if r.GetId() == strconv.Itoa(i) && r.GetName() == filepath.Base(files[i]) {
			right++
		}
		byWorker[r.GetWorker()]++
	}
	fmt.Printf("\n%d licence texts from /usr/share/common-licenses, %d callers\n", len(files), callers)
	s.claim(ok == len(files), "%d calls, %d ok, in %.0f ms", len(files), ok, float64(took.Microseconds())/1000)
	s.claim(right == len(files), "every reply reached the caller that asked (%d ids checked)", right)
	s.claim(len(byWorker) > 1, "%d workers shared the work", len(byWorker))
	table(replies)
	return nil
}

func table(replies []*textpool.AnalyzeReply) {
	sort.Slice(replies, func(i, j int) bool { return replies[i].GetWords() > replies[j].GetWords() })
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "      NAME\tWORDS\tSENTENCES\tGRADE\tFAMILY\tTOP WORDS\tWORKER")
	for _, r := range replies {
		var top []string
		for i, t := range r.GetTopWords() {
			if i < 3 {
				top = append(top, t.GetWord())
			}
		}
		fmt.Fprintf(w, "      %s\t%d\t%d\t%.1f\t%s\t%s\t%s\n", r.GetName(), r.GetWords(), r.GetSentences(), r.GetReadingGrade(), r.GetLicence(), strings.Join(top, " "), r.GetWorker())
	}
	w.Flush()
}

// kill kills a worker in the middle of two calls, of which one may be repeated.
func (s *show) kill(ctx context.Context, conn *grpc.ClientConn) error {
	fmt.Println("\nSIGKILL of a worker in the middle of a call")
	plain, err := s.begin(ctx, conn, &textpool.NapRequest{Seconds: 20, SpawnGrandchild: true}, false)
	if err != nil {
		return err
	}
	pool, err := s.daemon.Pool(ctx, "text")
	if err != nil {
		return err
	}
	port := slotOf(pool, plain.worker).GetPort()
	if err := killProcess(plain.pid); err != nil {
		return err
	}
	killed := time.Now()
	_, err = plain.wait()
	took := time.Since(killed)
	st := status.Convert(err)
	info := errorInfo(st)
	s.claim(st.Code() == codes.Unavailable && info.GetReason() == "WORKER_DIED",
		"its caller got %s after %.1f ms: %s", st.Code(), float64(took.Microseconds())/1000, st.Message())
	s.claim(info.GetMetadata()["worker"] == plain.worker && info.GetMetadata()["cause"] != "",
		"programs read it too: reason %s, worker %s, cause %q", info.GetReason(), info.GetMetadata()["worker"], info.GetMetadata()["cause"])

	pool, err = s.daemon.AwaitPool(ctx, "text", func(p *snakepitv1.Pool) bool {
		return daemontest.AllReady(p) && slotOf(p, plain.worker).GetWorker() != plain.worker
	})
	if err != nil {
		return err
	}
	next := slotOf(pool, plain.worker)
	s.claim(gone(plain.grandchild) && plain.grandchild > 1, "its grandchild (setsid, pid %d) is gone", plain.grandchild)
	s.claim(next.GetPort() == port, "%s serves on the same port %d after %.2f s", next.GetWorker(), next.GetPort(), next.GetSince().AsTime().Sub(killed).Seconds())
	released, err := s.releasedBefore(ctx, plain.worker, next.GetWorker())
	if err != nil {
		return err
	}
	s.claim(released && gone(plain.pid), "process, port and record of %s were released before %s was ready", plain.worker, next.GetWorker())

	again, err := s.begin(ctx, conn, &textpool.NapRequest{Seconds: 0.5, Id: "twice"}, true)
	if err != nil {
		return err
	}
	if err := killProcess(again.pid); err != nil {
		return err
	}
	reply, err := again.wait()
	s.claim(err == nil && reply.GetId() == "twice" && reply.GetWorker() != again.worker,
		"a call marked snakepit-idempotent lost %s and was answered by %s (error: %v)", again.worker, reply.GetWorker(), err)
	_, err = s.daemon.AwaitPool(ctx, "text", daemontest.AllReady)
	return err
}

// releasedBefore says whether the events tell that old was released before next
// became ready.
func (s *show) releasedBefore(ctx context.Context, old, next string) (bool, error) {
	stream, err := s.daemon.Control.Events(ctx, &snakepitv1.EventsRequest{Pool: "text"})
	if err != nil {
		return false, err
	}
	released := false
	for {
		ev, err := stream.Recv()
		switch {
		case err != nil:
			return false, fmt.Errorf("no event tells that %s became ready: %w", next, err)
		case ev.GetKind() == "released" && ev.GetWorker() == old:
			released = true
		case ev.GetKind() == "ready" && ev.GetWorker() == next:
			return released, nil
		}
	}
}

// stop stops the daemon and looks for what is left.
func (s *show) stop(ctx context.Context) error {
	pool, err := s.daemon.Pool(ctx, "text")
	if err != nil {
		return err
	}
	fmt.Println("\nstop")
	began := time.Now()
	if err := s.daemon.Stop(ctx); err != nil {
		return err
	}
	processes, ports := 0, 0
	for _, slot := range pool.GetSlots() {
		if !gone(int64(slot.GetPid())) {
			processes++
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", slot.GetPort()))
		if err != nil {
			ports++
			continue
		}
		l.Close()
	}
	records, err := leftIn(s.daemon.Dir)
	if err != nil {
		return err
	}
	s.claim(processes == 0 && ports == 0 && records == 0, "stopped in %.2f s; left: %d processes, %d ports, %d records",
		time.Since(began).Seconds(), processes, ports, records)
	s.claim(strings.Contains(s.daemon.Log.String(), "orphans=1"), "the daemon's last look found no more orphans than the grandchild it had killed before")
	return nil
}

// errorInfo is the part of an error that programs read.
func errorInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return &errdetails.ErrorInfo{}
}

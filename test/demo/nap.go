package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/snakepitd/snakepitd/test/textpool"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// nap is a call that is under way in a known worker.
type nap struct {
	worker     string
	pid        int64
	grandchild int64
	stream     grpc.ClientStream
}

// begin starts a call that sleeps in a worker and finds out in which one. A call
// that may be repeated gets its headers only with the reply, so the status tells.
func (s *show) begin(ctx context.Context, conn *grpc.ClientConn, req *textpool.NapRequest, idempotent bool) (*nap, error) {
	if idempotent {
		ctx = metadata.AppendToOutgoingContext(ctx, "snakepit-idempotent", "1")
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{}, textpool.Text_Nap_FullMethodName)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(req); err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	n := &nap{stream: stream}
	if idempotent {
		n.worker, n.pid, err = s.busy(ctx)
		return n, err
	}
	header, err := stream.Header()
	if err != nil {
		return nil, err
	}
	n.worker = first(header, "worker")
	n.pid, _ = strconv.ParseInt(first(header, "worker-pid"), 10, 64)
	n.grandchild, _ = strconv.ParseInt(first(header, "grandchild-pid"), 10, 64)
	return n, nil
}

// busy finds the worker that has a call. No event tells of calls, so it asks.
func (s *show) busy(ctx context.Context) (worker string, pid int64, err error) {
	for {
		pool, err := s.daemon.Pool(ctx, "text")
		if err != nil {
			return "", 0, err
		}
		for _, slot := range pool.GetSlots() {
			if slot.GetInFlight() > 0 {
				return slot.GetWorker(), int64(slot.GetPid()), nil
			}
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return "", 0, errors.New("the call reached no worker")
		}
	}
}

func (n *nap) wait() (*textpool.NapReply, error) {
	reply := &textpool.NapReply{}
	return reply, n.stream.RecvMsg(reply)
}

func first(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// slotOf is the slot of a worker in a status: text-0 of text-0-7.
func slotOf(p *snakepitv1.Pool, worker string) *snakepitv1.Slot {
	for _, s := range p.GetSlots() {
		if strings.HasPrefix(worker, fmt.Sprintf("%s-%d-", p.GetName(), s.GetSlot())) {
			return s
		}
	}
	return &snakepitv1.Slot{}
}

// gone says whether a process has ended; a zombie has.
func gone(pid int64) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

func killProcess(pid int64) error {
	if pid <= 1 {
		return fmt.Errorf("the call did not tell its worker's pid")
	}
	return syscall.Kill(int(pid), syscall.SIGKILL)
}

// leftIn lists what is left of workers in a runtime directory: their sockets, and
// records in the run state.
func leftIn(dir string) (records int, err error) {
	state, err := os.ReadFile(filepath.Join(dir, "run-state.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return strings.Count(string(state), `"pid"`), nil
}

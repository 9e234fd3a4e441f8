package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status [POOL|SLOT|WORKER]",
		Short: "Show the daemon, its pools and their slots",
		Long: "Show the daemon, its pools and their slots: all, or one pool (text), slot (text-0) or worker (text-0-7).\n" +
			"The exit code says only whether there was an answer; the states are in the output.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.daemon()
			if err != nil {
				return err
			}
			defer d.Close()
			target := strings.Join(args, "")
			ctx, cancel := context.WithTimeout(cmd.Context(), askTimeout)
			defer cancel()
			reply, err := d.Status(ctx, &pb.StatusRequest{Target: target})
			if err != nil {
				return d.explain(cmd.Context(), err, target, forTarget("show the status", target))
			}
			if a.json {
				return a.writeProto(reply)
			}
			return a.showStatus(reply, target)
		},
	}
}

func (a *app) showStatus(s *pb.StatusReply, target string) error {
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.showDaemon(t, s.GetDaemon())
	row(t, "POOL", "STATE", "READY", "IN-FLIGHT", "QUEUED", "CALLS", "REJECTED", "DEATHS", "ORPHANS", "REASON")
	for _, p := range s.GetPools() {
		row(t, orDash(p.GetName()), orDash(p.GetState()), fmt.Sprintf("%d/%d", p.GetReady(), p.GetWorkers()), number(p.GetInFlight()),
			fmt.Sprintf("%d/%d", p.GetQueued(), p.GetMaxQueue()), number(p.GetCalls()), number(p.GetRejected()),
			number(p.GetDeaths()), number(p.GetOrphans()), orDash(p.GetReason()))
	}
	fmt.Fprintln(t)
	row(t, "SLOT", "STATE", "WORKER", "PID", "PORT", "SINCE", "CALLS", "DEATHS", "REASON")
	for _, p := range s.GetPools() {
		for _, slot := range p.GetSlots() {
			a.showSlot(t, p.GetName(), slot)
		}
	}
	a.showQuarantined(t, s.GetPools())
	if target != "" {
		for _, p := range s.GetPools() {
			showCommand(t, p)
		}
	}
	if err := t.Flush(); err != nil {
		return fail(exitFailed, "", "cannot write the status: %w", err)
	}
	return nil
}

func (a *app) showDaemon(t io.Writer, d *pb.Daemon) {
	since := ""
	if d.GetStarted() != nil {
		started := d.GetStarted().AsTime()
		since = fmt.Sprintf(" since %s (%s)", stamp(started), a.age(started))
	}
	fmt.Fprintf(t, "snakepitd %s, running%s\n", clean(d.GetVersion()), since)
	for _, f := range [][2]string{
		{"pid", number(d.GetPid())},
		{"run id", d.GetRunId()},
		{"instance", d.GetInstance()},
		{"configuration", d.GetConfig()},
		{"listen", d.GetListen()},
		{"control", d.GetControl()},
		{"runtime dir", d.GetRuntimeDir()},
		{"launcher", d.GetLauncher()},
		{"default pool", d.GetDefaultPool()},
	} {
		if f[1] != "" {
			row(t, "  "+f[0], clean(f[1]))
		}
	}
	for i, sentence := range d.GetNotGuaranteed() {
		name := "  not guaranteed"
		if i > 0 {
			name = ""
		}
		row(t, name, clean(sentence))
	}
	fmt.Fprintln(t)
}

func (a *app) showSlot(t io.Writer, pool string, s *pb.Slot) {
	since, pid, port := "-", "-", "-"
	if s.GetSince() != nil {
		since = a.age(s.GetSince().AsTime())
	}
	if s.GetPid() != 0 {
		pid = number(s.GetPid())
	}
	if s.GetPort() != 0 {
		port = number(s.GetPort())
	}
	row(t, fmt.Sprintf("%s-%d", clean(pool), s.GetSlot()), orDash(s.GetState()), orDash(s.GetWorker()), pid, port, since,
		number(s.GetCalls()), number(s.GetDeaths()), a.slotReason(s))
}

// slotReason is why the slot is not ready, and when it goes on; of a ready one,
// what its worker says of itself.
func (a *app) slotReason(s *pb.Slot) string {
	var parts []string
	if s.GetReason() != "" {
		parts = append(parts, clean(s.GetReason()))
	}
	if n := s.GetNextAttempt(); n != nil {
		if wait := n.AsTime().Sub(a.now()); wait > 0 {
			parts = append(parts, "next attempt in "+span(wait))
		}
	}
	if s.GetWorkerStatus() != "" {
		parts = append(parts, clean(s.GetWorkerStatus()))
	}
	return orDash(strings.Join(parts, "; "))
}

func (a *app) showQuarantined(t io.Writer, pools []*pb.Pool) {
	headed := false
	for _, p := range pools {
		for _, q := range p.GetQuarantined() {
			if !headed {
				headed = true
				fmt.Fprintln(t)
				row(t, "QUARANTINED PORT", "SLOT", "SINCE")
			}
			since := "-"
			if q.GetSince() != nil {
				since = a.age(q.GetSince().AsTime())
			}
			row(t, number(q.GetPort()), orDash(q.GetSlot()), since)
		}
	}
}

// showCommand is what only somebody who asks for one pool wants to see.
func showCommand(t io.Writer, p *pb.Pool) {
	quoted := make([]string, 0, len(p.GetExec()))
	for _, arg := range p.GetExec() {
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'\\") {
			arg = strconv.Quote(arg)
		}
		quoted = append(quoted, clean(arg))
	}
	fmt.Fprintln(t)
	row(t, "exec", orDash(strings.Join(quoted, " ")))
	row(t, "working directory", orDash(p.GetWorkingDirectory()))
	row(t, "services", orDash(strings.Join(p.GetServices(), ", ")))
	if n := p.GetUnexpectedEvents(); n > 0 {
		row(t, "unexpected events", number(n))
	}
}

func row(t io.Writer, cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }

func number[N int32 | uint64 | uint32](n N) string { return fmt.Sprint(n) }

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

func (a *app) whyCommand() *cobra.Command {
	var limit int32
	cmd := &cobra.Command{
		Use:   "why [POOL|SLOT|WORKER]",
		Short: "Tell why workers died",
		Long:  "Tell why workers died, newest first: cause, reason, and the last lines they wrote. The daemon keeps the last deaths of each pool.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return fail(exitUsage, "0 shows all that are kept", "cannot show %d deaths", limit)
			}
			d, err := a.daemon()
			if err != nil {
				return err
			}
			defer d.Close()
			target := strings.Join(args, "")
			ctx, cancel := context.WithTimeout(cmd.Context(), askTimeout)
			defer cancel()
			reply, err := d.Why(ctx, &pb.WhyRequest{Target: target, Limit: limit})
			if err != nil {
				return d.explain(cmd.Context(), err, target, forTarget("tell the deaths", target))
			}
			if a.json {
				return a.writeProto(reply)
			}
			if len(reply.GetDeaths()) == 0 {
				a.printf("%s\n", forTarget("no deaths are known", target))
			}
			for i, death := range reply.GetDeaths() {
				if i > 0 {
					a.printf("\n")
				}
				a.showDeath(death)
			}
			return nil
		},
	}
	cmd.Flags().Int32VarP(&limit, "limit", "n", 0, "show only the newest `N` deaths (0 = all)")
	return cmd
}

func (a *app) showDeath(d *pb.Death) {
	a.printf("%s: %s\n", orDash(d.GetWorker()), orDash(d.GetCause()))
	line := func(name, value string) { a.printf("  %-11s %s\n", name, value) }
	line("reason", orDash(d.GetReason()))
	switch {
	case d.GetSignal() != "":
		line("signal", clean(d.GetSignal()))
	case d.GetPid() != 0:
		line("exit code", number(d.GetExitCode()))
	}
	if d.GetAt() != nil {
		at := d.GetAt().AsTime()
		line("at", fmt.Sprintf("%s (%s ago)", stamp(at), a.age(at)))
	}
	if d.GetPid() != 0 {
		line("pid", number(d.GetPid()))
	}
	line("uptime", span(d.GetUptime().AsDuration()))
	line("calls", number(d.GetCalls()))
	if n := d.GetLeftBehind(); n > 0 {
		line("left behind", fmt.Sprintf("%d process(es), killed", n))
	}
	output := strings.TrimRight(d.GetOutput(), "\r\n")
	if output == "" {
		line("output", "none")
		return
	}
	a.printf("  last output\n")
	for l := range strings.SplitSeq(output, "\n") {
		a.printf("    %s\n", clean(strings.TrimSuffix(l, "\r")))
	}
}

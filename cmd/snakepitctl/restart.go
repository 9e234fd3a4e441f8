package main

import (
	"github.com/spf13/cobra"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

func (a *app) restartCommand() *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use:   "restart POOL|SLOT|WORKER",
		Short: "Replace the workers of a pool, or one worker",
		Long: "Replace the workers of a pool, or one worker, and show what happens until the last of them is ready.\n" +
			"One slot after the other; calls in flight finish first, up to drain_timeout. A slot keeps its port.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.daemon()
			if err != nil {
				return err
			}
			defer d.Close()
			stream, err := d.Restart(cmd.Context(), &pb.RestartRequest{Target: args[0], Now: now})
			if err == nil {
				err = a.showEvents(stream)
			}
			if err == nil {
				return nil
			}
			f := d.explain(cmd.Context(), err, args[0], "restart "+args[0])
			switch {
			case cmd.Context().Err() != nil:
				f.hint = "the daemon may have replaced some workers already: snakepitctl status " + args[0] + " shows them"
			case f.exit == exitFailed && f.hint == "":
				f.hint = "snakepitctl why " + args[0] + " tells why workers died"
			}
			return f
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "all at once, without waiting for calls in flight")
	return cmd
}

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

func (a *app) eventsCommand() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "events [POOL]",
		Short: "Show what happened to pools and workers",
		Long:  "Show what happened to pools and workers, oldest first. The daemon keeps the last events.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.daemon()
			if err != nil {
				return err
			}
			defer d.Close()
			pool := strings.Join(args, "")
			stream, err := d.Events(cmd.Context(), &pb.EventsRequest{Pool: pool, Follow: follow})
			if err == nil {
				err = a.showEvents(stream)
			}
			if follow && cmd.Context().Err() != nil {
				return nil // Ctrl-C is how following ends
			}
			if err != nil {
				return d.explain(cmd.Context(), err, pool, forTarget("show the events", pool))
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes, until Ctrl-C")
	return cmd
}

// showEvents writes events as they come, until the stream ends.
func (a *app) showEvents(stream grpc.ServerStreamingClient[pb.Event]) error {
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if a.json {
			if err := a.writeProto(e); err != nil {
				return err
			}
			continue
		}
		who := e.GetWorker()
		if who == "" {
			who = e.GetPool()
		}
		line := fmt.Sprintf("%s  %-12s  %-12s  %s", stamp(e.GetAt().AsTime()), orDash(who), orDash(e.GetKind()), clean(e.GetMessage()))
		a.printf("%s\n", strings.TrimRight(line, " "))
	}
}

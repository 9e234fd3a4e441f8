package main

import (
	"context"
	"strings"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// known is the hint after a target that does not exist: what does. message is
// what the daemon said already.
func (d *daemon) known(ctx context.Context, target, message string) string {
	const fallback = "snakepitctl status shows all pools and slots"
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	reply, err := d.Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return fallback
	}
	pool, _, _ := strings.Cut(target, "-")
	var names []string
	said := true
	for _, p := range reply.GetPools() {
		if p.GetName() == pool {
			return "snakepitctl status " + pool + " shows its slots and workers"
		}
		names = append(names, p.GetName())
		said = said && strings.Contains(message, p.GetName())
	}
	if said || len(names) == 0 {
		return fallback
	}
	return "the pools are " + strings.Join(names, ", ")
}

// forTarget is " of TARGET", or nothing for everything.
func forTarget(what, target string) string {
	if target == "" {
		return what
	}
	return what + " of " + target
}

package main

import (
	"context"
	"fmt"
	"time"
)

// spawn compares the time until so many workers are ready, from the start of
// snakepitd, with starting the same programs by hand.
func (p plan) spawn(ctx context.Context, b *bed) error {
	fmt.Printf("\n# Spawn: %d rounds, medians; from the start of snakepitd until all of its workers are ready\n\n", p.rounds)
	fmt.Println("| workers | by hand ms | snakepitd ms | snakepitd/by hand |")
	fmt.Println("|---|---|---|---|")
	for _, n := range p.spawns {
		var hand, pool []time.Duration
		for range p.rounds {
			took, err := b.handful(ctx, n)
			if err != nil {
				return err
			}
			hand = append(hand, took)
			took, err = b.poolUp(ctx, n)
			if err != nil {
				return err
			}
			pool = append(pool, took)
		}
		fmt.Printf("| %d | %.0f | %.0f | %.2f |\n", n, millis(middle(hand)), millis(middle(pool)), ratio(pool, hand))
	}
	return nil
}

// poolUp starts a daemon with n workers and says how long they took.
func (b *bed) poolUp(ctx context.Context, n int) (time.Duration, error) {
	began := time.Now()
	d, err := b.start(ctx, b.textPool(n, ""))
	if err != nil {
		return 0, err
	}
	defer d.end()
	if _, err := d.ready(ctx, "text"); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

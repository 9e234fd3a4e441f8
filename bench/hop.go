package main

import (
	"context"
	"fmt"
	"slices"
)

// backend is a worker behind all three ways to it.
type backend struct{ pool, what, method string }

// hops compares the ways to a real Python worker and to one in Go, and returns the
// median of the CPU ratios of the daemon to the bare proxy over all cases.
func (p plan) hops(ctx context.Context, b *bed) (float64, error) {
	d, err := b.start(ctx, b.textPool(1, "concurrency = 64")+b.echoPool())
	if err != nil {
		return 0, err
	}
	defer d.end()
	front := &server{name: "front", address: d.listen, pid: d.Cmd.Process.Pid}
	fmt.Printf("# Cost of the hop: %d rounds, medians\n\n"+
		"added = to a direct call to the same worker; CPU = of the daemon's or the bare proxy's process, per call;\n"+
		"both run with the same GOGC\n", p.rounds)
	var ratios []float64
	for _, k := range []backend{
		{"text", "a Python worker (grpcio, 64 threads)", "/textpool.v1.Text/Nap"},
		{"echo", "a Go worker (a fast one: the hop rules)", "/bench.Echo/Unary"},
	} {
		pool, err := d.ready(ctx, k.pool)
		if err != nil {
			return 0, err
		}
		got, err := p.hop(ctx, b, k, front, pool.GetSlots()[0].GetAddress())
		if err != nil {
			return 0, err
		}
		ratios = append(ratios, got...)
	}
	ratio := median(ratios)
	fmt.Printf("\nCPU snakepitd/bare: median of all %d cases %.2f, lowest %.2f, highest %.2f\n", len(ratios), ratio, slices.Min(ratios), slices.Max(ratios))
	return ratio, nil
}

// hop prints the comparison for one worker and returns the CPU ratio of each case.
func (p plan) hop(ctx context.Context, b *bed, k backend, front *server, address string) ([]float64, error) {
	direct := &server{name: "direct", address: address}
	bare, err := b.spawn("bare", address)
	if err != nil {
		return nil, err
	}
	defer bare.end()
	ways := []*server{direct, bare, front}
	fmt.Printf("\n## Before %s\n\n", k.what)
	fmt.Println("| callers | bytes | direct p50, p99 | snakepitd added p50, p99 | bare added p50, p99 | CPU snakepitd, bare | CPU snakepitd/bare | calls/s snakepitd/direct | calls/s snakepitd/bare |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	var ratios []float64
	for _, size := range p.sizes {
		for _, n := range p.callers {
			window := p.window
			if n*size > 16<<20 {
				window *= 3 // such calls take a good part of a second each
			}
			got := map[*server][]measure{}
			for round := range p.rounds {
				for i := range ways {
					s := ways[(i+round)%len(ways)]
					m, err := drive(ctx, s, k.method, n, size, window)
					if err != nil {
						return nil, err
					}
					got[s] = append(got[s], m)
				}
			}
			d, b, f := got[direct], got[bare], got[front]
			cpu := over(f, b, cpuOf)
			ratios = append(ratios, cpu)
			// each is the inverse of the throughput, so these two are turned round.
			fmt.Printf("| %d | %d | %v, %v | %+v, %+v | %+v, %+v | %v, %v | %.2f | %.2f | %.2f |\n", n, size,
				mid(d, p50), mid(d, p99), added(f, d, p50), added(f, d, p99), added(b, d, p50), added(b, d, p99),
				mid(f, cpuOf), mid(b, cpuOf), cpu, over(d, f, each), over(b, f, each))
		}
	}
	return ratios, nil
}

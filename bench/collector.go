package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// collector compares a daemon with Go's default GOGC=100 with one at 400, which
// snakepitd sets when the environment does not.
func (p plan) collector(ctx context.Context, b *bed) error {
	var fronts []*server
	for _, gogc := range []string{"100", "400"} {
		d, err := b.start(ctx, b.echoPool(), "GOGC="+gogc)
		if err != nil {
			return err
		}
		defer d.end()
		if _, err := d.ready(ctx, "echo"); err != nil {
			return err
		}
		fronts = append(fronts, &server{name: "GOGC=" + gogc, address: d.listen, pid: d.Cmd.Process.Pid})
	}
	fmt.Printf("\n# Garbage collector: snakepitd with GOGC=400 (its own setting) and 100, 100 bytes, %d rounds, medians\n\n", p.rounds)
	fmt.Println("| callers | CPU per call 400/100 | calls/s 400/100 | memory 100, 400 MiB |")
	fmt.Println("|---|---|---|---|")
	for _, n := range []int{8, 64} {
		got := map[*server][]measure{}
		for round := range p.rounds {
			for i := range fronts {
				s := fronts[(i+round)%len(fronts)]
				m, err := drive(ctx, s, "/bench.Echo/Unary", n, 100, p.window)
				if err != nil {
					return err
				}
				got[s] = append(got[s], m)
			}
		}
		low, high := got[fronts[0]], got[fronts[1]]
		fmt.Printf("| %d | %.2f | %.2f | %.0f, %.0f |\n", n, over(high, low, cpuOf), over(low, high, each), fronts[0].resident(), fronts[1].resident())
	}
	return nil
}

// resident is the memory of the process in MiB, 0 when it cannot be read.
func (s *server) resident() float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.pid))
	if f := strings.Fields(string(text)); len(f) > 1 {
		pages, _ := strconv.Atoi(f[1])
		return float64(pages*os.Getpagesize()) / (1 << 20)
	}
	return 0
}

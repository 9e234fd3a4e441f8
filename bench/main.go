// Command bench measures what the hop through the front costs, against a direct
// call to the same worker and against a bare grpc-go stream proxy, in the same
// interleaved rounds. Ratios are medians over the rounds: absolute figures of a
// shared machine mean little.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	role := flag.String("role", "", "internal: play one server (backend, bare, front)")
	backend := flag.String("backend", "", "address of a worker with a unary method that echoes; a Go echo server without it")
	method := flag.String("method", "/bench.Echo/Unary", "the unary method")
	rounds := flag.Int("rounds", 5, "rounds of every comparison")
	window := flag.Duration("window", 700*time.Millisecond, "length of one measurement")
	callers := flag.String("callers", "1,8,64", "numbers of callers")
	sizes := flag.String("sizes", "100,65536,1048576", "bytes of the payload")
	limit := flag.Float64("limit", 0, "fail when the median of the CPU ratios to the bare proxy is above (0: never)")
	flag.Parse()
	if *role != "" {
		if err := serve(*role, *backend); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ratio, err := hop(*backend, *method, numbers(*callers), numbers(*sizes), *rounds, *window)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if *limit > 0 && ratio > *limit {
		fmt.Fprintf(os.Stderr, "the front needs %.2fx the CPU of the bare proxy, the limit is %.2fx\n", ratio, *limit)
		os.Exit(1)
	}
}

func numbers(list string) (out []int) {
	for field := range strings.SplitSeq(list, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(field)); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	return out
}

// hop prints the comparison and returns the median of the CPU ratios front to bare
// over all cases.
func hop(backend, method string, callers, sizes []int, rounds int, window time.Duration) (float64, error) {
	direct := &server{name: "direct", address: backend}
	if backend == "" {
		own, err := spawn("backend", "")
		if err != nil {
			return 0, err
		}
		defer own.end()
		direct = &server{name: "direct", address: own.address, pid: own.pid}
	}
	servers := []*server{direct}
	for _, role := range []string{"bare", "front"} {
		s, err := spawn(role, direct.address)
		if err != nil {
			return 0, err
		}
		defer s.end()
		servers = append(servers, s)
	}
	fmt.Printf("%d rounds, medians; added = to a direct call; CPU = of the proxy's process, per call\n\n", rounds)
	fmt.Println("| callers | bytes | direct p50, p99 | front added p50, p99 | bare added p50, p99 | CPU front, bare | CPU front/bare | calls/s front/direct | calls/s front/bare |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	var ratios []float64
	for _, size := range sizes {
		payload := make([]byte, size)
		for _, n := range callers {
			got := map[string][]measure{}
			for range rounds {
				for _, s := range servers {
					m, err := drive(s, method, n, payload, window)
					if err != nil {
						return 0, err
					}
					got[s.name] = append(got[s.name], m)
				}
			}
			d, b, f := got["direct"], got["bare"], got["front"]
			cpu := over(f, b, func(m measure) float64 { return float64(m.cpu) })
			ratios = append(ratios, cpu)
			fmt.Printf("| %d | %d | %v, %v | %+v, %+v | %+v, %+v | %v, %v | %.2f | %.2f | %.2f |\n", n, size,
				mid(d, p50), mid(d, p99), added(f, d, p50), added(f, d, p99), added(b, d, p50), added(b, d, p99),
				mid(f, cpuOf), mid(b, cpuOf), cpu, over(f, d, rate), over(f, b, rate))
		}
	}
	ratio := median(ratios)
	fmt.Printf("\nCPU front/bare, median of all cases: %.2f\n", ratio)
	return ratio, nil
}

func p50(m measure) time.Duration   { return m.p50 }
func p99(m measure) time.Duration   { return m.p99 }
func cpuOf(m measure) time.Duration { return m.cpu }
func rate(m measure) float64        { return m.rate }

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

func mid(list []measure, of func(measure) time.Duration) time.Duration {
	var all []float64
	for _, m := range list {
		all = append(all, float64(of(m)))
	}
	return time.Duration(median(all)).Round(time.Microsecond)
}

// added is the median of the differences within each round, over that of ratios.
func added(a, b []measure, of func(measure) time.Duration) time.Duration {
	var all []float64
	for i := range a {
		all = append(all, float64(of(a[i])-of(b[i])))
	}
	return time.Duration(median(all)).Round(time.Microsecond)
}

func over(a, b []measure, of func(measure) float64) float64 {
	var all []float64
	for i := range a {
		all = append(all, of(a[i])/of(b[i]))
	}
	return median(all)
}

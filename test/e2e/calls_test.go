package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/snakepitd/snakepitd/test/daemontest"
	"github.com/snakepitd/snakepitd/test/textpool"
	"github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// TestAllFourKindsOfCall goes through the front to real Python and back, over
// ports and over Unix sockets.
func TestAllFourKindsOfCall(t *testing.T) {
	for _, c := range []struct{ name, exec string }{
		{"ports", ""},
		{"unix sockets", `exec = ["{python}", "server.py"]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := daemontest.TextPool(repo(), 2, "")
			if c.exec != "" {
				conf = strings.Replace(conf, `exec = ["{python}", "server.py", "--port", "{port}"]`, c.exec, 1)
			}
			d := start(t, conf)
			awaitPool(t, d, "text", daemontest.AllReady)
			client := textpool.NewTextClient(dial(t, d))
			ctx := within(t, 20*time.Second)

			reply, err := client.Analyze(ctx, &textpool.AnalyzeRequest{Name: "n", Id: "one", Text: "The cat sat. The dog ran."})
			if err != nil || reply.GetId() != "one" || reply.GetWords() != 6 || reply.GetSentences() != 2 {
				t.Errorf("unary: %v, %v", reply, err)
			}
			words, err := client.Words(ctx, &textpool.WordsRequest{Text: "a bc def", Id: "two"})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for {
				w, err := words.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("server streaming: %v", err)
				}
				got = append(got, w.GetWord())
			}
			if fmt.Sprint(got) != "[a bc def]" {
				t.Errorf("server streaming: %v", got)
			}
			count, err := client.Count(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := count.Send(&textpool.Chunk{Text: "two words", Id: "three"}); err != nil {
					t.Fatal(err)
				}
			}
			if sum, err := count.CloseAndRecv(); err != nil || sum.GetWords() != 6 || sum.GetChunks() != 3 {
				t.Errorf("client streaming: %v, %v", sum, err)
			}
			upper, err := client.Upper(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []string{"first", "second"} {
				if err := upper.Send(&textpool.Chunk{Text: s}); err != nil {
					t.Fatal(err)
				}
				if c, err := upper.Recv(); err != nil || c.GetText() != strings.ToUpper(s) {
					t.Errorf("bidi streaming: %v, %v", c, err)
				}
			}
			upper.CloseSend()
			if _, err := upper.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("the end of bidi streaming: %v", err)
			}
		})
	}
}

func TestPoolsAreChosenAndHealthIsPerPool(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 1, "")+strings.ReplaceAll(strings.ReplaceAll(daemontest.TextPool(repo(), 1, ""), "[pool.text]", "[pool.other]"), `services = ["textpool.v1.Text"]`, ""))
	awaitPool(t, d, "text", daemontest.AllReady)
	awaitPool(t, d, "other", daemontest.AllReady)
	conn := dial(t, d)
	client := textpool.NewTextClient(conn)
	ctx := within(t, 20*time.Second)
	for pool, want := range map[string]string{"": "text-", "text": "text-", "other": "other-"} {
		ctx := ctx
		if pool != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "snakepit-pool", pool)
		}
		reply, err := client.Analyze(ctx, &textpool.AnalyzeRequest{Text: "x"})
		if err != nil || !strings.HasPrefix(reply.GetWorker(), want) {
			t.Errorf("snakepit-pool %q went to %q: %v", pool, reply.GetWorker(), err)
		}
	}
	_, err := client.Analyze(metadata.AppendToOutgoingContext(ctx, "snakepit-pool", "nope"), &textpool.AnalyzeRequest{})
	if reason(err) != "POOL_UNKNOWN" {
		t.Errorf("an unknown pool: %v", err)
	}
	health := grpc_health_v1.NewHealthClient(conn)
	for _, service := range []string{"", "text", "other"} {
		r, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, r, err)
		}
	}
}

// TestAbandonedCallKeepsItsWorker: Python cannot be interrupted; the place of a
// call whose caller gave up is free only when the handler has really ended.
func TestAbandonedCallKeepsItsWorker(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 1, `overrun_timeout = "20s"`))
	awaitPool(t, d, "text", daemontest.AllReady)
	client := textpool.NewTextClient(dial(t, d))
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := client.Nap(short, &textpool.NapRequest{Seconds: 2, Stubborn: true})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("the caller's deadline: %v", err)
	}
	if _, err := client.Analyze(within(t, 20*time.Second), &textpool.AnalyzeRequest{Text: "x"}); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited < 1900*time.Millisecond {
		t.Errorf("the next call ran after %s beside the abandoned one, which naps 2 s", waited)
	}
	p := awaitPool(t, d, "text", func(p *snakepitv1.Pool) bool { return p.GetInFlight() == 0 })
	if p.GetDeaths() != 0 {
		t.Errorf("an abandoned call cost a worker its life: %v", p)
	}
}

// TestOverrunCostsTheWorker: a call that runs on past overrun_timeout for nobody does
// not keep its place: the worker is replaced, and a stop does not wait for the call.
func TestOverrunCostsTheWorker(t *testing.T) {
	d := start(t, daemontest.TextPool(repo(), 1, `overrun_timeout = "300ms"
stop_timeout = "500ms"`))
	first := awaitPool(t, d, "text", daemontest.AllReady).GetSlots()[0].GetWorker()
	client := textpool.NewTextClient(dial(t, d))
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Nap(short, &textpool.NapRequest{Seconds: 600, Stubborn: true}); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("the caller's deadline: %v", err)
	}
	reply, err := client.Analyze(within(t, 20*time.Second), &textpool.AnalyzeRequest{Text: "x"})
	if err != nil || reply.GetWorker() == first {
		t.Errorf("the next call: %v, %v", reply, err)
	}
	why, err := d.Control.Why(t.Context(), &snakepitv1.WhyRequest{Target: first})
	if err != nil || len(why.GetDeaths()) != 1 || !strings.Contains(why.GetDeaths()[0].GetReason(), "overrun_timeout") {
		t.Errorf("why: %v, %v", why, err)
	}
}

package transport

import (
	"errors"
	"testing"

	"google.golang.org/grpc/metadata"
)

// FuzzMetadata: whatever a client sends, what goes on is valid and has no key of
// ours; or the client gets a refusal.
func FuzzMetadata(f *testing.F) {
	f.Add("snakepit-pool", "text", "a", "1")
	f.Add("snakepit-idempotent", "1", "snakepit-call", "forged")
	f.Add("a-bin", "\x00\xff", "A b", "\n")
	f.Add(":authority", "x", "grpc-timeout", "1S")
	f.Add("snakepit-pool", "a", "snakepit-pool", "b")
	f.Add("content-type", "application/grpc+json", "", "")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		in := metadata.MD{}
		in[k1] = append(in[k1], v1)
		in[k2] = append(in[k2], v2)
		r, err := readRequest(in.Copy())
		if err != nil {
			refusal, ok := errors.AsType[*Refusal](err)
			if !ok || refusal.Reason != BadMetadata || refusal.GRPCStatus().Proto().GetDetails() == nil {
				t.Fatal(err)
			}
		}
		for _, out := range []metadata.MD{r.out, answer(in.Copy())} {
			for key, values := range out {
				if hop(key) || !validKey(key) || !validValues(key, values) {
					t.Errorf("%q: %q went on", key, values)
				}
			}
		}
		for key := range r.out {
			if reserved(key) {
				t.Errorf("%q went on to the worker", key)
			}
		}
	})
}

package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// testSeat is a machine that does not depend on the one the test runs on.
func testSeat() seat {
	return seat{uid: 1000, runtimeDir: "/run/user/1000", ephemeral: PortRange{First: 32768, Last: 60999}}
}

func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, err := load("snakepitd.toml", "/srv/snakepitd.toml", []byte(text), testSeat())
	if err != nil {
		t.Fatalf("load: %v\n%s", err, text)
	}
	return c
}

// TestProblems compares what is said about bad configurations with golden files.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".toml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := load(name+".toml", "/srv/"+name+".toml", data, testSeat())
			if err == nil {
				t.Fatalf("accepted: %+v", c)
			}
			if _, ok := errors.AsType[Problems](err); !ok {
				t.Fatalf("the error has no Problems: %v", err)
			}
			golden := strings.TrimSuffix(file, ".toml") + ".golden"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

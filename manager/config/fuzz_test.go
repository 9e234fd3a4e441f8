package config

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad: no text makes Load panic, and what is accepted holds all rules.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(example)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := load("fuzz.toml", "/srv/fuzz.toml", []byte(text), testSeat())
		if err != nil {
			if c != nil || err.Error() == "" {
				t.Fatalf("a configuration with an error, or an error without words: %+v", c)
			}
			return
		}
		again := *c
		report := newReport(&source{name: "again"})
		again.validate(testSeat(), report)
		if len(report.problems) > 0 {
			t.Fatalf("accepted, but: %s", report.problems)
		}
		for _, p := range c.Pools {
			r := Resolved{Pool: p, Program: "/bin/true", WorkingDirectory: p.WorkingDirectory}
			v := Values{Port: 21000, Worker: p.Name + "-0-1"}
			for _, s := range append(r.Argv(v), r.Environment(v, nil, nil)...) {
				if strings.ContainsRune(s, 0) {
					t.Fatalf("a NUL character reached %q", s)
				}
			}
		}
		if err := c.Describe(io.Discard, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzEnvironmentFile: no panic, and only names that may be set get through.
func FuzzEnvironmentFile(f *testing.F) {
	f.Add("A=1\n# c\nB='x y'\nC=\"a\\\"b\"\n")
	f.Add("A='open")
	f.Fuzz(func(t *testing.T, text string) {
		vars, err := parseEnvironment("env", text)
		if err != nil {
			return
		}
		for name := range vars {
			if !isWord(name) || isReserved(name) {
				t.Fatalf("accepted the name %q", name)
			}
		}
	})
}

// example is a complete configuration.
const example = `[daemon]
listen = "127.0.0.1:50051"
ports = "21000-21999"

[pool.text]
exec = ["{python}", "server.py", "--port", "{port}"]
working_directory = "/srv/text"
workers = 4
services = ["text.v1.Analyzer"]
environment = { MODEL_DIR = "/srv/models", WHO = "{worker} {{x}" }

[pool.image]
exec = ["imaged", "--listen", "{address}"]
environment_file = ["secrets", "/etc/more"]
ready = "health"
user = 12
call_timeout = 0
drain_timeout = "1h 30min"
max_message = "1.5M"
umask = "0007"
`

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inDir loads a configuration that lies in dir.
func inDir(t *testing.T, dir, text string) *Config {
	t.Helper()
	c, err := load("snakepitd.toml", filepath.Join(dir, "snakepitd.toml"), []byte(text), testSeat())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// project makes a directory with a venv, programs and files.
func project(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".venv/pyvenv.cfg"), "", 0o644)
	write(t, filepath.Join(dir, ".venv/bin/python"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(dir, ".venv/bin/serve"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(dir, "run.sh"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(dir, "server.py"), "pass\n", 0o644)
	write(t, filepath.Join(dir, "plain"), "x", 0o644)
	write(t, filepath.Join(dir, "secrets"), "A=1\n", 0o600)
	return dir
}

func TestResolveProgram(t *testing.T) {
	dir := project(t)
	empty := t.TempDir()
	venv := filepath.Join(dir, ".venv/bin")
	for _, tt := range []struct {
		name, dir, pool      string
		program, python, bin string
	}{
		{"venv python", dir, `exec = ["{python}", "server.py"]`, venv + "/python", venv + "/python", venv},
		{"program of the venv", dir, `exec = ["serve"]`, venv + "/serve", venv + "/python", venv},
		{"relative path", dir, `exec = ["./run.sh"]`, dir + "/run.sh", venv + "/python", venv},
		{"fixed PATH", dir, `exec = ["env"]`, "/usr/bin/env", venv + "/python", venv},
		{"absolute", dir, `exec = ["/usr/bin/env"]`, "/usr/bin/env", venv + "/python", venv},
		{"system python", empty, `exec = ["{python}"]`, "/usr/bin/python3", "/usr/bin/python3", ""},
		{"python by name", dir, "exec = [\"{python}\"]\npython = \"python3\"", "/usr/bin/python3", "/usr/bin/python3", ""},
		{"python by relative path", dir, "exec = [\"{python}\"]\npython = \".venv/bin/python\"", venv + "/python", venv + "/python", venv},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := inDir(t, tt.dir, "[pool.text]\n"+tt.pool).Pools[0].Resolve()
			if err != nil {
				t.Fatal(err)
			}
			got := []string{r.Program, r.Python, r.VenvBin, r.WorkingDirectory}
			if tt.name == "python by name" && got[0] != "/usr/bin/python3" { // a local one comes first on the fixed PATH
				if !strings.HasPrefix(got[0], "/usr/local/") {
					t.Errorf("%v", got)
				}
				return
			}
			want := []string{tt.program, tt.python, tt.bin, tt.dir}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if r.Argv(Values{})[0] != r.Program {
				t.Error("argv does not begin with the program")
			}
		})
	}
}

func TestResolveProblems(t *testing.T) {
	dir := project(t)
	for _, tt := range []struct{ name, pool, want string }{
		{"no directory", `exec = ["env"]` + "\nworking_directory = \"gone\"", "3:21: working_directory: DIR/gone does not exist: create it, or write another directory"},
		{"directory is a file", `exec = ["env"]` + "\nworking_directory = \"plain\"", "3:21: working_directory: DIR/plain is not a directory"},
		{"no such program", `exec = ["no-such-program"]`, "2:9: exec: cannot find \"no-such-program\" in DIR/.venv/bin:" + fixedPath + "; install it, or write its absolute path"},
		{"python file with a path", `exec = ["./server.py"]`, "2:9: exec: cannot run DIR/server.py: it is a Python file without the right to execute; write exec = [\"{python}\", \"./server.py\", ...]"},
		{"python file by name", `exec = ["server.py"]`, "to run the file in working_directory write exec = [\"{python}\", \"server.py\", ...]"},
		{"here, by name", `exec = ["run.sh"]`, "to run the file in working_directory write \"./run.sh\""},
		{"no right", `exec = ["./plain"]`, "2:9: exec: cannot run DIR/plain: nobody has the right to execute it; type chmod +x"},
		{"a directory", `exec = ["./.venv"]`, "2:9: exec: cannot run it: DIR/.venv is a directory, not a file"},
		{"a device", `exec = ["/dev/null"]`, "2:9: exec: cannot run it: /dev/null is not a regular file"},
		{"no file", `exec = ["env"]` + "\nenvironment_file = [\"secrets\", \"more\"]", "3:32: environment_file: DIR/more does not exist"},
		{"one file", `exec = ["env"]` + "\nenvironment_file = \"more\"", "3:20: environment_file: DIR/more does not exist"},
		{"no python", `exec = ["{python}"]` + "\npython = \"/x/python\"", "3:10: python: cannot run it: /x/python does not exist"},
		{"no user", `exec = ["env"]` + "\nuser = \"nobody_is_called_this\"", "3:8: user: the user \"nobody_is_called_this\" does not exist: create it, for example with useradd --system nobody_is_called_this"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := inDir(t, dir, "[pool.text]\n"+tt.pool)
			_, err := c.Resolve()
			if err == nil {
				t.Fatal("resolved")
			}
			got := strings.ReplaceAll(err.Error(), dir, "DIR")
			if !strings.Contains(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if _, err := c.Pools[0].Resolve(); err == nil || !strings.HasPrefix(err.Error(), "pool text: ") {
				t.Errorf("the pool alone says %v", err)
			}
		})
	}
}

func TestBrokenVenv(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".venv/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/gone/python3", filepath.Join(dir, ".venv/bin/python")); err != nil {
		t.Fatal(err)
	}
	_, err := inDir(t, dir, "[pool.text]\nexec = [\"{python}\"]").Resolve()
	if err == nil || !strings.Contains(err.Error(), "repair the venv") {
		t.Errorf("got %v", err)
	}
}

func TestResolveUser(t *testing.T) {
	own, err := lookupUser("")
	if err != nil || own != nil {
		t.Errorf("no user: %v, %v", own, err)
	}
	root, err := findUser("0")
	if err != nil || root.UID != 0 || root.Name != "root" {
		t.Errorf("0: %+v, %v", root, err)
	}
	nobody, err := lookupUser("nobody")
	if os.Geteuid() == 0 {
		if err != nil || nobody == nil || nobody.UID == 0 || nobody.GID == 0 {
			t.Errorf("nobody: %+v, %v", nobody, err)
		}
	} else if err == nil && nobody != nil || err != nil && !strings.Contains(err.Error(), "only root") {
		t.Errorf("nobody: %+v, %v", nobody, err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LEAK", "the daemon's own")
	dir := project(t)
	c := inDir(t, dir, `[pool.text]
exec = ["{python}", "server.py", "{address}"]
concurrency = 3
environment_file = "secrets"
environment = { LANG = "de_DE.UTF-8", WHO = "{worker}", OMP_NUM_THREADS = "8", A = "0" }
`)
	r, err := c.Pools[0].Resolve()
	if err != nil {
		t.Fatal(err)
	}
	files, err := r.ReadEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	v := Values{Socket: "/s", Worker: "text-0-1"}
	got := r.Environment(v, files, map[string]string{"SNAKEPIT_WORKER": "text-0-1"})
	want := []string{
		"A=1", "HOME=/run/user/1000/snakepit/pools/text/home", "LANG=de_DE.UTF-8", "MKL_NUM_THREADS=3", "NUMEXPR_NUM_THREADS=3",
		"OMP_NUM_THREADS=8", "OPENBLAS_NUM_THREADS=3", "PATH=" + dir + "/.venv/bin:" + fixedPath, "PYTHONUNBUFFERED=1", "SNAKEPIT_WORKER=text-0-1",
		"TMPDIR=/run/user/1000/snakepit/pools/text/tmp", "VECLIB_MAXIMUM_THREADS=3", "WHO=text-0-1", "XDG_CACHE_HOME=/run/user/1000/snakepit/pools/text/cache",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{dir + "/.venv/bin/python", "server.py", "unix:/s"}, r.Argv(v)); diff != "" {
		t.Errorf("argv: -want +got:\n%s", diff)
	}
}

func TestEnvironmentFile(t *testing.T) {
	vars, err := parseEnvironment("env", "# c\n; d\n\n A = 1 2 \r\nB='x \"y\\n'\nC=\"a\\\"b\\\\ \\n\"\nA=2\nEMPTY=\nURL=postgres://u:p@h/db?a=b#c\n")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "2", "B": `x "y\n`, "C": `a"b\ \n`, "EMPTY": "", "URL": "postgres://u:p@h/db?a=b#c"}
	if diff := cmp.Diff(want, vars); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for text, want := range map[string]string{
		"A=1\nhunter2":           "env:2: there is no '='",
		"export A=hunter2":       "env:1: \"export\" is for shells",
		"hunter2 x=1":            "env:1: what stands before '='",
		"A='hunter2":             "env:1: the quote is not closed",
		"A='hunter2' x":          "env:1: there is text after",
		"A=hunter2\\\nB=1":       "env:1: a value over several lines",
		"SNAKEPIT_TOKEN=hunter2": "env:1: SNAKEPIT_TOKEN is set by snakepitd",
		"A=hunter2\x00":          "env:1: the value has a NUL",
	} {
		_, err := parseEnvironment("env", text)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := ReadEnvironmentFile(filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("read a file that is not there")
	}
}

func TestDescribe(t *testing.T) {
	dir := project(t)
	c := inDir(t, dir, `[pool.text]
exec = ["{python}", "server.py", "--port", "{port}", "two words"]
environment = { TOKEN = "hunter2" }
environment_file = "secrets"
services = ["text.v1.Analyzer"]
call_timeout = 0
`)
	pools, err := c.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.Describe(&b, pools); err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(b.String(), dir, "DIR")
	golden := "testdata/describe.txt"
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
	if strings.Contains(got, "hunter2") {
		t.Error("a value is shown")
	}
	b.Reset()
	if err := pools[0].Describe(&b); err != nil || !strings.HasPrefix(b.String(), "pool text\n") {
		t.Errorf("%v: %s", err, b.String())
	}
}

package docs

import (
	"fmt"
	"go/parser"
	"go/token"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A package imports only lower floors, and packages of its own folder. The longest
// matching folder counts; a folder that is not here has no place yet.
func floors() map[string]int {
	return map[string]int{
		"registry":       0,
		"units":          0,
		"manager/config": 0,
		"transport":      1,
		"manager":        2,
		"cmd":            3,
		"test":           4,
		"bench":          5,
	}
}

// ban forbids imports beyond the floors, and says why.
type ban struct {
	from    string   // importing folder; "" is every folder
	imports string   // import path, or the start of it
	except  []string // folders that may
	inTests bool     // holds for _test.go files too
	why     string
}

func bans() []ban {
	const grpc = "google.golang.org/grpc"
	tests := []string{"test", "bench"}
	return []ban{
		{"registry", grpc, nil, true, "gRPC never reaches the registry"},
		{"units", grpc, nil, true, "gRPC never reaches units: a worker's life hangs on no call"},
		{"manager/config", grpc, nil, true, "the configuration is read without the wire"},
		{"transport", module + "/registry", nil, true, "transport knows no records; the manager joins them"},
		{"transport", module + "/units", nil, true, "transport knows no processes; the manager joins them"},
		{"transport", module + "/manager/config", nil, true, "transport gets its settings from the manager"},
		{"", "github.com/pelletier/go-toml", []string{"manager/config"}, false, "TOML never leaves config"},
		{"", "github.com/godbus/dbus", []string{"units"}, false, "D-Bus never leaves units"},
		{"", "github.com/coreos/go-systemd", []string{"units"}, false, "systemd never leaves units"},
		{"", "github.com/spf13/cobra", []string{"cmd"}, false, "command lines are read in cmd"},
		{"", "github.com/stretchr/testify", nil, true, "tests use testing and go-cmp"},
		{"", "github.com/google/go-cmp", tests, false, "only tests may panic on a difference"},
		{"", "pgregory.net/rapid", tests, false, "a library of tests"},
		{"", "go.uber.org/goleak", tests, false, "a library of tests"},
		{"", "github.com/rogpeppe/go-internal", tests, false, "a library of tests"},
	}
}

// TestFloors parses every Go file and holds its imports to the floors and bans.
func TestFloors(t *testing.T) {
	dir := root(t)
	for _, name := range files(t, dir, ".go") {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		var imports []string
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			imports = append(imports, p)
		}
		for _, problem := range misplaced(name, imports) {
			t.Error(problem)
		}
	}
}

// TestFloorsFindsViolations holds the check itself to imports that must not pass.
func TestFloorsFindsViolations(t *testing.T) {
	tests := []struct {
		file, imports string
		bad           bool
	}{
		{"registry/a.go", module + "/units", true},
		{"registry/a_test.go", module + "/units", true},
		{"units/a.go", module + "/units/gate", false},
		{"units/a.go", "google.golang.org/grpc/codes", true},
		{"transport/a.go", module + "/registry", true},
		{"transport/a.go", module + "/transport/snakepitv1", false},
		{"transport/a.go", module + "/manager", true},
		{"manager/a.go", module + "/transport", false},
		{"manager/a.go", "github.com/pelletier/go-toml/v2", true},
		{"manager/config/a.go", "github.com/pelletier/go-toml/v2", false},
		{"manager/config/a.go", module + "/manager", true},
		{"manager/a.go", module + "/test/daemontest", true},
		{"cmd/snakepitd/a_test.go", module + "/test/daemontest", false},
		{"manager/a.go", "github.com/google/go-cmp/cmp", true},
		{"manager/a_test.go", "github.com/google/go-cmp/cmp", false},
		{"stray/a.go", "os", true},
		{"manager/util/a.go", "os", true},
	}
	for _, test := range tests {
		if got := misplaced(test.file, []string{test.imports}); (len(got) > 0) != test.bad {
			t.Errorf("%s importing %s: %q", test.file, test.imports, got)
		}
	}
}

// misplaced names what a file imports against the rules.
func misplaced(name string, imports []string) []string {
	folder := path.Dir(name)
	isTest := strings.HasSuffix(name, "_test.go")
	var problems []string
	switch base := path.Base(folder); base {
	case "util", "utils", "common", "types", "helpers":
		problems = append(problems, fmt.Sprintf("%s: a package called %s says nothing; name it after what it does", name, base))
	}
	floor, top, placed := place(folder)
	if !placed {
		return append(problems, fmt.Sprintf("%s: %s stands on no floor; place it in floors()", name, folder))
	}
	for _, imported := range imports {
		for _, b := range bans() {
			if b.forbids(folder, imported, isTest) {
				problems = append(problems, fmt.Sprintf("%s imports %s: %s", name, imported, b.why))
			}
		}
		rel, ours := strings.CutPrefix(imported, module+"/")
		if !ours {
			continue
		}
		below, otherTop, placed := place(rel)
		switch {
		case !placed:
			problems = append(problems, fmt.Sprintf("%s imports %s, which stands on no floor", name, imported))
		case otherTop == top, below < floor:
		case isTest && otherTop == "test": // what the tests of all packages share
		default:
			problems = append(problems, fmt.Sprintf(
				"%s (floor %d) imports %s (floor %d): a package imports only lower floors", name, floor, imported, below))
		}
	}
	return problems
}

// place finds the floor of a folder and the entry that gave it.
func place(folder string) (floor int, top string, placed bool) {
	for f := folder; f != "."; f = path.Dir(f) {
		if floor, ok := floors()[f]; ok {
			return floor, f, true
		}
	}
	return 0, "", false
}

func (b ban) forbids(folder, imported string, isTest bool) bool {
	if isTest && !b.inTests || !within(imported, b.imports) || b.from != "" && !within(folder, b.from) {
		return false
	}
	for _, e := range b.except {
		if within(folder, e) {
			return false
		}
	}
	return true
}

// within says whether a path is another one or below it.
func within(path, other string) bool {
	return path == other || strings.HasPrefix(path, other+"/")
}

// TestLinkedPackages holds what is linked in the end, whoever imports it.
func TestLinkedPackages(t *testing.T) {
	dir := root(t)
	tests := []struct {
		of, never, why string
	}{
		{"cmd/snakepitctl", module + "/manager", "the CLI speaks to a daemon; it is none"},
		{"cmd/snakepitctl", module + "/units", "the CLI starts no processes"},
		{"cmd/snakepit-gate", "google.golang.org/grpc", "the gate stays small: every worker starts as one"},
		{"cmd/snakepit-gate", "github.com/spf13/cobra", "the gate stays small: every worker starts as one"},
		{"cmd/snakepit-gate", "net/http", "the gate stays small: every worker starts as one"},
		{"registry", "google.golang.org/grpc", "gRPC never reaches the registry"},
		{"units", "google.golang.org/grpc", "gRPC never reaches units"},
		{"manager/config", "google.golang.org/grpc", "the configuration is read without the wire"},
	}
	for _, test := range tests {
		list := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "./"+test.of)
		list.Dir = dir
		out, err := list.Output()
		if err != nil || len(out) == 0 {
			t.Errorf("cannot list what %s links: %v", test.of, err)
			continue
		}
		for p := range strings.FieldsSeq(string(out)) {
			if within(p, module+"/manager/config") && test.never == module+"/manager" {
				continue // verify reads a configuration without a daemon
			}
			if within(p, test.never) {
				t.Errorf("%s links %s: %s", test.of, p, test.why)
				break
			}
		}
	}
}

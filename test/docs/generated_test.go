package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGenerated generates the Go code of the .proto files again and compares it
// with what is committed. Other versions of the tools write other headers: then it
// skips, and make test-all installs the pinned ones.
func TestGenerated(t *testing.T) {
	dir := root(t)
	committed := generatedFiles(t, dir)
	haveTools(t, dir, read(t, filepath.Join(dir, "transport/snakepitv1/control_grpc.pb.go"))+
		read(t, filepath.Join(dir, "transport/snakepitv1/control.pb.go")))

	out := t.TempDir()
	generate := exec.CommandContext(t.Context(), "scripts/generate", out)
	generate.Dir = dir
	if said, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("cannot generate: %v\n%s", err, said)
	}
	fresh := generatedFiles(t, out)
	for name, text := range fresh {
		if diff := cmp.Diff(committed[name], text); diff != "" {
			t.Errorf("%s is stale: run make proto (-committed +fresh):\n%s", name, diff)
		}
	}
	for name := range committed {
		if _, ok := fresh[name]; !ok {
			t.Errorf("%s comes from no .proto file that scripts/generate knows", name)
		}
	}
}

// generatedFiles reads all *.pb.go below dir.
func generatedFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, name := range files(t, dir, ".pb.go") {
		texts[name] = read(t, filepath.Join(dir, name))
	}
	return texts
}

// haveTools skips the test unless protoc and the plugins are there in the versions
// that the committed headers name.
func haveTools(t *testing.T, dir, headers string) {
	t.Helper()
	protoc, err := exec.LookPath("protoc")
	if err != nil {
		t.Skip("protoc is missing; type: sudo apt-get install -y protobuf-compiler libprotobuf-dev")
	}
	tools := map[string]string{
		"protoc":             protoc,
		"protoc-gen-go":      filepath.Join(dir, ".bin/protoc-gen-go"),
		"protoc-gen-go-grpc": filepath.Join(dir, ".bin/protoc-gen-go-grpc"),
	}
	number := regexp.MustCompile(`\d+\.\d+(\.\d+)?`)
	for name, path := range tools {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("%s is missing; make proto installs it", name)
		}
		out, err := exec.CommandContext(t.Context(), path, "--version").Output()
		if err != nil {
			t.Skipf("cannot run %s --version: %v", name, err)
		}
		have := number.FindString(string(out))
		written := regexp.MustCompile(`(?m)^//\s+(?:- )?` + name + `\s+v(\S+)$`).FindStringSubmatch(headers)
		if written == nil {
			t.Fatalf("no header of the generated code names %s", name)
		}
		if !strings.HasSuffix(written[1], have) || have == "" {
			t.Skipf("%s is %s, the code was generated with %s", name, have, written[1])
		}
	}
}

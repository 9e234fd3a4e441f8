package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/snakepitd/snakepitd/test/daemontest"
)

// TestReadmeQuickStart does what the README's quick start says: its configuration,
// its commands.
func TestReadmeQuickStart(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(repo(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## Quick start")
	section, _, _ = strings.Cut(section, "\n## ")
	var conf string
	var commands []string
	for i, block := range strings.Split(section, "```") {
		switch {
		case i%2 == 0:
		case strings.HasPrefix(block, "toml\n"):
			conf = strings.TrimPrefix(block, "toml\n")
		default:
			for line := range strings.Lines(block) {
				if strings.HasPrefix(line, "bin/snakepitctl ") {
					commands = append(commands, strings.TrimSpace(line))
				}
			}
		}
	}
	example, err := os.ReadFile(filepath.Join(repo(), "python", "examples", "text", "pool.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if conf == "" || withoutComments(string(example)) != withoutComments(conf) {
		t.Errorf("the README shows\n%s\nand the example is\n%s", conf, example)
	}
	if len(commands) < 3 {
		t.Fatalf("the quick start has %d snakepitctl commands", len(commands))
	}
	d := start(t, conf+fmt.Sprintf("working_directory = %q\npython = %q\n", filepath.Join(repo(), "python", "examples", "text"), daemontest.Python))
	awaitPool(t, d, "text", daemontest.AllReady)
	for _, line := range commands {
		cmd := exec.CommandContext(within(t, 30*time.Second), "sh", "-c", strings.Replace(line, "bin/", bin+"/", 1))
		cmd.Dir = repo()
		cmd.Env = append(os.Environ(), "SNAKEPIT_CONTROL=unix:"+filepath.Join(d.Dir, "control.sock"), "XDG_RUNTIME_DIR="+d.Dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

func withoutComments(toml string) string {
	var b strings.Builder
	for line := range strings.Lines(toml) {
		if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			b.WriteString(line)
		}
	}
	return b.String()
}

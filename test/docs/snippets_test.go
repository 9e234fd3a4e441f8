package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/snakepitd/snakepitd/manager/config"
)

// TestConfigurationsInDocumentsLoad loads every configuration that a document shows.
func TestConfigurationsInDocumentsLoad(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	loaded := 0
	for _, file := range files(t, root(t), ".md") {
		for i, block := range strings.Split(read(t, filepath.Join(root(t), file)), "```toml\n")[1:] {
			conf, _, _ := strings.Cut(block, "```")
			if !strings.Contains(conf, "[pool.") {
				continue // one key, shown by itself
			}
			path := filepath.Join(t.TempDir(), "snakepitd.toml")
			if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(path); err != nil {
				t.Errorf("%s, configuration %d: %v", file, i+1, err)
			}
			loaded++
		}
	}
	if loaded < 3 {
		t.Errorf("only %d configurations were found", loaded)
	}
}

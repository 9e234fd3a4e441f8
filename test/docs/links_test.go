package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// TestLinks follows every link of every Markdown file to its file and heading.
func TestLinks(t *testing.T) {
	dir := root(t)
	for _, problem := range brokenLinks(os.DirFS(dir), files(t, dir, ".md")) {
		t.Error(problem)
	}
}

// TestLinksFindsWhatIsBroken holds the check itself to a tree with known faults.
func TestLinksFindsWhatIsBroken(t *testing.T) {
	tree := fstest.MapFS{
		"a.md": {Data: []byte("# One `x` thing!\n[ok](b.md#two)\n[ok](#one-x-thing)\n[web](https://example.org/none)\n" +
			"[no file](c.md)\n[no heading](b.md#three)\n```\n[code](gone.md)\n```\n`[code](gone.md)`\n[out](../x.md)\n[r]: gone/\n")},
		"b.md": {Data: []byte("## Two\n## Two\n[again](#two-1)\n[no](#two-2)\n")},
	}
	want := []string{
		"a.md:5: c.md does not exist",
		"a.md:6: b.md has no heading #three",
		"a.md:11: ../x.md leads out of the repository",
		"a.md:12: gone does not exist",
		"b.md:4: b.md has no heading #two-2",
	}
	if diff := cmp.Diff(want, brokenLinks(tree, []string{"a.md", "b.md"})); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// brokenLinks names every link in the files that leads nowhere inside the tree.
// Links to the web are not followed.
func brokenLinks(tree fs.FS, names []string) []string {
	docs := map[string]document{}
	for _, name := range names {
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return []string{err.Error()}
		}
		docs[name] = parseMarkdown(string(text))
	}
	var problems []string
	for _, name := range names {
		for _, l := range docs[name].links {
			if strings.Contains(l.target, "://") || strings.HasPrefix(l.target, "mailto:") {
				continue
			}
			at := fmt.Sprintf("%s:%d: ", name, l.line)
			file, fragment, _ := strings.Cut(l.target, "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if !fs.ValidPath(target) {
				problems = append(problems, at+l.target+" leads out of the repository")
				continue
			}
			if _, err := fs.Stat(tree, target); err != nil {
				problems = append(problems, at+target+" does not exist")
				continue
			}
			if d, known := docs[target]; fragment != "" && known && !d.anchors[fragment] {
				problems = append(problems, at+target+" has no heading #"+fragment)
			}
		}
	}
	return problems
}

// TestMakeTargets: what the documentation tells the reader to type exists.
func TestMakeTargets(t *testing.T) {
	dir := root(t)
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(read(t, filepath.Join(dir, "Makefile")), -1) {
		targets[m[1]] = true
	}
	mention := regexp.MustCompile("(?m)(?:`|^ *)make ([a-z][a-z-]*)(?:`| *$| +#)")
	for _, name := range files(t, dir, ".md") {
		for _, m := range mention.FindAllStringSubmatch(read(t, filepath.Join(dir, name)), -1) {
			if !targets[m[1]] {
				t.Errorf("%s says `make %s`, which the Makefile does not have", name, m[1])
			}
		}
	}
}

// TestCitedDecisions: every ADR that the code or the documentation cites exists.
func TestCitedDecisions(t *testing.T) {
	dir := root(t)
	have := map[string]bool{}
	found, err := filepath.Glob(filepath.Join(dir, "docs/architecture/adr-*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		have[strings.SplitN(filepath.Base(f), "-", 3)[1]] = true
	}
	cited := regexp.MustCompile(`(?i)\badr-(\d{3})\b`)
	for _, suffix := range []string{".go", ".py", ".md"} {
		for _, name := range files(t, dir, suffix) {
			for _, m := range cited.FindAllStringSubmatch(read(t, filepath.Join(dir, name)), -1) {
				if !have[m[1]] {
					t.Errorf("%s cites ADR-%s, which docs/architecture does not have", name, m[1])
				}
			}
		}
	}
}

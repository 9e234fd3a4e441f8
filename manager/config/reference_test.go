package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const reference = "../../docs/configuration.md"

func readReference(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// section is the text below a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %s", reference, heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// TestReference: the page has every key with its type, default and example, and
// no other, in the same order.
func TestReference(t *testing.T) {
	page := readReference(t)
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\| `([^|]+)` \\|$")
	for heading, table := range map[string]reflect.Type{"[daemon]": reflect.TypeFor[Daemon](), "[pool.NAME]": reflect.TypeFor[Pool]()} {
		var want, got [][]string
		for _, k := range keys(table) {
			def := k.computed
			switch {
			case k.computed == "" && k.def == "":
				def = "empty"
			case k.computed == "":
				def = "`" + k.def + "`"
			}
			want = append(want, []string{k.name, k.typeName(), def, k.name + " = " + k.example})
		}
		for _, m := range row.FindAllStringSubmatch(section(t, page, heading), -1) {
			got = append(got, []string{m[1], m[2], m[3], m[5]})
			if len(m[4]) < 20 {
				t.Errorf("%s: %s has no meaning", heading, m[1])
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -structs +page:\n%s", heading, diff)
		}
	}
}

// TestReferenceExamples: every example of a key is accepted.
func TestReferenceExamples(t *testing.T) {
	const pool = "[pool.text]\n"
	for _, k := range keys(reflect.TypeFor[Daemon]()) {
		mustLoad(t, "[daemon]\n"+k.name+" = "+k.example+"\n"+pool+"exec = [\"x\"]\n")
	}
	for _, k := range keys(reflect.TypeFor[Pool]()) {
		exec := "exec = [\"x\"]\n"
		if k.name == "exec" {
			exec = ""
		}
		mustLoad(t, pool+exec+k.name+" = "+k.example+"\n")
	}
}

// TestReferenceCompleteExample: the example at the top is accepted as it is.
func TestReferenceCompleteExample(t *testing.T) {
	_, rest, found := strings.Cut(readReference(t), "```toml\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the page has no example")
	}
	c := mustLoad(t, text)
	if p, ok := c.Pool("text"); !ok || p.Workers != 4 || !p.UsesPort() || c.Daemon.DefaultPool != "text" {
		t.Errorf("%+v", c)
	}
}

// TestReferencePlaceholders: the page lists those that exist.
func TestReferencePlaceholders(t *testing.T) {
	text := section(t, readReference(t), "Placeholders")
	want := map[string]bool{}
	for _, p := range placeholders() {
		want[p] = true
	}
	got := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `\\{(\\w+)\\}` \\|").FindAllStringSubmatch(text, -1) {
		got[m[1]] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-code +page:\n%s", diff)
	}
}

package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestPage compares the verbs, flags and exit codes with docs/snakepitctl.md.
func TestPage(t *testing.T) {
	data, err := os.ReadFile("../../docs/snakepitctl.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	root := (&app{world: testWorld(os.Stdout, os.Stderr)}).root()

	var verbs, flags []string
	collect := func(f *pflag.Flag) {
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		flags = append(flags, name)
	}
	root.PersistentFlags().VisitAll(collect)
	for _, c := range root.Commands() {
		verbs = append(verbs, "`snakepitctl "+c.Use+"`")
		c.LocalNonPersistentFlags().VisitAll(collect)
	}
	compare(t, "verbs", verbs, inPage(page, "(?m)^### (`[^`]+`)$"))
	compare(t, "flags", flags, inPage(page, "(?m)^\\| ((?:`-[a-zA-Z]`, )?`--[a-z-]+`) \\|"))

	_, list, _ := strings.Cut(longHelp, "Exit codes:\n")
	var codes []string
	for line := range strings.Lines(list) {
		code, meaning, _ := strings.Cut(strings.TrimSpace(line), "  ")
		codes = append(codes, code+" | "+meaning)
	}
	compare(t, "exit codes", codes, inPage(page, `(?m)^\| (\d \| .*) \|$`))
}

// TestVerbsHaveHelp: what a verb does is said in one line, and every flag has a word.
func TestVerbsHaveHelp(t *testing.T) {
	for _, c := range (&app{world: testWorld(os.Stdout, os.Stderr)}).root().Commands() {
		if c.Short == "" || c.Long == "" {
			t.Errorf("%s has no help", c.Name())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no help", c.Name(), f.Name)
			}
		})
	}
}

func inPage(page, pattern string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(page, -1) {
		found = append(found, m[1])
	}
	return found
}

func compare(t *testing.T, what string, code, page []string) {
	t.Helper()
	for _, x := range code {
		if !slices.Contains(page, x) {
			t.Errorf("%s: the page has no %s", what, x)
		}
	}
	for _, x := range page {
		if !slices.Contains(code, x) {
			t.Errorf("%s: the page has %s, the command has not", what, x)
		}
	}
}

package docs

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// document is what the link check needs of one Markdown file.
type document struct {
	links   []link
	anchors map[string]bool
}

type link struct {
	line   int
	target string
}

// parseMarkdown finds the links and the headings' anchors outside code.
func parseMarkdown(text string) document {
	var (
		fence     = regexp.MustCompile("^ {0,3}(```+|~~~+)")
		heading   = regexp.MustCompile(`^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$`)
		code      = regexp.MustCompile("`[^`]*`")
		inline    = regexp.MustCompile(`\]\(\s*<?([^)\s>]*)>?(?:\s+"[^"]*")?\s*\)`)
		reference = regexp.MustCompile(`^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?`)
		named     = regexp.MustCompile(`<a\s+(?:name|id)="([^"]+)"`)
	)
	d := document{anchors: map[string]bool{}}
	seen := map[string]int{}
	open := ""
	for i, line := range strings.Split(text, "\n") {
		if m := fence.FindStringSubmatch(line); m != nil {
			switch {
			case open == "":
				open = m[1][:3]
			case strings.HasPrefix(m[1], open):
				open = ""
			}
			continue
		}
		if open != "" {
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			slug := anchor(m[1])
			if n := seen[slug]; n > 0 {
				d.anchors[slug+"-"+strconv.Itoa(n)] = true
			} else {
				d.anchors[slug] = true
			}
			seen[slug]++
		}
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			d.anchors[m[1]] = true
		}
		line = code.ReplaceAllString(line, "")
		for _, m := range inline.FindAllStringSubmatch(line, -1) {
			d.links = append(d.links, link{i + 1, m[1]})
		}
		if m := reference.FindStringSubmatch(line); m != nil {
			d.links = append(d.links, link{i + 1, m[1]})
		}
	}
	return d
}

// anchor is the id that GitHub gives to a heading.
func anchor(heading string) string {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

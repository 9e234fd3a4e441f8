package config

import (
	"fmt"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"
)

// key is one key of a table, as the tags of its field describe it.
type key struct {
	name     string
	def      string // the default, as the configuration would write it without quotes
	computed string // how the default is found, where it is not always the same
	example  string // a TOML value
	accepts  string // a second type that is taken for the first
	kind     reflect.Type
	index    int
}

// keys lists the keys of a table by the tags of its struct.
func keys(t reflect.Type) []key {
	var ks []key
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := f.Tag.Lookup("toml")
		if !ok {
			continue
		}
		ks = append(ks, key{
			name: name, def: f.Tag.Get("default"), computed: f.Tag.Get("computed"),
			example: f.Tag.Get("example"), accepts: f.Tag.Get("accepts"), kind: f.Type, index: i,
		})
	}
	return ks
}

func names(ks []key) []string {
	ns := make([]string, 0, len(ks))
	for _, k := range ks {
		ns = append(ns, k.name)
	}
	return ns
}

// typeName is what the reference and the errors call the type of a key.
func (k key) typeName() string {
	name := "string"
	switch reflect.New(k.kind).Interface().(type) {
	case *int:
		name = "integer"
	case *time.Duration:
		name = "duration"
	case *Size:
		name = "size"
	case *Umask:
		name = "octal mask"
	case *PortRange:
		name = "port range"
	case *[]string:
		name = "array of strings"
	case *map[string]string:
		name = "table of strings"
	}
	switch k.accepts {
	case "":
	case "string":
		name = "string or " + name
	default:
		name += " or " + k.accepts
	}
	return name
}

// decoder fills structs from TOML values; defaults go the same way.
type decoder struct{ report *report }

// table fills the struct that into points to. Keys it does not have are problems;
// false if there is no table at all.
func (d decoder) table(p path, raw, into any) bool {
	v := reflect.ValueOf(into).Elem()
	ks := keys(v.Type())
	for _, k := range ks {
		if k.computed == "" {
			if err := setText(v.Field(k.index), k.def); err != nil {
				d.report.key(p, "the default of %s is wrong: %s", k.name, err)
			}
		}
	}
	table, ok := raw.(map[string]any)
	if !ok {
		d.report.key(p, "%s must be a table, not %s: write [%s] and its keys below", p, article(tomlType(raw)), p)
		return false
	}
	known := map[string]key{}
	for _, k := range ks {
		known[k.name] = k
	}
	for _, name := range sortedKeys(table) {
		k, ok := known[name]
		if !ok {
			d.report.key(p.with(name), "%s", unknownKey(p, name, names(ks)))
			continue
		}
		d.value(p.with(name), k, table[name], v.Field(k.index))
	}
	return true
}

// unknownKey says where the key belongs or what was probably meant.
func unknownKey(p path, name string, known []string) string {
	message := fmt.Sprintf("unknown key %q in [%s]", name, p)
	if name == "app" && p[0] == "pool" {
		return "app makes a pool of tool workers, which this version does not have: write exec with a program that serves gRPC"
	}
	if s := suggest(name, known); s != "" {
		return message + fmt.Sprintf(": did you mean %q?", s)
	}
	for _, other := range []struct {
		table string
		keys  []key
	}{{"[daemon]", keys(reflect.TypeFor[Daemon]())}, {"[pool.NAME]", keys(reflect.TypeFor[Pool]())}} {
		for _, k := range other.keys {
			if k.name == name {
				return message + ": it belongs in " + other.table
			}
		}
	}
	return message + ": remove it; the keys are " + strings.Join(known, ", ")
}

// value sets one field, or reports why it cannot.
func (d decoder) value(p path, k key, raw any, field reflect.Value) {
	if text, ok := raw.(string); ok && strings.ContainsRune(text, 0) {
		d.report.value(p, "%s has a NUL character, which no program can be given: remove it", k.name)
		return
	}
	switch target := field.Addr().Interface().(type) {
	case *int:
		if n, ok := raw.(int64); ok {
			if n < math.MinInt32 || n > math.MaxInt32 {
				d.report.value(p, "%s = %d is out of range", k.name, n)
				return
			}
			*target = int(n)
			return
		}
	case *[]string:
		if d.strings(p, k, raw, target) {
			return
		}
	case *map[string]string:
		if d.variables(p, k, raw, target) {
			return
		}
	default:
		text, ok := scalar(raw, k)
		if !ok {
			break
		}
		if err := setText(field, text); err != nil {
			d.report.value(p, "%s: %s", k.name, err)
		}
		return
	}
	hint := ""
	if _, isText := raw.(string); isText && k.name == "exec" {
		hint = " (no shell is involved: one string per argument)"
	}
	d.report.value(p, "%s must be %s, not %s%s: for example %s = %s", k.name, article(k.typeName()), article(tomlType(raw)), hint, k.name, k.example)
}

// scalar is the text of a value for a field that is read from text: strings
// always, plain numbers where they have a meaning (seconds, bytes, a user id).
func scalar(raw any, k key) (string, bool) {
	switch v := raw.(type) {
	case string:
		return v, true
	case int64:
		switch name := k.typeName(); {
		case name == "duration", name == "size", k.accepts == "integer":
			return strconv.FormatInt(v, 10), true
		}
	case float64:
		if k.typeName() == "duration" && v >= 0 {
			return strconv.FormatFloat(v, 'f', -1, 64), true
		}
	}
	return "", false
}

// strings reads an array of strings; false if it is something else.
func (d decoder) strings(p path, k key, raw any, target *[]string) bool {
	if text, ok := raw.(string); ok && k.accepts == "string" {
		*target = []string{text}
		return true
	}
	items, ok := raw.([]any)
	if !ok {
		return false
	}
	*target = make([]string, 0, len(items))
	for i, item := range items {
		text, ok := item.(string)
		switch at := p.with(strconv.Itoa(i)); {
		case !ok:
			d.report.value(at, "element %d of %s must be a string, not %s: put it in quotes", i+1, k.name, article(tomlType(item)))
		case strings.ContainsRune(text, 0):
			d.report.value(at, "element %d of %s has a NUL character, which no program can be given: remove it", i+1, k.name)
		}
		*target = append(*target, text)
	}
	return true
}

// variables reads a table of strings; false if it is something else.
func (d decoder) variables(p path, k key, raw any, target *map[string]string) bool {
	table, ok := raw.(map[string]any)
	if !ok {
		return false
	}
	*target = make(map[string]string, len(table))
	for _, name := range sortedKeys(table) {
		text, ok := table[name].(string)
		switch at := p.with(name); {
		case !ok:
			d.report.value(at, "%s in %s must be a string, not %s: put it in quotes", name, k.name, article(tomlType(table[name])))
		case strings.ContainsRune(text, 0):
			d.report.value(at, "%s in %s has a NUL character, which no program can be given: remove it", name, k.name)
		}
		(*target)[name] = text
	}
	return true
}

// setText sets a field from the text form of its type.
func setText(field reflect.Value, text string) (err error) {
	switch target := field.Addr().Interface().(type) {
	case *string:
		*target = text
	case *int:
		*target, err = strconv.Atoi(text)
	case *time.Duration:
		*target, err = ParseDuration(text)
	case *Size:
		*target, err = ParseSize(text)
	case *Umask:
		*target, err = parseUmask(text)
	case *PortRange:
		*target, err = parsePortRange(text)
	default:
		err = fmt.Errorf("cannot set a %s from text", field.Type())
	}
	return err
}

func tomlType(raw any) string {
	switch raw.(type) {
	case string:
		return "string"
	case int64:
		return "integer"
	case float64:
		return "float"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "table"
	}
	return "date or time"
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

func sortedKeys[V any](m map[string]V) []string {
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	return ks
}

package config

import (
	"strconv"
	"strings"
)

// Values fill the placeholders of one worker.
type Values struct {
	Port   int    // the slot's TCP port on 127.0.0.1; 0 = a Unix socket
	Socket string // absolute path of the worker's Unix socket; "" with a port
	Slot   int
	Worker string // text-0-7
}

// Host is the address a worker with a port listens on.
func (v Values) Host() string { return "127.0.0.1" }

// Address is what SNAKEPIT_ADDRESS and {address} say: 127.0.0.1:PORT or unix:PATH.
func (v Values) Address() string {
	if v.Port == 0 {
		return "unix:" + v.Socket
	}
	return v.Host() + ":" + strconv.Itoa(v.Port)
}

// expand replaces the placeholders of a template; "{{" becomes "{".
func (v Values) expand(template, python string) string {
	return eachPlaceholder(template, func(word string) string {
		switch word {
		case "port":
			return strconv.Itoa(v.Port)
		case "socket":
			return v.Socket
		case "address":
			return v.Address()
		case "host":
			return v.Host()
		case "slot":
			return strconv.Itoa(v.Slot)
		case "worker":
			return v.Worker
		case "python":
			return python
		}
		return "{" + word + "}" // Load refuses it
	})
}

// placeholders are the words that may stand in braces.
func placeholders() []string {
	return []string{"port", "socket", "address", "host", "slot", "worker", "python"}
}

// hasPlaceholder says whether the template has {word}.
func hasPlaceholder(template, word string) bool {
	found := false
	eachPlaceholder(template, func(w string) string {
		found = found || w == word
		return ""
	})
	return found
}

// eachPlaceholder replaces every {word}. Braces around anything that is not a
// word (JSON, say) stay as they are.
func eachPlaceholder(template string, replace func(word string) string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(template, '{')
		if i < 0 {
			b.WriteString(template)
			return b.String()
		}
		b.WriteString(template[:i])
		template = template[i+1:]
		if strings.HasPrefix(template, "{") {
			b.WriteByte('{')
			template = template[1:]
			continue
		}
		end := strings.IndexByte(template, '}')
		if end < 0 || !isWord(template[:end]) {
			b.WriteByte('{')
			continue
		}
		b.WriteString(replace(template[:end]))
		template = template[end+1:]
	}
}

// isWord: letters, digits and underscores, a digit not first.
func isWord(s string) bool {
	for i, r := range s {
		if !isLetter(r) && r != '_' && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

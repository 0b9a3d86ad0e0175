package redfish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// maxBody is the maximum size of a request's body, in bytes. The largest valid one has a few hundred.
const maxBody = 64 << 10

// maxDepth is the maximum nesting of values in a body.
const maxDepth = 16

// readBody reads the JSON object of a request.
func readBody(w http.ResponseWriter, r *http.Request) (object, error) {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		media, _, err := mime.ParseMediaType(kind)
		if err != nil || media != "application/json" {
			return nil, fail(msgBody).because("The Content-Type must be application/json.")
		}
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fail(msgGeneral).with(http.StatusRequestEntityTooLarge).because("The body has more than %d bytes.", maxBody)
	case err != nil:
		return nil, fail(msgBody).with(http.StatusBadRequest)
	}
	return parseObject(text)
}

// parseObject reads one JSON object. Unlike encoding/json it refuses a duplicate property.
func parseObject(text []byte) (object, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, fail(msgMalformedJSON)
	}
	body, err := parseMembers(decoder, "", 1)
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fail(msgMalformedJSON)
	}
	return body, nil
}

// parseMembers reads an object after its brace.
func parseMembers(decoder *json.Decoder, at string, depth int) (object, error) {
	body := object{}
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, fail(msgMalformedJSON)
		}
		if _, twice := body[name]; twice {
			f := fail(msgPropertyDuplicate, name)
			f.messages[0].at = at + "/" + name
			return nil, f
		}
		if body[name], err = parseValue(decoder, at+"/"+name, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, fail(msgMalformedJSON)
	}
	return body, nil
}

func parseValue(decoder *json.Decoder, at string, depth int) (any, error) {
	token, err := decoder.Token()
	if err != nil || depth > maxDepth {
		return nil, fail(msgMalformedJSON)
	}
	switch token {
	case json.Delim('{'):
		return parseMembers(decoder, at, depth)
	case json.Delim('['):
		var list []any
		for decoder.More() {
			value, err := parseValue(decoder, at, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		if _, err := decoder.Token(); err != nil {
			return nil, fail(msgMalformedJSON)
		}
		return list, nil
	}
	return token, nil
}

// written returns a value as messages repeat it.
func written(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// parameter is a parameter of an action.
type parameter struct {
	name     string
	required bool
	truth    bool // true or false; otherwise text
}

// parameters reads the parameters of an action.
func parameters(action string, body object, known ...parameter) (object, error) {
	var wrong fault
	values := object{}
	for name, value := range body {
		if strings.HasPrefix(name, "@") {
			continue
		}
		i := slices.IndexFunc(known, func(p parameter) bool { return p.name == name })
		if i < 0 {
			wrong.add(name, msgParameterUnknown, action, name)
			continue
		}
		_, isText := value.(string)
		_, isTruth := value.(bool)
		if known[i].truth && !isTruth || !known[i].truth && !isText {
			wrong.add(name, msgParameterType, written(value), name, action)
			continue
		}
		values[name] = value
	}
	for _, p := range known {
		if _, given := body[p.name]; p.required && !given {
			wrong.add(p.name, msgParameterMissing, action, p.name)
		}
	}
	return values, wrong.errorOrNil()
}

// text returns a parameter that was given as text, or "".
func (o object) text(name string) string {
	text, _ := o[name].(string)
	return text
}

// properties reads the properties of a new resource, all required.
func properties(body object, names ...string) (map[string]string, error) {
	var wrong fault
	values := map[string]string{}
	for name, value := range body {
		switch text, isText := value.(string); {
		case strings.HasPrefix(name, "@"):
		case !slices.Contains(names, name):
			wrong.add(name, msgPropertyUnknown, name)
		case !isText:
			wrong.add(name, msgPropertyType, hidden, name)
		default:
			values[name] = text
		}
	}
	for _, name := range names {
		if _, given := body[name]; !given {
			wrong.add(name, msgPropertyMissing, name)
		}
	}
	return values, wrong.errorOrNil()
}

// hidden replaces a value in a message that may be a password.
const hidden = "(hidden)"

func (f *fault) add(at string, m message, args ...string) {
	f.messages = append(f.messages, extendedMessage{message: m, args: args, at: "/" + at})
}

// errorOrNil sorts the messages, since maps have no order, and returns nil when there are none.
func (f *fault) errorOrNil() error {
	if len(f.messages) == 0 {
		return nil
	}
	slices.SortStableFunc(f.messages, func(a, b extendedMessage) int { return strings.Compare(a.at, b.at) })
	return f
}

package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sort"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
)

// DecodeJSON reads a *_json field of the contract into dst, a pointer. The manager sends PascalCase keys, other callers
// lowerCamel; encoding/json accepts both. An unknown key with a value is refused by name, because ignoring it silently would
// be worse. Empty text and null leave dst unchanged.
func DecodeJSON(field, text string, dst any) error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(dst); err != nil {
		return decodeError(field, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return refusal.InvalidArgument(field, "must be a single JSON value")
	}
	if unknown := unknownKeys(field, []byte(text), reflect.TypeOf(dst).Elem()); len(unknown) > 0 {
		return refusal.InvalidArgument(unknown[0], "not known to this provider")
	}
	return nil
}

// decodeError returns an error of encoding/json in the caller's terms.
func decodeError(field string, err error) error {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		at := field
		if wrongType.Field != "" {
			at += "." + wrongType.Field
		}
		return refusal.InvalidArgument(at, "must be %s, not %s", typeName(wrongType.Type), wrongType.Value)
	}
	return refusal.InvalidArgument(field, "not valid JSON: %v", err)
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a " + t.Kind().String()
	}
}

// unknownKeys lists the keys of a JSON value that request something and have no field in t.
func unknownKeys(path string, raw json.RawMessage, t reflect.Type) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Slice:
		return unknownInList(path, raw, t.Elem())
	case reflect.Struct:
		return unknownInObject(path, raw, t)
	default:
		return nil
	}
}

func unknownInList(path string, raw json.RawMessage, t reflect.Type) []string {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return nil
	}
	var unknown []string
	for i, item := range items {
		unknown = append(unknown, unknownKeys(fmt.Sprintf("%s[%d]", path, i), item, t)...)
	}
	return unknown
}

func unknownInObject(path string, raw json.RawMessage, t reflect.Type) []string {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		return nil
	}
	var unknown []string
	for key, value := range object {
		i := slices.IndexFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return strings.EqualFold(f.Name, key) })
		switch {
		case i >= 0:
			unknown = append(unknown, unknownKeys(path+"."+key, value, reflect.VisibleFields(t)[i].Type)...)
		case requestsSomething(value):
			unknown = append(unknown, path+"."+key)
		}
	}
	sort.Strings(unknown)
	return unknown
}

// requestsSomething reports whether a value differs from the zero value of its type. An object or a list of zero values is
// a zero value too, because a newer manager sends every field of its structures, set or not.
func requestsSomething(value json.RawMessage) bool {
	var v any
	if json.Unmarshal(value, &v) != nil {
		return true
	}
	return holdsSomething(v)
}

func holdsSomething(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return slices.ContainsFunc(v, holdsSomething)
	case map[string]any:
		for _, item := range v {
			if holdsSomething(item) {
				return true
			}
		}
	}
	return false
}

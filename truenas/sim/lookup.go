package sim

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Lookups read the fields of a row in place, by their JSON names. Encoding a thousand VMs to find one of them would take longer
// than the rest of the call.

// lookup returns the field of a row at a dotted path, or nil. The result has the types of encoding/json, except that whole
// numbers are int64.
func lookup(row any, path string) any {
	v, _ := found(row, path)
	return v
}

// found is a lookup that distinguishes null from a missing field.
func found(row any, path string) (any, bool) {
	v := reflect.ValueOf(row)
	for path != "" {
		var name string
		name, path = nextName(path)
		v = member(v, name)
		if !v.IsValid() {
			return nil, false
		}
	}
	return plain(v), true
}

// anyMember tests the values at a path in which "*" matches each member of a list in turn, until one passes. A missing field does
// not pass.
func anyMember(v reflect.Value, path string, test func(any) bool) bool {
	for path != "" {
		name, rest := nextName(path)
		if list := opened(v); name == "*" && list.IsValid() && list.Kind() == reflect.Slice {
			for i := range list.Len() {
				if anyMember(list.Index(i), rest, test) {
					return true
				}
			}
			return false
		}
		if v = member(v, name); !v.IsValid() {
			return false
		}
		path = rest
	}
	return test(plain(v))
}

// nextName splits the first name off a path. "\." is a dot in a name.
func nextName(path string) (name, rest string) {
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path) && path[i+1] == '.':
			i++
		case path[i] == '.':
			return strings.ReplaceAll(path[:i], `\.`, "."), path[i+1:]
		}
	}
	return strings.ReplaceAll(path, `\.`, "."), ""
}

// member returns the member of an object or list with a name, or the zero Value.
func member(v reflect.Value, name string) reflect.Value {
	v = opened(v)
	if !v.IsValid() {
		return v
	}
	switch v.Kind() {
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			return reflect.Value{}
		}
		return v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key()))
	case reflect.Struct:
		return structMember(v, name)
	case reflect.Slice:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < v.Len() {
			return v.Index(i)
		}
	}
	return reflect.Value{}
}

func structMember(v reflect.Value, name string) reflect.Value {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct:
			if inner := structMember(v.Field(i), name); inner.IsValid() {
				return inner
			}
		case tag == name && tag != "-":
			if strings.Contains(options, "omitempty") && v.Field(i).IsZero() {
				return reflect.Value{}
			}
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// opened follows pointers and interfaces, and decodes values with their own JSON encoding. The zero Value means null.
func opened(v reflect.Value) reflect.Value {
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		if v.IsNil() {
			return reflect.Value{}
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return v
	}
	if m, ok := v.Interface().(json.Marshaler); ok {
		return reflect.ValueOf(remade(m))
	}
	return v
}

// plain returns a value as encoding/json would decode it from its JSON.
func plain(v reflect.Value) any {
	v = opened(v)
	if !v.IsValid() {
		return nil
	}
	switch {
	case v.CanInt():
		return v.Int()
	case v.CanUint():
		return int64(v.Uint())
	case v.CanFloat():
		return v.Float()
	}
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return remade(v.Interface())
		}
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i))
		}
		return list
	}
	return remade(v.Interface())
}

// remade encodes a value as JSON and decodes it.
func remade(v any) any {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("sim: a row cannot be encoded: " + err.Error())
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		panic("sim: a row cannot be decoded: " + err.Error())
	}
	return out
}

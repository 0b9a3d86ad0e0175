package sim

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// args decodes the positional arguments of a call. Validation errors
// begin with names. An argument that is named "options" or "filters", or whose
// name here ends in "?", may be omitted, and then dst is unchanged.
//
// It is as strict as TrueNAS's models: keys are case-sensitive, types are not
// converted, and unknown keys are refused.
func (c *call) args(names []string, dst ...any) error {
	var v invalid
	if len(c.params) > len(dst) {
		v.add("", eINVAL, "Too many arguments (expected %d, found %d)", len(dst), len(c.params))
		return v.err()
	}
	for i, d := range dst {
		name, optional := strings.CutSuffix(names[i], "?")
		switch {
		case i < len(c.params):
			v = append(v, c.decode(name, c.params[i], d)...)
		case !optional && name != "options" && name != "filters":
			v.add(name, eINVAL, "Field required")
		}
	}
	return v.err()
}

// decode decodes one value, for arguments whose type depends on their content. Validation errors begin with at; dst is a pointer.
func (c *call) decode(at string, raw json.RawMessage, dst any) invalid {
	d := decoder{release: c.release()}
	d.value(at, raw, reflect.ValueOf(dst).Elem(), rule{})
	return d.complaints
}

// decodeBranch decodes one value as one branch of a union.
func (c *call) decodeBranch(branch, at string, raw json.RawMessage, dst any) invalid {
	d := decoder{release: c.release(), branch: branch}
	d.value(at, raw, reflect.ValueOf(dst).Elem(), rule{})
	return d.complaints
}

type decoder struct {
	release    release
	branch     string // of a union; "": none
	complaints invalid
}

func (d *decoder) complain(at, format string, a ...any) {
	d.complaints.add(at, eINVAL, format, a...)
}

var rawType = reflect.TypeFor[json.RawMessage]()

// value decodes raw into v and checks it against the rule.
func (d *decoder) value(at string, raw json.RawMessage, v reflect.Value, r rule) {
	raw = bytes.TrimSpace(raw)
	null := string(raw) == "null"
	switch {
	case null && r.nullable:
		v.SetZero()
		return
	case v.Type() == rawType:
		v.SetBytes(bytes.Clone(raw))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		d.value(at, raw, fresh.Elem(), r)
		v.Set(fresh)
	case reflect.Interface:
		d.decoded(at, raw, v, "Input should be valid")
	case reflect.Struct:
		d.object(at, raw, v)
	case reflect.Map:
		d.dictionary(at, raw, v)
	case reflect.Slice:
		d.list(at, raw, v, r)
	case reflect.String:
		d.text(at, raw, v, r)
	case reflect.Bool:
		if null {
			raw = nil
		}
		d.decoded(at, raw, v, "Input should be a valid boolean")
	case reflect.Float64:
		d.number(at, raw, v, r)
	default:
		d.integer(at, raw, v, r)
	}
}

// decoded handles types for which encoding/json is strict enough.
func (d *decoder) decoded(at string, raw json.RawMessage, v reflect.Value, otherwise string) {
	if json.Unmarshal(raw, v.Addr().Interface()) != nil {
		d.complain(at, "%s", otherwise)
	}
}

// object decodes into a struct. Validation errors come in pydantic's order: known fields as declared, then unknown ones.
func (d *decoder) object(at string, raw json.RawMessage, v reflect.Value) {
	members, names, ok := membersOf(raw)
	if !ok {
		d.complain(at, "Input should be a valid dictionary or instance of %s", pythonName(v.Type()))
		return
	}
	for _, f := range fieldsOf(v, d.release, d.branch) {
		member, given := members[f.name]
		delete(members, f.name)
		if f.rule.branch {
			f.rule.enum = []string{d.branch}
		}
		switch {
		case given && f.rule.optional:
			d.orNothing(below(at, f.name), member, f)
		case given:
			d.value(below(at, f.name), member, f.value, f.rule)
		case f.rule.required && d.branch != updateBranch:
			d.complain(below(at, f.name), "Field required")
		}
	}
	for _, name := range names {
		if _, unknown := members[name]; unknown {
			d.complain(below(at, name), "Extra inputs are not permitted")
			delete(members, name)
		}
	}
}

// below returns the path of a member.
func below(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// orNothing decodes a field without a default. Its type is a union with "no value", so a wrong value has a validation error for
// each.
func (d *decoder) orNothing(at string, raw json.RawMessage, f field) {
	before := len(d.complaints)
	d.value(at, raw, f.value, f.rule)
	if len(d.complaints) == before || d.release < v25_10 {
		return
	}
	kind := "." + jsonType(f.value.Type())
	if f.rule.enum != nil {
		kind = ".literal['" + strings.Join(f.rule.enum, "','") + "']"
	}
	for i := before; i < len(d.complaints); i++ {
		d.complaints[i].attribute = strings.Replace(d.complaints[i].attribute, at, at+kind, 1)
	}
	d.complain(at+".is-instance[_NotRequired]", "Input should be an instance of _NotRequired")
}

// jsonType returns pydantic's name of a type.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.String:
		return "str"
	case reflect.Bool:
		return "bool"
	}
	return "int"
}

// pythonName returns the model name for a type.
func pythonName(t reflect.Type) string {
	name := t.Name()
	if name == "" {
		return "BaseModel"
	}
	if rest, ok := strings.CutPrefix(name, "vm"); ok {
		return "VM" + rest
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// membersOf returns the members of an object, and their names in order.
func membersOf(raw json.RawMessage) (map[string]json.RawMessage, []string, bool) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, nil, false
	}
	members := map[string]json.RawMessage{}
	var names []string
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, nil, false
		}
		var member json.RawMessage
		if dec.Decode(&member) != nil {
			return nil, nil, false
		}
		members[name.(string)] = member
		names = append(names, name.(string))
	}
	return members, names, true
}

func (d *decoder) dictionary(at string, raw json.RawMessage, v reflect.Value) {
	members, names, ok := membersOf(raw)
	if !ok {
		d.complain(at, "Input should be a valid dictionary")
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, name := range names {
		member := reflect.New(v.Type().Elem()).Elem()
		d.value(at+"."+name, members[name], member, rule{})
		out.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), member)
	}
	v.Set(out)
}

func (d *decoder) list(at string, raw json.RawMessage, v reflect.Value, r rule) {
	var members []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &members) != nil {
		d.complain(at, "Input should be a valid list")
		return
	}
	out := reflect.MakeSlice(v.Type(), len(members), len(members))
	r.nullable = false
	for i, member := range members {
		d.value(at+"."+strconv.Itoa(i), member, out.Index(i), r)
	}
	v.Set(out)
}

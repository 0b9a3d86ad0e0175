package sim

import (
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// rule is the parsed sim tag of a field:
//
//	sim:"required,nullable,min=20,max=300,minlen=1,maxlen=64,enum=UEFI|UEFI_CSM,since=26,until=25.10,pattern=^a,b$"
//
// only names the branch of a union that has the field. optional means that it has no default, which adds a validation error to
// that of a wrong value. zfsname requires the name of a dataset, and branch the name of the union's branch. pattern comes last,
// because it may contain commas. On a slice the rules for values apply to each element.
type rule struct {
	required bool
	nullable bool
	min, max string // decimal; "" means unlimited
	minlen   int
	maxlen   int // 0: longest
	enum     []string
	since    release
	until    release
	only     string
	optional bool
	zfsname  bool
	branch   bool
	pattern  string
	uuid     bool // a text that Python accepts as a UUID of any version
}

// rules caches the parsed tags.
var rules sync.Map

func ruleOf(tag string) rule {
	if known, ok := rules.Load(tag); ok {
		return known.(rule)
	}
	r := readRule(tag)
	rules.Store(tag, r)
	return r
}

// readRule parses a tag. A malformed tag is a bug in this package.
func readRule(tag string) rule {
	var r rule
	for tag != "" {
		var part string
		if strings.HasPrefix(tag, "pattern=") {
			part, tag = tag, ""
		} else {
			part, tag, _ = strings.Cut(tag, ",")
		}
		name, value, _ := strings.Cut(part, "=")
		r.set(name, value)
	}
	return r
}

func (r *rule) set(name, value string) {
	switch name {
	case "required":
		r.required = true
	case "nullable":
		r.nullable = true
	case "min":
		r.min = value
	case "max":
		r.max = value
	case "minlen":
		r.minlen = mustNumber(value)
	case "maxlen":
		r.maxlen = mustNumber(value)
	case "enum":
		r.enum = strings.Split(value, "|")
	case "since":
		r.since = mustRelease(value)
	case "until":
		r.until = mustRelease(value)
	case "uuid":
		r.uuid = true
	case "only":
		r.only = value
	case "optional":
		r.optional = true
	case "branch":
		r.branch = true
	case "zfsname":
		r.zfsname = true
	case "pattern":
		r.pattern = value
	default:
		panic("sim: a tag has the unknown rule " + name)
	}
}

func mustNumber(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic("sim: a tag has the bad number " + text)
	}
	return n
}

func mustRelease(name string) release {
	g, err := generationOf(name)
	if err != nil {
		panic("sim: a tag: " + err.Error())
	}
	return g.release
}

// updateBranch is the model of an update. It has the members of all branches, and none is required.
const updateBranch = "update"

// in reports whether the release and the branch of a union have the field. An empty branch has all fields.
func (r rule) in(now release, branch string) bool {
	return now >= r.since && (r.until == 0 || now <= r.until) && (r.only == "" || branch == "" || branch == updateBranch || r.only == branch)
}

// field is a member of an object and its destination.
type field struct {
	name  string
	rule  rule
	value reflect.Value
}

// fieldsOf lists the members of a struct as encoding/json would, with those of embedded structs, without those that the release
// or the branch lacks.
func fieldsOf(v reflect.Value, now release, branch string) []field {
	var fields []field
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			fields = append(fields, fieldsOf(v.Field(i), now, branch)...)
		case name == "" || name == "-" || !f.IsExported():
		default:
			r := ruleOf(f.Tag.Get("sim"))
			if r.in(now, branch) {
				fields = append(fields, field{name, r, v.Field(i)})
			}
		}
	}
	return fields
}

// oneOf lists the values of an enumeration in pydantic's format: 'a', 'b' or 'c'.
func oneOf(values []string, quote string) string {
	text := ""
	for i, v := range values {
		switch {
		case i == 0:
		case i == len(values)-1:
			text += " or "
		default:
			text += ", "
		}
		text += quote + v + quote
	}
	return text
}

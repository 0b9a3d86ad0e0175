package settings

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxValue is the longest value, in bytes.
const maxValue = 1024

// Parse reads the settings among the keys of an ExtraConfig. Keys without [Prefix] are for other hypervisors and are
// ignored. It refuses an unknown key and a value that no VM can have, with an [*Error].
func Parse(extra map[string]string) (Values, error) {
	v := Values{disks: map[string]Disk{}}
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		if !Ours(key) {
			continue
		}
		name, ok := strings.CutPrefix(key, Prefix)
		if !ok {
			return Values{}, refuse(key, "the keys of settings begin with %s, in lower case", Prefix)
		}
		if err := v.add(key, name, extra[key]); err != nil {
			return Values{}, err
		}
	}
	v.applyOS()
	slices.SortStableFunc(v.given, func(a, b given) int { return slices.Index(Names(), a.row.Name) - slices.Index(Names(), b.row.Name) })
	if err := v.consistent(); err != nil {
		return Values{}, err
	}
	return v, nil
}

// Ours reports whether a key begins with [Prefix] in lower or upper case.
func Ours(key string) bool {
	return len(key) >= len(Prefix) && strings.EqualFold(key[:len(Prefix)], Prefix)
}

// add reads one setting. An empty value requests nothing.
func (v *Values) add(key, name, value string) error {
	name, disk, ofOne := strings.Cut(name, ".")
	row, known := named(name)
	switch {
	case !known:
		return refuse(key, "not a setting of this provider%s", nearest(name))
	case ofOne && !row.OfDisk():
		return refuse(key, "%s is not a setting of disks", row.Key())
	case ofOne && disk == "":
		return refuse(key, "the name of a disk must follow the dot")
	case value == "":
		return nil
	case len(value) > maxValue:
		return refuse(key, "has %d bytes; at most %d are allowed", len(value), maxValue)
	}
	field := row.of
	if row.OfDisk() {
		own := v.disks[disk]
		defer func() { v.disks[disk] = own }()
		field = func(*Values) any { return row.disk(&own) }
	}
	if err := row.parse(key, value, field(v)); err != nil {
		return err
	}
	v.given = append(v.given, given{key, value, row})
	return nil
}

// parse writes a value into the field of the row.
func (s Setting) parse(key, value string, field any) error {
	switch s.Kind {
	case Choice:
		value = strings.ToLower(value)
		if !slices.Contains(s.Allowed, value) {
			return refuse(key, "%q; allowed are %s", value, strings.Join(s.Allowed, ", "))
		}
		*field.(*string) = value
	case Number:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < s.Min || n > s.Max {
			return refuse(key, "%q; allowed are whole numbers from %d to %d", value, s.Min, s.Max)
		}
		*field.(*int64) = n
	case Switch:
		on, err := strconv.ParseBool(strings.ToLower(value))
		if err != nil {
			return refuse(key, "%q; allowed are true and false", value)
		}
		*field.(**bool) = &on
	case List:
		return s.parseList(key, value, field.(*[]string))
	default:
		if why := s.wrong(value); why != "" {
			return refuse(key, "%s%s", s.quoted(value), why)
		}
		*field.(*string) = value
	}
	return nil
}

func (s Setting) parseList(key, value string, list *[]string) error {
	for _, entry := range strings.Split(value, ",") {
		entry = strings.TrimSpace(entry)
		if why := s.wrong(entry); why != "" {
			return refuse(key, "%q: %s", entry, why)
		}
		*list = append(*list, entry)
	}
	if len(*list) > 1 && slices.Contains(*list, NoDevices) {
		return refuse(key, "%q: %s must be the only entry", value, NoDevices)
	}
	return nil
}

// quoted returns the beginning of the refusal of a value. It omits a value that may contain a secret.
func (s Setting) quoted(value string) string {
	if s.secret {
		return ""
	}
	return strconv.Quote(value) + ": "
}

func (s Setting) wrong(value string) string {
	if s.check == nil {
		return ""
	}
	return s.check(value)
}

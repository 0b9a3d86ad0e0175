package sim

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// longest is the maximum length of a string in characters, unless the rule sets another. It is the limit of all of TrueNAS's
// models.
const longest = 1024

// text decodes a string and checks it against the rule.
func (d *decoder) text(at string, raw json.RawMessage, v reflect.Value, r rule) {
	var s string
	if !decodeString(raw, &s) {
		if r.enum != nil {
			d.complain(at, "Input should be %s", oneOf(r.enum, "'"))
			return
		}
		d.complain(at, "Input should be a valid string")
		return
	}
	if r.maxlen == 0 {
		r.maxlen = longest
	}
	n := utf8.RuneCountInString(s)
	switch {
	case r.zfsname && d.release >= v25_10 && (len(s) > 255 || !validDatasetName(s)):
		d.complain(at, "Value error, Please provide a valid dataset name according to ZFS standards")
	case r.enum != nil && !slices.Contains(r.enum, s):
		d.complain(at, "Input should be %s", oneOf(r.enum, "'"))
	case n < r.minlen:
		d.complain(at, "String should have at least %s", plural(r.minlen, "character"))
	case n > r.maxlen:
		d.complain(at, "String should have at most %s", plural(r.maxlen, "character"))
	case r.pattern != "" && !patternOf(r.pattern).MatchString(s):
		d.complain(at, "String should match pattern '%s'", r.pattern)
	case r.uuid && !uuidText.MatchString(strings.NewReplacer("urn:", "", "uuid:", "", "-", "").Replace(strings.Trim(s, "{}"))):
		d.complain(at, "Value error, UUID is not valid version 4")
	default:
		v.SetString(s)
	}
}

// patterns caches the compiled patterns of rules.
var patterns sync.Map

func patternOf(text string) *regexp.Regexp {
	if known, ok := patterns.Load(text); ok {
		return known.(*regexp.Regexp)
	}
	pattern := regexp.MustCompile(text)
	patterns.Store(text, pattern)
	return pattern
}

var uuidText = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)

// integer decodes a whole number. It refuses fractions, exponents and true, whatever their value.
func (d *decoder) integer(at string, raw json.RawMessage, v reflect.Value, r rule) {
	n, err := strconv.ParseInt(string(raw), 10, v.Type().Bits())
	if err != nil {
		d.complain(at, "Input should be a valid integer")
		return
	}
	if r.enum != nil && !slices.Contains(r.enum, string(raw)) {
		d.complain(at, "Input should be %s", oneOf(r.enum, ""))
		return
	}
	if v.CanInt() && d.within(at, float64(n), r) {
		v.SetInt(n)
	}
}

// number decodes any number.
func (d *decoder) number(at string, raw json.RawMessage, v reflect.Value, r rule) {
	var n float64
	if string(raw) == "null" || json.Unmarshal(raw, &n) != nil {
		d.complain(at, "Input should be a valid number")
		return
	}
	if d.within(at, n, r) {
		v.SetFloat(n)
	}
}

// within checks a number against the limits of the rule.
func (d *decoder) within(at string, n float64, r rule) bool {
	if limit, err := strconv.ParseFloat(r.min, 64); err == nil && n < limit {
		d.complain(at, "Input should be greater than or equal to %s", r.min)
		return false
	}
	if limit, err := strconv.ParseFloat(r.max, 64); err == nil && n > limit {
		d.complain(at, "Input should be less than or equal to %s", r.max)
		return false
	}
	return true
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

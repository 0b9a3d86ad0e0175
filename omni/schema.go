package omni

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Schema returns the JSON Schema of a machine class, from which Omni makes its form. The properties are in the order of the form,
// which a Go map would not keep.
func Schema() string {
	var b bytes.Buffer
	object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "Machine on a TrueNAS"},
		{"type", "object"},
		{"properties", properties(classFields())},
		{"required", requiredOf(classFields())},
		{"additionalProperties", false},
	}.write(&b)
	return b.String()
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) write(b *bytes.Buffer) {
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "%q:", m.name)
		if nested, ok := m.value.(object); ok {
			nested.write(b)
			continue
		}
		encoded, _ := json.Marshal(m.value) // Texts, numbers and lists always marshal.
		b.Write(encoded)
	}
	b.WriteByte('}')
}

func properties(fields []field) object {
	var o object
	for _, f := range fields {
		o = append(o, member{f.name, f.schema()})
	}
	return o
}

func (f field) schema() object {
	o := object{{"type", f.kind}, {"title", f.title}, {"description", f.description}}
	if f.initial != nil {
		o = append(o, member{"default", f.initial})
	}
	if f.kind == integer {
		o = append(o, member{"minimum", f.min}, member{"maximum", f.max})
	}
	if len(f.allowed) > 0 {
		o = append(o, member{"enum", f.allowed})
	}
	if f.pattern != nil {
		o = append(o, member{"pattern", f.pattern.String()})
	}
	switch {
	case f.kind == array && len(f.items) > 0:
		o = append(o, member{"maxItems", maxListed}, member{"items", object{
			{"type", "object"}, {"properties", properties(f.items)}, {"required", requiredOf(f.items)}, {"additionalProperties", false},
		}})
	case f.kind == array:
		o = append(o, member{"items", object{{"type", text}}})
	}
	return o
}

func requiredOf(fields []field) []string {
	names := []string{}
	for _, f := range fields {
		if f.required {
			names = append(names, f.name)
		}
	}
	return names
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// maxName is longer than the name of any setting or system extension.
const maxName = 64

// nearest returns the name of the setting that a misspelt name is at most three letters away from, or "".
func nearest(name string, fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if other := namesOfOthers[name]; slices.Contains(names, other) {
		return "; did you mean " + other + "?"
	}
	if name == memoryFloor {
		return ": TrueNAS does not return reclaimed memory to a guest, so a machine always has its full memory"
	}
	return nearestOf(name, names)
}

// memoryFloor is a setting of other providers, and of TrueNAS itself, that this provider does not have.
const memoryFloor = "min_memory"

// namesOfOthers maps names that other Omni providers use to the settings of this one.
var namesOfOthers = map[string]string{
	"cpus": "cores", "sockets": "cpu_sockets", "cpu_type": "cpu_mode", "pool": "storage_pool", "storage_selector": "storage_pool",
	"network_interface": "network_bridge", "bridge": "network_bridge", "boot_method": "firmware", "pci_devices": "pci",
	"storage_disk_size": "additional_disks", "disk_size": "size",
}

// nearestOf returns the name that a misspelt one is at most three letters away from, or "".
func nearestOf(name string, names []string) string {
	best, least := "", 4
	if len(name) > maxName {
		return ""
	}
	for _, n := range names {
		if d := levenshtein.ComputeDistance(fold(name), fold(n)); d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

func fold(name string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(name))
}

package omni

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"virtrigaud-provider-truenas/server/settings"
)

// hardwareFields returns the hardware settings of a machine class: those of the table that apply to Talos.
func hardwareFields() []field {
	var fields []field
	for _, s := range settings.Table() {
		if !s.ClassOnly {
			fields = append(fields, hardwareField(s, s.Name, s.Title))
		}
	}
	return fields
}

// diskHardwareFields returns the hardware settings of one additional disk.
func diskHardwareFields() []field {
	var fields []field
	for _, s := range settings.Table() {
		if s.OfDisk() && !s.ClassOnly {
			fields = append(fields, hardwareField(s, s.Short(), s.Title))
		}
	}
	return fields
}

func hardwareField(s settings.Setting, name, title string) field {
	about := strings.ReplaceAll(strings.TrimSuffix(s.About, "."), "`", "") + "; " + defaultOf(s) + " unless given"
	if s.OfDisk() && name == s.Short() {
		about = strings.ReplaceAll(about, "disk_", "") // The other settings of the disk have no such prefix either.
	}
	f := field{name: name, title: title, description: about, kind: text}
	switch s.Kind {
	case settings.Number:
		f.kind, f.min, f.max, f.unit = integer, s.Min, s.Max, s.Unit
	case settings.Switch:
		f.kind = boolean
	case settings.List:
		f.kind = array
	case settings.Choice:
		f.allowed = s.Allowed
	}
	return f
}

// defaultOf returns the default of a setting for a machine of Omni, which runs Talos and is never a clone.
func defaultOf(s settings.Setting) string {
	text := strings.ReplaceAll(s.Default, "`", "")
	if _, others, ok := strings.Cut(text, "for os windows, else "); ok {
		text = others
	}
	text, _, _ = strings.Cut(text, "; of a clone, ")
	return text
}

// readHardware reads the hardware settings from decoded provider data, whose fields are already checked one by one, and returns
// conflicts between them.
func (c *Class) readHardware(data map[string]any) []string {
	c.Hardware = map[string]string{}
	for _, s := range settings.Table() {
		if value := plainText(data[s.Name]); value != "" && !s.ClassOnly {
			c.Hardware[s.Key()] = value
		}
	}
	list, _ := data["additional_disks"].([]any)
	for i, d := range c.disks() {
		own, _ := list[i].(map[string]any)
		for _, s := range settings.Table() {
			if value := plainText(own[s.Short()]); value != "" && s.OfDisk() && !s.ClassOnly {
				if d.Name == settings.RootDisk {
					return []string{fmt.Sprintf("additional_disks[%d].name: %q is the name of the disk that Talos is installed on; a disk with %s needs another one", i, d.Name, s.Short())}
				}
				c.Hardware[s.Key()+"."+d.Name] = value
			}
		}
	}
	values, err := settings.Parse(c.Hardware)
	if err == nil {
		err = values.FitCPUs(c.Cores)
	}
	var wrong *settings.Error
	if errors.As(err, &wrong) {
		return []string{classTerms(wrong.Error())}
	}
	return nil
}

// plainText returns the value of a setting as a text, or "" without a value.
func plainText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatInt(int64(v), 10)
	case []any:
		var list []string
		for _, item := range v {
			list = append(list, fmt.Sprint(item))
		}
		return strings.Join(list, ",")
	}
	return ""
}

// hardwareNames returns the names of the class's hardware settings.
func (c Class) hardwareNames() []string {
	var names []string
	for key := range c.Hardware {
		name, _, _ := strings.Cut(strings.TrimPrefix(key, settings.Prefix), ".")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// knowsHardware refuses settings that the backend does not list, because it would ignore them.
func (b *backend) knowsHardware(c Class) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range c.hardwareNames() {
		if !slices.Contains(b.settings, name) {
			return refusal("%s does not know the setting %s; update it, or leave the setting out", b.name, name)
		}
	}
	return nil
}

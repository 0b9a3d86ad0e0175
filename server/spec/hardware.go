package spec

import (
	"encoding/json"
	"errors"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
)

// ExtraField is the path of the hardware settings in a request.
const ExtraField = "class_json.ExtraConfig."

// extraCDROM is the key of the setting cdrom in releases of this provider before the table of settings.
const extraCDROM = "truenas.cdrom"

// ParseHardware reads the settings of this provider in ExtraConfig, for a VM of that many CPUs.
func ParseHardware(extra map[string]json.RawMessage, cpus int) (settings.Values, error) {
	texts := map[string]string{}
	for key, value := range extra {
		if key == extraCDROM {
			key = settings.Prefix + "cdrom"
			if _, twice := extra[key]; twice {
				return settings.Values{}, refusal.InvalidArgument(ExtraField+extraCDROM, "is the older name of %s; give one of them", key)
			}
		} else if !settings.Ours(key) {
			continue
		}
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return settings.Values{}, refusal.InvalidArgument(ExtraField+key, "%s; allowed is a text", value)
		}
		texts[key] = text
	}
	values, err := settings.Parse(texts)
	for _, name := range []string{"boot_once", "media", "media_checksum"} {
		if err == nil && values.Given(name) {
			return values, refusal.InvalidArgument(HardwareField(name), "a class is applied repeatedly; set %s in a Reconfigure whose class has no other field", name)
		}
	}
	if err == nil {
		err = values.FitCPUs(int64(cpus))
	}
	return values, HardwareError(err)
}

// HardwareError returns the refusal of a setting as the error of a request.
func HardwareError(err error) error {
	var wrong *settings.Error
	if errors.As(err, &wrong) {
		return refusal.InvalidArgument(ExtraField+wrong.Key, "%s", wrong.Reason)
	}
	return err
}

// HardwareField returns the field of a request for the hardware setting with this name.
func HardwareField(name string) string { return ExtraField + settings.Prefix + name }

// Topology returns the arrangement of the CPUs of a checked class.
func (c Class) Topology() settings.Topology {
	t, _ := c.Hardware.Topology(int64(c.CPUs))
	return t
}

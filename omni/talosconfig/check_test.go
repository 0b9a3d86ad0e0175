package talosconfig

import (
	"errors"
	"strings"
	"testing"
)

func TestChecks(t *testing.T) {
	subnets := func(text string) error {
		list := strings.Fields(text)
		for _, s := range list {
			if err := CheckSubnet(s); err != nil {
				return err
			}
		}
		return CheckSubnets(list)
	}
	args := func(text string) error { return CheckKernelArgs(strings.Fields(text)) }
	serial := func(text string) error {
		if !IsSerial(text) {
			return errors.New("not a serial")
		}
		return nil
	}
	for _, tt := range []struct {
		name  string
		check func(string) error
		text  string
		want  string // of the error; empty: accepted
	}{
		{"no subnets", subnets, "", ""},
		{"subnets of both families", subnets, "192.0.2.0/24 2001:db8::/64 !192.0.2.5/32", ""},
		{"an address", subnets, "192.0.2.5", "is not a subnet"},
		{"an address within a subnet", subnets, "192.0.2.5/24", "write the subnet as 192.0.2.0/24"},
		{"an IPv4 subnet written as IPv6", subnets, "::ffff:192.0.2.0/120", "write IPv4 subnets as 192.0.2.0"},
		{"an excluded subnet first", subnets, "!192.0.2.5/32 192.0.2.0/24", "excluded subnets come last"},
		{"excluded subnets alone", subnets, "!192.0.2.5/32", "all subnets are excluded"},
		{"excluded twice", subnets, "!!192.0.2.5/32", "is not a subnet"},
		{"a kernel argument", CheckKernelArg, "net.ifnames=0", ""},
		{"a removed kernel argument", CheckKernelArg, "-console", ""},
		{"a kernel argument with a quote", CheckKernelArg, `foo="a"`, ""},
		{"two kernel arguments", CheckKernelArg, "a=1 b=2", "is not one kernel argument"},
		{"a kernel argument with a line break", CheckKernelArg, "a=1\nb", "is not one kernel argument"},
		{"a kernel argument without a name", CheckKernelArg, "=1", "is not one kernel argument"},
		{"only a hyphen", CheckKernelArg, "-", "is not one kernel argument"},
		{"a kernel argument beyond ASCII", CheckKernelArg, "näme=1", "is not one kernel argument"},
		{"Omni's own argument", CheckKernelArg, "siderolink.api=https://x", "set siderolink.api themselves"},
		{"Omni's own argument, removed", CheckKernelArg, "-talos.platform", "set talos.platform themselves"},
		{"kernel arguments", args, "a=1 b=2", ""},
		{"a kernel argument twice", args, "a=1 b=2 a=1", `"a=1" is given twice`},
		{"too many kernel arguments", args, strings.Repeat("x", maxKernelArgs+1), "at most 1024 are allowed"},
		{"an extension", CheckExtension, "siderolabs/iscsi-tools", ""},
		{"an extension without its owner", CheckExtension, "iscsi-tools", "is not the name of a system extension"},
		{"an extension with a version", CheckExtension, "siderolabs/iscsi-tools:v1", "is not the name of a system extension"},
		{"an extension in capitals", CheckExtension, "Siderolabs/iscsi-tools", "is not the name of a system extension"},
		{"a volume", CheckVolumeName, "data-2", ""},
		{"a volume of 34 characters", CheckVolumeName, strings.Repeat("a", 34), ""},
		{"a volume of 35 characters", CheckVolumeName, strings.Repeat("a", 35), "up to 34 letters"},
		{"a volume with an underscore", CheckVolumeName, "my_data", "up to 34 letters"},
		{"a volume without a name", CheckVolumeName, "", "up to 34 letters"},
		{"a serial", serial, "6e5c7d1a", ""},
		{"a serial with a quote", serial, `6e"7d`, "not a serial"},
		{"a serial that QEMU truncates", serial, strings.Repeat("a", 21), "not a serial"},
		{"no serial", serial, "", "not a serial"},
	} {
		err := tt.check(tt.text)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

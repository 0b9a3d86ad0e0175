package talosconfig

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxKernelArgs limits the total length of the kernel arguments. Linux reads 2048 characters on x86, and Talos, its image and the
// connection to Omni need a part of them.
const maxKernelArgs = 1024

// reserved are the kernel arguments that the connection to Omni or the image determines.
var reserved = []string{"siderolink.api", "talos.events.sink", "talos.logging.kernel", "talos.config", "talos.config.early", "talos.config.inline", "talos.platform"}

// CheckKernelArg validates one argument of the kernel's command line. An argument that begins with a hyphen removes an
// argument of the image factory.
func CheckKernelArg(arg string) error {
	name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
	switch {
	case name == "" || strings.ContainsFunc(arg, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("%q is not one kernel argument such as net.ifnames=0: allowed are printable ASCII characters without spaces", arg)
	case slices.Contains(reserved, name):
		return fmt.Errorf("%q: the provider and Omni set %s themselves", arg, name)
	}
	return nil
}

// CheckKernelArgs validates all arguments together: their total length, and that none is repeated.
func CheckKernelArgs(args []string) error {
	for i, arg := range args {
		if slices.Contains(args[:i], arg) {
			return fmt.Errorf("%q is given twice", arg)
		}
	}
	if n := len(strings.Join(args, " ")); n > maxKernelArgs {
		return fmt.Errorf("%d characters in all; at most %d are allowed", n, maxKernelArgs)
	}
	return nil
}

var extensionRE = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9._-]*$`)

// CheckExtension accepts names in the form that the image factory uses for system extensions.
func CheckExtension(name string) error {
	if len(name) > 128 || !extensionRE.MatchString(name) {
		return fmt.Errorf("%q is not the name of a system extension such as siderolabs/iscsi-tools", name)
	}
	return nil
}

package qemu

import (
	"slices"
	"strings"
)

// virtualizes reports whether a processor can run guests, from its flags in /proc/cpuinfo: vmx of Intel and svm of AMD.
func virtualizes(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		name, flags, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "flags" {
			continue
		}
		words := strings.Fields(flags)
		return slices.Contains(words, "vmx") || slices.Contains(words, "svm")
	}
	return false
}

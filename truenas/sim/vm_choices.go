package sim

// constant is a method without parameters and with a fixed result.
func constant(v any) func(*call) (any, error) {
	return func(c *call) (any, error) {
		if err := c.args(nil); err != nil {
			return nil, err
		}
		return v, nil
	}
}

func ovmfChoices() map[string]string {
	choices := map[string]string{}
	for _, name := range []string{
		"OVMF_CODE.fd", "OVMF_CODE.secboot.fd", "OVMF_CODE_4M.fd", "OVMF_CODE_4M.ms.fd",
		"OVMF_CODE_4M.secboot.fd", "OVMF_CODE_4M.snakeoil.fd",
	} {
		choices[name] = name
	}
	return choices
}

func vmOVMFChoices(c *call) (any, error) { return constant(ovmfChoices())(c) }

func cpuModels() map[string]string {
	models := map[string]string{}
	for _, name := range []string{"qemu64", "kvm64", "Nehalem", "Haswell", "Skylake-Server", "Icelake-Server", "EPYC", "EPYC-Rome", "EPYC-Milan", "max"} {
		models[name] = name
	}
	return models
}

// vmCPUChoices takes an architecture from 27 on.
func vmCPUChoices(c *call) (any, error) {
	names := []string(nil)
	arch := "x86_64"
	dst := []any(nil)
	if c.release() >= v27 {
		names, dst = []string{"arch?"}, []any{&arch}
	}
	if err := c.args(names, dst...); err != nil {
		return nil, err
	}
	return cpuModels(), nil
}

func machines() map[string][]string {
	return map[string][]string{
		"x86_64": {"pc", "q35", "pc-q35-6.2", "pc-q35-8.2", "pc-i440fx-6.2", "pc-i440fx-8.2", "microvm", "isapc"},
		"i686":   {"pc", "q35"},
	}
}

// resolutions lists the resolutions of a display.
const resolutions = "1920x1200|1920x1080|1600x1200|1600x900|1400x1050|1280x1024|1280x720|1024x768|800x600|640x480"

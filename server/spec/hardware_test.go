package spec

import (
	"errors"
	"testing"

	"virtrigaud-provider-truenas/server/settings"
)

// TestHardwareSettings: refusals name the key as it was given, and keys of other hypervisors are ignored.
func TestHardwareSettings(t *testing.T) {
	const at = "class_json.ExtraConfig."
	for _, tt := range []struct{ extra, field string }{
		{`{"vmware.com/x":{"a":1},"other":7}`, ""},
		{`{"truenas.io/cpu_mode":"host-model"}`, ""},
		{`{"truenas.io/cpu_mode":"fast"}`, at + "truenas.io/cpu_mode"},
		{`{"truenas.io/cpu_sockets":2}`, at + "truenas.io/cpu_sockets"},
		{`{"truenas.io/cpu_sockets":"3"}`, at + "truenas.io/cpu_sockets"}, // of 4 CPUs
		{`{"truenas.io/cpu_sockets":"2"}`, ""},
		{`{"truenas.cdrom":"/mnt/tank/a.iso"}`, ""},
		{`{"truenas.cdrom":7}`, at + "truenas.io/cdrom"},
		{`{"truenas.cdrom":"/mnt/tank/a.iso","truenas.io/cdrom":"/mnt/tank/a.iso"}`, at + "truenas.cdrom"},
		{`{"truenas.io/boot_once":"network"}`, at + "truenas.io/boot_once"},
		{`{"truenas.io/media":"none"}`, at + "truenas.io/media"},
		{`{"truenas.io/media_checksum":"md5:00000000000000000000000000000000"}`, at + "truenas.io/media_checksum"},
		{`{"truenas.io/boot":"network"}`, ""},
	} {
		class, err := ParseClass(`{"CPU":4,"MemoryMiB":512,"ExtraConfig":` + tt.extra + `}`)
		t.Run(tt.extra, func(t *testing.T) { refusedFor(t, err, tt.field) })
		if tt.extra == `{"truenas.cdrom":"/mnt/tank/a.iso"}` && class.Hardware.CDROM != "/mnt/tank/a.iso" {
			t.Errorf("the older name of cdrom gives %q", class.Hardware.CDROM)
		}
		if tt.extra == `{"truenas.io/cpu_sockets":"2"}` && class.Topology() != (settings.Topology{Sockets: 2, Cores: 2, Threads: 1}) {
			t.Errorf("the CPUs are arranged as %v", class.Topology())
		}
	}
	other := errors.New("another error")
	if HardwareError(other) != other || HardwareError(nil) != nil {
		t.Error("an error of another kind is changed")
	}
}

// TestClasses reads what a class says about firmware and security.
func TestClasses(t *testing.T) {
	for text, want := range map[string]Class{
		`"Firmware":"BIOS"`: {}, `"Firmware":"efi"`: {UEFI: true}, `"Firmware":"UEFI"`: {UEFI: true}, `"Firmware":""`: {},
		`"SecurityProfile":{"EncryptionEnabled":true}`: {Encrypted: true}, `"SecurityProfile":{"RequireEncryption":true}`: {Encrypted: true}, `"SecurityProfile":{}`: {},
		`"Firmware":"UEFI","SecurityProfile":{"SecureBoot":true,"TPMEnabled":true}`: {UEFI: true, SecureBoot: true, TPM: true},
	} {
		got, err := ParseClass(`{"CPU":1,"MemoryMiB":512,` + text + `}`)
		if err != nil || got.UEFI != want.UEFI || got.SecureBoot != want.SecureBoot || got.TPM != want.TPM || got.Encrypted != want.Encrypted {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for text, field := range map[string]string{"": "class_json", " null ": "class_json", `{"CPU":1,"MemoryMiB":512,"Firmware":"coreboot"}`: "class_json.Firmware"} {
		_, err := ParseClass(text)
		refusedFor(t, err, field)
	}
}

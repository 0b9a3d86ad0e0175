package main

import (
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// The command lists VMs with the program's own settings, and compares them with Omni unless a flag disables that.
func TestLeftoversCommand(t *testing.T) {
	nas, server := truenastest.Serve(t)
	if err := nas.AddVM("by_hand", 1, 512); err != nil {
		t.Fatal(err)
	}
	environment := func(name string) (string, bool) {
		value, ok := map[string]string{
			"OMNI_ENDPOINT": "https://127.0.0.1:1", "TRUENAS_URL": server.URL, "TRUENAS_FINGERPRINT": server.Fingerprint, "TRUENAS_USERNAME": sim.DefaultUser,
			"TRUENAS_API_KEY": sim.DefaultAPIKey, "PROVIDER_DATASET": "tank/virtrigaud", "PROVIDER_CREDENTIALS_DIR": t.TempDir(),
		}[name]
		return value, ok
	}
	for _, tt := range []struct {
		name string
		args []string
		out  string
		err  string
	}{
		{"nothing left", []string{"--without-omni"}, "no leftovers\n", ""},
		{"removal of a VM that is not a leftover", []string{"--without-omni", "--remove", "by_hand"}, "", `"by_hand" is not a leftover; leftovers: none`},
		{"no key", nil, "", "omni-service-account-key"},
		{"an argument", []string{"now"}, "", `unknown argument "now"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), append([]string{"leftovers"}, tt.args...), environment, &out)
			if text := out.String(); text != tt.out {
				t.Errorf("printed %q; want %q", text, tt.out)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v; want %q", err, tt.err)
			}
		})
	}
	if len(nas.VMs()) != 1 {
		t.Error("the manually created VM is gone")
	}
}

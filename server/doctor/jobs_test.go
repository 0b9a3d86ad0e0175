package doctor

import (
	"encoding/json"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas"
)

func TestDoctorSeesTheJobsOfTrueNAS(t *testing.T) {
	for _, tt := range []struct{ name, arguments, dataset, says string }{
		{"a conversion onto a volume", `[{"source":"/mnt/tank/v/staging/k/a.raw","destination":"/dev/zvol/tank/v/images/k/disk"}]`, "tank/v/images/k", "vm.device.convert"},
		{"a conversion of a staged file", `[{"source":"/mnt/tank/v/staging/k/a.raw","destination":"/dev/zvol/tank/v/images/k/disk"}]`, "tank/v/staging/k", "vm.device.convert"},
		{"a copy into a VM's dataset", `[{"source_datasets":["tank/v/vms/a/root"],"target_dataset":"tank/v/vms/b/root"}]`, "tank/v/vms/b", "vm.device.convert"},
		{"a dataset itself", `[{"target_dataset":"tank/v/vms/b"}]`, "tank/v/vms/b", "vm.device.convert"},
		{"one whose name only begins alike", `[{"target_dataset":"tank/v/vms/b2/root"}]`, "tank/v/vms/b", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := examination{jobs: []truenas.Job{{Method: "vm.device.convert", Arguments: json.RawMessage(tt.arguments)}}}
			if got := e.working(tt.dataset); (got == "") != (tt.says == "") || !strings.Contains(got, tt.says) {
				t.Errorf("got %q, want %q", got, tt.says)
			}
		})
	}
}

package server_test

import (
	"errors"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// TestFullCloneBelowAnEncryptedDataset: TrueNAS refuses a copy there unless the call requests encryption.
func TestFullCloneBelowAnEncryptedDataset(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			if err := nas.AddDataset("tank/virtrigaud", nil); err != nil {
				t.Fatal(err)
			}
			if err := nas.Encrypt("tank/virtrigaud", false); err != nil {
				t.Fatal(err)
			}
			if err := createBlank(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			write(t, nas, "tank/virtrigaud/vms/web_1/root", "first")
			if _, err := client.Clone(t.Context(), &providerv1.CloneRequest{SourceVmId: idOfWeb1, TargetName: "web-2"}); err != nil {
				t.Fatal(err)
			}
			if got := read(t, nas, "tank/virtrigaud/vms/web_2/root", 5); got != "first" {
				t.Errorf("the clone's disk holds %q", got)
			}
		})
	}
}

// A class that requests encryption gets it below an encrypted dataset, and is refused for a disk that would not be encrypted.
func TestEncryptionIsHonouredOrRefused(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			encrypted := func(name, field string) *providerv1.CreateRequest {
				req := wanted(name)
				req.ClassJson = strings.TrimSuffix(req.ClassJson, "}") + `,"SecurityProfile":{"` + field + `":true}}`
				return req
			}
			client, nas := onRelease(t, release)
			addImage(t, nas)
			if err := nas.AddDataset("tank/virtrigaud", nil); err != nil {
				t.Fatal(err)
			}
			for _, field := range []string{"EncryptionEnabled", "RequireEncryption"} {
				_, err := client.Create(t.Context(), encrypted("web-1", field))
				refusedWith(t, err, "FailedPrecondition", "class_json.SecurityProfile.EncryptionEnabled: dataset tank/virtrigaud is not encrypted: create an encrypted dataset")
			}
			if len(nas.VMs()) > 0 {
				t.Error("a VM was made")
			}
			plain, err := client.Create(t.Context(), wanted("plain"))
			if err != nil {
				t.Fatal(err)
			}
			profile := `"ExtraConfig":null,"SecurityProfile":{"EncryptionEnabled":true}`
			refusedWith(t, reconfigured(t, client, plain.GetId(), asManaged(`"ExtraConfig":null`, profile, `"StaticIP":"192.0.2.10","Prefix":24,"Gateway":"192.0.2.1"`, `"StaticIP":""`)), "FailedPrecondition", "is not encrypted")
			_, err = client.Clone(t.Context(), &providerv1.CloneRequest{SourceVmId: plain.GetId(), TargetName: "copy", Linked: true, ClassJson: `{"securityProfile":{"encryptionEnabled":true}}`})
			refusedWith(t, err, "FailedPrecondition", "is not encrypted")

			client, nas = onRelease(t, release)
			addImage(t, nas)
			if err := errors.Join(nas.AddDataset("tank/virtrigaud", nil), nas.Encrypt("tank/virtrigaud", true)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := client.Create(t.Context(), encrypted("web-1", "EncryptionEnabled")); err != nil {
					t.Fatal(err)
				}
			}
			// A disk from an unencrypted image is unencrypted, wherever the VM is.
			cloned := encrypted("web-2", "EncryptionEnabled")
			cloned.ImageJson, cloned.NetworksJson = `{"Path":"tank/templates/gold@v1"}`, ""
			_, err = client.Create(t.Context(), cloned)
			refusedWith(t, err, "FailedPrecondition", "tank/templates/gold is not encrypted")
		})
	}
}

// TestLockedDataset: errors about objects on a locked encrypted dataset name the lock as the cause.
func TestLockedDataset(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			if err := nas.AddDataset("tank/virtrigaud", nil); err != nil {
				t.Fatal(err)
			}
			if err := nas.Encrypt("tank/virtrigaud", true); err != nil {
				t.Fatal(err)
			}
			if err := createBlank(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if err := nas.SetLocked("tank/virtrigaud", true); err != nil {
				t.Fatal(err)
			}
			refusedWith(t, createBlank(t.Context(), client), "FailedPrecondition", "encrypted and locked")
			_, err := client.Create(t.Context(), wanted("web-9"))
			refusedWith(t, err, "FailedPrecondition", "encrypted and locked")
		})
	}
}

// TestPowerOnOfALockedVM: the volumes of a locked dataset have no device node. The message names the dataset and the remedy.
func TestPowerOnOfALockedVM(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			must(t, nas.AddDataset("tank/virtrigaud", nil))
			must(t, nas.Encrypt("tank/virtrigaud", true))
			must(t, createBlank(t.Context(), client))
			must(t, nas.SetLocked("tank/virtrigaud", true))
			_, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: idOfWeb1, Op: providerv1.PowerOp_POWER_OP_ON})
			refusedWith(t, err, "FailedPrecondition", `dataset tank/virtrigaud/vms/web_1/root, a disk of VM "web-1", is encrypted and locked; unlock it`)
			must(t, nas.SetLocked("tank/virtrigaud", false))
			powerTo(t, client, nas, idOfWeb1, providerv1.PowerOp_POWER_OP_ON, "RUNNING")
		})
	}
}

// VMs that were on when the NAS restarted start when their dataset is unlocked, and those that were off stay off: TrueNAS starts
// those with autostart, which Power sets and clears.
func TestUnlockStartsVMsThatWereOn(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			must(t, nas.AddDataset("tank/virtrigaud", nil))
			must(t, nas.Encrypt("tank/virtrigaud", true))
			for _, name := range []string{"web-1", "web-2"} {
				req := wanted(name)
				req.UserData, req.NetworksJson = nil, `[{"Bridge":"br0"}]`
				_, err := client.Create(t.Context(), req)
				must(t, err)
			}
			powerTo(t, client, nas, idOfWeb1, providerv1.PowerOp_POWER_OP_ON, "RUNNING")
			_, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: idOfWeb2, Op: providerv1.PowerOp_POWER_OP_ON})
			must(t, err)
			_, err = client.Power(t.Context(), &providerv1.PowerRequest{Id: idOfWeb2, Op: providerv1.PowerOp_POWER_OP_OFF})
			must(t, err)
			nas.PowerOffGuest("web_1") // A restart of the NAS changes no setting of TrueNAS.
			must(t, nas.SetLocked("tank/virtrigaud", true))
			must(t, nas.Unlock("tank/virtrigaud"))
			states := map[string]string{}
			for _, vm := range nas.VMs() {
				states[vm.Name] = vm.State
			}
			if states["web_1"] != "RUNNING" || states["web_2"] != "STOPPED" {
				t.Errorf("after the unlock: %v", states)
			}
			on, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: idOfWeb1})
			if err != nil || on.GetPowerState() != "On" {
				t.Errorf("got %v, %v", on, err)
			}
		})
	}
}

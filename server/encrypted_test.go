package server_test

import (
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// TestFullCloneBelowAnEncryptedDataset: TrueNAS refuses a copy there unless it is told to encrypt it.
func TestFullCloneBelowAnEncryptedDataset(t *testing.T) {
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

// TestLockedDataset: what lies on a dataset that is encrypted and locked is told as that.
func TestLockedDataset(t *testing.T) {
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

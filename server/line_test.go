package server_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/truenastest"
)

// fromLine04 adds the fields that a manager of line 0.4 always sends to a desired_json or an image_json.
func fromLine04(text, more string) string {
	return strings.TrimSuffix(text, "}") + "," + more + "}"
}

const owner04 = `"TargetHostID":"","Owner":{"UID":"6a0f3c1e-0000-4000-8000-000000000001","Namespace":"team-a","Name":"web-1"}`

// A desired_json of line 0.4 is accepted, and so is one of a future line whose new fields are empty. An unknown field with a value
// is refused by name.
func TestDesiredOfNewerManagers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, more, refused string }{
		{"line 0.4", owner04, ""},
		{"line 0.4 without an owner", `"TargetHostID":"","Owner":{"UID":"","Namespace":"","Name":""}`, ""},
		{"line 0.4 with a nil owner", `"TargetHostID":"","Owner":null`, ""},
		{"new fields that hold nothing", `"Spare":{"A":"","B":[],"C":{"D":0,"E":false,"F":null,"G":0.0}},"List":[{"A":""}],"N":-0`, ""},
		{"a new field that holds a text", `"Spare":"x"`, "desired_json.Spare"},
		{"a new field that holds a number within an object", `"Spare":{"A":{"B":1}}`, "desired_json.Spare"},
		{"a new field of an object that is known", `"Owner":{"UID":"u","Cluster":"c"}`, "desired_json.Owner.Cluster"},
		{"a host", `"TargetHostID":"host-2"`, "desired_json.TargetHostID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, "25.10")
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			before := nas.State()
			_, err := client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: id, DesiredJson: fromLine04(desired(4, 2048, 20, sameDisks), tt.more)})
			if tt.refused != "" {
				refusedWith(t, err, "InvalidArgument", tt.refused)
				if !reflect.DeepEqual(before, nas.State()) {
					t.Error("a refused call changed the NAS")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := nas.VMs()[0].Config["cores"]; fmt.Sprint(got) != "4" {
				t.Errorf("the VM has %v cores, want 4", got)
			}
		})
	}
}

// Only a disk that the manager marks as imported is attached. A manager of line 0.3 does not send the mark.
func TestImportedDisk(t *testing.T) {
	t.Parallel()
	const volume, snapshot = `{"Path":"tank/virtrigaud/imports/web_1_migrated/disk"`, `{"Path":"tank/templates/gold@v1"`
	for _, tt := range []struct {
		name, image string
		code        codes.Code
	}{
		{"line 0.3, a volume", volume + `}`, codes.OK},
		{"line 0.4, an imported disk", volume + `,"ImportedDisk":true}`, codes.OK},
		{"line 0.4, a volume that is not an imported disk", volume + `,"ImportedDisk":false}`, codes.InvalidArgument},
		{"line 0.4, a snapshot", snapshot + `,"ImportedDisk":false}`, codes.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			depot := newDepot(t)
			client, nas := onRelease(t, "25.10", depot.reach)
			addImage(t, nas)
			staged := sample(t, "v3.qcow2")
			depot.put(t, "s3", "disk.qcow2", staged)
			if _, err := client.ImportDisk(t.Context(), depot.importOf("s3", "disk.qcow2", "qcow2", "web-1-migrated", staged)); err != nil {
				t.Fatal(err)
			}
			before := nas.State()
			req := wanted("web-1")
			req.ImageJson = tt.image
			_, err := client.Create(t.Context(), req)
			if got := status.Code(err); got != tt.code {
				t.Fatalf("got %v, want %v", err, tt.code)
			}
			if err != nil {
				refusedWith(t, err, tt.code.String(), "image_json.Path")
				if !reflect.DeepEqual(before, nas.State()) {
					t.Error("a refused disk changed the NAS")
				}
			}
		})
	}
}

// Every request for one of several hosts is refused.
func TestHostsAreRefused(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10")
	addImage(t, nas)
	id := newVM(t, client, "web-1")
	before := nas.State()
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Create": func() error {
			req := wanted("web-2")
			req.TargetHostId = "host-2"
			_, err := client.Create(ctx, req)
			return err
		},
		"Delete": func() error {
			_, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: id, TargetHostId: "host-2"})
			return err
		},
		"Power": func() error {
			_, err := client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON, TargetHostId: "host-2"})
			return err
		},
		"Clone to": func() error {
			_, err := client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: id, TargetName: "copy", Linked: true, TargetHostId: "host-2"})
			return err
		},
		"Clone from": func() error {
			_, err := client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: id, TargetName: "copy", Linked: true, SourceHostId: "host-2"})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "_host_id") {
			t.Errorf("%s: got %v, want InvalidArgument with the field", name, err)
		}
	}
	if !reflect.DeepEqual(before, nas.State()) {
		t.Error("a refused host changed the NAS")
	}
}

// A refused deletion carries the reason for the manager's retry after a minute.
func TestBlockedDeletionsHaveAReason(t *testing.T) {
	t.Parallel()
	api, nas := truenastest.New(t, truenastest.Release("25.10"))
	client, _ := serve(t, api)
	addImage(t, nas)
	id := newVM(t, client, "web-1")
	ctx := t.Context()
	if _, err := client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "s1"}); err != nil {
		t.Fatal(err)
	}
	if err := api.Snapshots.Clone(ctx, "tank/virtrigaud/vms/web_1/root@s1", "tank/by-hand", nil); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Delete": func() error { _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: id}); return err },
		"SnapshotDelete": func() error {
			_, err := client.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: id, SnapshotId: "s1"})
			return err
		},
	} {
		details := status.Convert(call()).Details()
		if len(details) != 1 || !strings.Contains(fmt.Sprint(details), "VM_DISK_IN_USE") {
			t.Errorf("%s: got the details %v, want VM_DISK_IN_USE", name, details)
		}
	}
}

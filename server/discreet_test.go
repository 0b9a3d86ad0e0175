package server_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/truenastest"
)

// Messages to a tenant of line 0.4 contain no name and no path of another owner's objects. Line 0.3 has no tenants, and its
// messages contain names.
func TestMessagesDoNotNameOtherOwners(t *testing.T) {
	t.Parallel()
	api, nas := truenastest.New(t, truenastest.Release("25.10"))
	client, _ := serve(t, api)
	addImage(t, nas)
	ctx := t.Context()
	id := newVM(t, client, "web-1")
	if _, err := client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "s1"}); err != nil {
		t.Fatal(err)
	}
	if err := api.Snapshots.Clone(ctx, "tank/virtrigaud/vms/web_1/root@s1", "tank/secretive", nil); err != nil {
		t.Fatal(err)
	}
	if err := nas.AddVM("secretive", 1, 512, "tank/templates/used"); err == nil {
		t.Fatal("a VM without its volume was made")
	}
	if err := nas.AddVolume("tank/templates/used", 1<<30, nil); err != nil {
		t.Fatal(err)
	}
	if err := nas.AddSnapshot("tank/templates/used@v1"); err != nil {
		t.Fatal(err)
	}
	if err := nas.AddVM("secretive", 1, 512, "tank/templates/used"); err != nil {
		t.Fatal(err)
	}
	ofUsed := func(path string) error {
		req := wanted("web-2")
		req.ImageJson = fmt.Sprintf(`{"Path":%q}`, path)
		_, err := client.Create(ctx, req)
		return err
	}
	calls := map[string]func() error{
		"Delete": func() error { _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: id}); return err },
		"SnapshotDelete": func() error {
			_, err := client.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: id, SnapshotId: "s1"})
			return err
		},
		"attach":        func() error { return ofUsed("/dev/zvol/tank/templates/used") },
		"clone by path": func() error { return ofUsed("/dev/zvol/tank/templates/used@v1") },
	}
	codesOf := map[string]codes.Code{}
	for name, call := range calls {
		err := call()
		if codesOf[name] = status.Code(err); err == nil || !strings.Contains(err.Error(), "secretive") {
			t.Errorf("line 0.3, %s: %v does not name the blocking object", name, err)
		}
	}
	if _, err := client.Create(ctx, ownedBy("uid-a", "team-a", "other")); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		err := call()
		if err == nil || strings.Contains(err.Error(), "secretive") || status.Code(err) != codesOf[name] {
			t.Errorf("line 0.4, %s: %v; want %v without the name of another owner's object", name, err, codesOf[name])
		}
	}
}

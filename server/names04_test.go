package server_test

import (
	"reflect"
	"testing"

	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// ownedBy returns a request of a manager of line 0.4.
func ownedBy(uid, namespace, name string) *providerv1.CreateRequest {
	req := wanted(name)
	req.Owner = &providerv1.ObjectIdentity{Uid: uid, Namespace: namespace, Name: name}
	return req
}

// Equal names in two namespaces are two VMs, two clones and two imports.
func TestEqualNamesInTwoNamespaces(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			depot := newDepot(t)
			client, nas := onRelease(t, release, depot.reach)
			addImage(t, nas)
			ctx := t.Context()
			ids, clones, paths := map[string]bool{}, map[string]bool{}, map[string]bool{}
			staged := sample(t, "v3.qcow2")
			depot.put(t, "s3", "disk.qcow2", staged)
			for _, namespace := range []string{"team-a", "team-b"} {
				for range 2 { // A repeated call is for the same VM.
					made, err := client.Create(ctx, ownedBy("uid-"+namespace, namespace, "web-1"))
					if err != nil {
						t.Fatal(err)
					}
					ids[made.GetId()] = true
				}
			}
			for id := range ids {
				for _, namespace := range []string{"team-a", "team-b"} {
					if len(clones) == 2 {
						break
					}
					clone, err := client.Clone(ctx, &providerv1.CloneRequest{
						SourceVmId: id, TargetName: "copy", Linked: true, TargetVm: &providerv1.ObjectIdentity{Namespace: namespace, Name: "copy"},
					})
					if err != nil {
						t.Fatal(err)
					}
					clones[clone.GetTargetVmId()] = true
				}
			}
			for _, namespace := range []string{"team-a", "team-b"} {
				req := depot.importOf("s3", "disk.qcow2", "qcow2", "web-1-migrated", staged)
				req.TargetVm = &providerv1.ObjectIdentity{Namespace: namespace, Name: "web-1"}
				landed, err := client.ImportDisk(ctx, req)
				if err != nil {
					t.Fatal(err)
				}
				paths[landed.GetPath()] = true
			}
			if len(ids) != 2 || len(clones) != 2 || len(paths) != 2 {
				t.Errorf("got the VMs %v, the clones %v, the imports %v; want two of each", ids, clones, paths)
			}
			if got := len(nas.VMs()); got != 4 {
				t.Errorf("the NAS has %d VMs, want 4", got)
			}
			for _, made := range []map[string]bool{clones, ids} {
				for id := range made {
					if _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: id}); err != nil {
						t.Error(err)
					}
				}
			}
			if left := below(nas.State(), "tank/virtrigaud/vms/"); len(left) > 0 {
				t.Errorf("leftovers: %v", left)
			}
		})
	}
}

// ListVMs returns the owner of a VM, so that the manager does not offer its VMs for adoption. A clone has no owner: it does not
// inherit its source's.
func TestOwnersAreListed(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10")
	addImage(t, nas)
	ctx := t.Context()
	made, err := client.Create(ctx, ownedBy("uid-a", "team-a", "web-1"))
	if err != nil {
		t.Fatal(err)
	}
	clone, err := client.Clone(ctx, &providerv1.CloneRequest{
		SourceVmId: made.GetId(), TargetName: "copy", Linked: true, TargetVm: &providerv1.ObjectIdentity{Namespace: "team-a", Name: "copy"},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := client.ListVMs(ctx, &providerv1.ListVMsRequest{OwnerNamespace: "team-b", OwnerName: "other"})
	if err != nil || len(list.GetVms()) != 2 || list.GetOwnerFilterApplied() || len(list.GetUnreachableHostIds()) > 0 {
		t.Fatalf("got %v, %v; want two VMs, unfiltered", list, err)
	}
	for _, vm := range list.GetVms() {
		want := map[string]string{made.GetId(): "uid-a", clone.GetTargetVmId(): ""}[vm.GetId()]
		if got := vm.GetProviderRaw()["owner_uid"]; got != want || vm.GetHostId() != "" {
			t.Errorf("VM %s: owner_uid is %q, want %q; the host is %q", vm.GetName(), got, want, vm.GetHostId())
		}
	}
	// A Create of the clone's name is for another object, and never gets the clone.
	before := nas.State()
	_, err = client.Create(ctx, ownedBy("uid-c", "team-a", "copy"))
	refusedWith(t, err, "AlreadyExists", "another owner")
	if !reflect.DeepEqual(before, nas.State()) {
		t.Error("the NAS changed")
	}
}

// A VM of line 0.3 has no recorded owner. The same object under line 0.4 neither takes it over nor makes a second one, and every
// call by id works as before.
func TestUpgradedVM(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			ctx := t.Context()
			before := nas.State()
			_, err := client.Create(ctx, ownedBy("uid-a", "team-a", "web-1"))
			refusedWith(t, err, "AlreadyExists", "records no owner")
			if !reflect.DeepEqual(before, nas.State()) {
				t.Error("the NAS changed")
			}
			if got, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: id}); err != nil || !got.GetExists() {
				t.Errorf("Describe: %v, %v", got, err)
			}
			if _, err := client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: id, DesiredJson: fromLine04(desired(4, 2048, 20, sameDisks), owner04)}); err != nil {
				t.Error(err)
			}
			if _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: id}); err != nil {
				t.Error(err)
			}
			if _, err := client.Create(ctx, ownedBy("uid-a", "team-a", "web-1")); err != nil {
				t.Errorf("after the deletion: %v", err)
			}
		})
	}
}

// A VM that an older provider made for an owner has a name without the namespace. A repeated Create finds it and completes it.
func TestVMOfAnOlderProviderIsFound(t *testing.T) {
	t.Parallel()
	api, nas := truenastest.New(t, truenastest.Release("25.10"))
	client, _ := serve(t, api)
	addImage(t, nas)
	older := ownedBy("uid-a", "", "web-1") // Older providers ignored the namespace.
	first, err := client.Create(t.Context(), older)
	if err != nil {
		t.Fatal(err)
	}
	before := nas.State()
	second, err := client.Create(t.Context(), ownedBy("uid-a", "team-a", "web-1"))
	if err != nil || second.GetId() != first.GetId() {
		t.Fatalf("got %v, %v; want the id %s", second, err, first.GetId())
	}
	if !reflect.DeepEqual(before, nas.State()) {
		t.Error("the NAS changed")
	}
	vms, err := api.VMs.List(t.Context())
	if err != nil || len(vms) != 1 {
		t.Fatal(vms, err)
	}
	// Objects of an attempt that have lost the VM's record are completed, too.
	if err := api.VMs.Delete(t.Context(), vms[0].ID, truenas.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), ownedBy("uid-a", "team-a", "web-1")); err != nil {
		t.Fatal(err)
	}
	if state := nas.State(); len(state.VMs) != 1 || state.VMs[0].Name != "web_1" {
		t.Errorf("the NAS has the VMs %v, want web_1", state.VMs)
	}
}

// A snapshot belongs to the request with its token. Managers of line 0.3 send none.
func TestSnapshotRequestToken(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			take := func(name, token string) error {
				_, err := client.SnapshotCreate(t.Context(), &providerv1.SnapshotCreateRequest{VmId: id, NameHint: name, RequestToken: token})
				return err
			}
			for _, tt := range []struct{ what, name, token, code string }{
				{"the first", "s1", "uid-1", "OK"},
				{"repeated", "s1", "uid-1", "OK"},
				{"another request", "s1", "uid-2", "AlreadyExists"},
				{"of line 0.3", "s2", "", "OK"},
				{"of line 0.3, repeated", "s2", "", "OK"},
				{"one without a token on record", "s2", "uid-3", "AlreadyExists"},
			} {
				before := nas.State()
				err := take(tt.name, tt.token)
				if code := status.Code(err).String(); code != tt.code {
					t.Errorf("%s: got %v, want %s", tt.what, err, tt.code)
				}
				if err != nil && !reflect.DeepEqual(before, nas.State()) {
					t.Errorf("%s: the NAS changed", tt.what)
				}
			}
		})
	}
}

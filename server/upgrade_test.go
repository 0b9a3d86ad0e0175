package server_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// upgrade is a NAS with one provider, on which a manager of line 0.3 has made one object of each kind.
type upgrade struct {
	t       *testing.T
	nas     *sim.Sim
	client  providerv1.ProviderClient
	service *server.Server
	web     *imageServer

	web1, clone, moved string // ids of VMs: one from an image, running; a linked clone of it; one with an imported disk
	image              string // the prepared image
	imported           string // the path of the imported disk
}

func newUpgrade(t *testing.T, release string) *upgrade {
	t.Helper()
	depot := newDepot(t)
	api, nas := truenastest.New(t, truenastest.Release(release))
	u := &upgrade{t: t, nas: nas}
	u.client, u.service = serve(t, api, depot.reach)
	u.web, _ = serveImage(t)
	ctx := t.Context()

	prepared, err := u.client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: u.web.job(u.web.checksum()), TargetName: "gold"})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, u.client, prepared.GetTask())
	u.image = prepared.GetPreparedImagePath()
	u.web1 = u.create(u.request("web-1", u.image, ""))
	if _, err := u.client.Power(ctx, &providerv1.PowerRequest{Id: u.web1, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
		t.Fatal(err)
	}
	if _, err := u.client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: u.web1, NameHint: "before"}); err != nil {
		t.Fatal(err)
	}
	clone, err := u.client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: u.web1, TargetName: "copy", Linked: true})
	if err != nil {
		t.Fatal(err)
	}
	u.clone = clone.GetTargetVmId()
	staged := sample(t, "v3.qcow2")
	depot.put(t, "s3", "disk.qcow2", staged)
	landed, err := u.client.ImportDisk(ctx, depot.importOf("s3", "disk.qcow2", "qcow2", "moved-migrated", staged))
	if err != nil {
		t.Fatal(err)
	}
	u.imported = landed.GetPath()
	u.moved = u.create(u.request("moved", u.imported, ""))
	return u
}

// request returns a Create of either line: more is the addition of line 0.4 to image_json.
func (u *upgrade) request(name, path, more string) *providerv1.CreateRequest {
	req := wanted(name)
	req.ClassJson, req.DisksJson = `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"}`, "null"
	req.ImageJson = fmt.Sprintf(`{"Path":%q,"Format":"qcow2"%s}`, path, more)
	return req
}

func (u *upgrade) create(req *providerv1.CreateRequest) string {
	u.t.Helper()
	made, err := u.client.Create(u.t.Context(), req)
	if err != nil {
		u.t.Fatal(err)
	}
	return made.GetId()
}

// TestUpgrade lets a manager of line 0.4 take over the objects of one of line 0.3.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			u := newUpgrade(t, release)
			before := u.nas.State()
			u.checkNothingCreated()
			if !reflect.DeepEqual(before, u.nas.State()) {
				t.Error("a Create of the same objects changed the NAS")
			}
			u.checkIDs()
			u.checkImages()
			u.deleteAll()
		})
	}
}

// checkNothingCreated sends Creates of the same objects, as a manager does that has lost their ids.
func (u *upgrade) checkNothingCreated() {
	u.t.Helper()
	for name, path := range map[string]string{"web-1": u.image, "copy": u.image, "moved": u.imported} {
		more := fmt.Sprintf(`,"ImportedDisk":%t`, path == u.imported)
		req := u.request(name, path, more)
		req.Owner = &providerv1.ObjectIdentity{Uid: "uid-" + name, Namespace: "team-a", Name: name}
		_, err := u.client.Create(u.t.Context(), req)
		refusedWith(u.t, err, "AlreadyExists", "records no owner")
	}
	list, err := u.client.ListVMs(u.t.Context(), &providerv1.ListVMsRequest{})
	if err != nil || len(list.GetVms()) != 3 {
		u.t.Errorf("ListVMs: %v, %v; want three VMs", list, err)
	}
	for _, vm := range list.GetVms() {
		if !slices.Contains([]string{u.web1, u.clone, u.moved}, vm.GetId()) || vm.GetProviderRaw()["owner_uid"] != "" {
			u.t.Errorf("VM %s is listed as %v", vm.GetName(), vm)
		}
	}
}

// checkIDs makes the calls by id of both lines.
func (u *upgrade) checkIDs() {
	u.t.Helper()
	ctx := u.t.Context()
	for id, state := range map[string]string{u.web1: "On", u.clone: "Off", u.moved: "Off"} {
		got, err := u.client.Describe(ctx, &providerv1.DescribeRequest{Id: id})
		if err != nil || !got.GetExists() || got.GetPowerState() != state {
			u.t.Errorf("Describe: %v, %v; want %s", got, err, state)
		}
	}
	desired := fromLine04(`{"Name":"web-1","Class":{"CPU":4,"MemoryMiB":2048,"Firmware":"UEFI"},"Networks":[{"Name":"eth0","Bridge":"br0"}]}`, owner04)
	resized, err := u.client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: u.web1, DesiredJson: desired})
	if err != nil || !resized.GetRestartRequired() {
		u.t.Errorf("Reconfigure of a running VM: %v, %v", resized, err)
	}
	_, err = u.client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: u.web1, NameHint: "before", RequestToken: "uid-s"})
	refusedWith(u.t, err, "AlreadyExists", "before")
	if _, err := u.client.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: u.web1, SnapshotId: "before"}); err != nil {
		u.t.Errorf("SnapshotDelete: %v", err)
	}
}

// checkImages prepares the same VMImage as line 0.4 does, and makes a VM from it.
func (u *upgrade) checkImages() {
	u.t.Helper()
	fetched := u.web.fetched.Load()
	prepared := landed(u.t, u.client, prepareFor(uidA, "team-a", u.web.job(u.web.checksum())))
	if prepared.GetPreparedImagePath() == u.image || u.web.fetched.Load() != fetched+1 {
		u.t.Errorf("the image is at %s and was fetched %d times more", prepared.GetPreparedImagePath(), u.web.fetched.Load()-fetched)
	}
	req := u.request("new", prepared.GetPreparedImagePath(), `,"ImportedDisk":false`)
	req.Owner = &providerv1.ObjectIdentity{Uid: "uid-new", Namespace: "team-a", Name: "new"}
	id := u.create(req)
	if again := u.create(req); again != id {
		u.t.Errorf("Create again answers %s, before %s", again, id)
	}
	if _, err := u.client.Delete(u.t.Context(), &providerv1.DeleteRequest{Id: id}); err != nil {
		u.t.Error(err)
	}
}

// deleteAll deletes all objects; prune-images removes the images.
func (u *upgrade) deleteAll() {
	u.t.Helper()
	for _, id := range []string{u.web1, u.clone, u.moved} {
		if _, err := u.client.Delete(u.t.Context(), &providerv1.DeleteRequest{Id: id}); err != nil {
			u.t.Errorf("Delete: %v", err)
		}
	}
	for _, folder := range []string{"vms", "imports", "staging"} {
		if left := below(u.nas.State(), "tank/virtrigaud/"+folder+"/"); len(left) > 0 {
			u.t.Errorf("leftovers: %v", left)
		}
	}
	if _, err := u.service.PruneImages(u.t.Context(), -time.Hour, false); err != nil {
		u.t.Error(err)
	}
	for _, left := range below(u.nas.State(), "tank/virtrigaud/images/") {
		if strings.HasSuffix(left, "/disk") {
			u.t.Errorf("prune-images leaves %s", left)
		}
	}
}

// A VM whose image was in preparation at the upgrade has an id and does not exist yet. It is made once, for its owner.
func TestUpgradeWhileAnImageIsUnderWay(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10", loopbackImages)
	web, _ := serveImage(t)
	req := wanted("web-1")
	req.ClassJson, req.DisksJson = `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"}`, "null"
	req.ImageJson = fmt.Sprintf(`{"URL":%q,"Format":"qcow2"}`, web.URL+"/disk.raw.gz")
	created, err := client.Create(t.Context(), req)
	if err != nil || created.GetTask() == nil {
		t.Fatalf("got %v, %v; want a task", created, err)
	}
	finish(t, client, created.GetTask())
	got, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: created.GetId()})
	if err != nil || got.GetExists() {
		t.Fatalf("Describe: %v, %v; want a VM that does not exist", got, err)
	}
	req.Owner = &providerv1.ObjectIdentity{Uid: "uid-a", Namespace: "team-a", Name: "web-1"}
	id := made(t, client, req)
	if again := made(t, client, req); again != id || len(nas.VMs()) != 1 {
		t.Errorf("the ids are %s and %s, and the NAS has %d VMs", id, again, len(nas.VMs()))
	}
}

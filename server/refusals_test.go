package server_test

import (
	"maps"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// refusing is a provider that has to refuse a call: a NAS with two pools, the image gold, the VM web-1 and a VM without disks that
// was made by hand.
type refusing struct {
	*testing.T
	client   providerv1.ProviderClient
	provider *server.Server
	api      *truenas.Client // beside the provider
	nas      *sim.Sim
	id       string // of web-1
	byHand   string
}

func newRefusing(t *testing.T, release string, opts ...func(*server.Config)) *refusing {
	t.Helper()
	api, nas := truenastest.New(t, func(c *sim.Config) {
		c.Release = release
		c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "flash", SizeBytes: 100 << 30}}
	})
	opts = append([]func(*server.Config){loopbackImages, func(c *server.Config) { c.NASPaths = append(c.NASPaths, "tank"); c.AdoptedVMs = server.Manage }}, opts...)
	client, provider := serve(t, api, opts...)
	r := &refusing{T: t, client: client, provider: provider, api: api, nas: nas}
	addImage(t, nas)
	r.id = newVM(t, client, "web-1")
	must(t, nas.AddVM("by_hand", 1, 512))
	list, err := client.ListVMs(t.Context(), &providerv1.ListVMsRequest{})
	must(t, err)
	for _, vm := range list.GetVms() {
		if vm.GetId() != r.id {
			r.byHand = vm.GetId()
		}
	}
	return r
}

// refused is a call that must be refused: its preparation, the code, and a text of the message.
type refused struct {
	name  string
	ready func(r *refusing)
	call  func(r *refusing) error
	code  codes.Code
	says  []string
}

// TestRefusals makes every refused call twice on every release, each on a separate NAS, and compares the NAS before and after.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, list := range [][]refused{refusedSnapshots(), refusedClones(), refusedReconfigures(), refusedImages(), refusedDisks(), refusedDeletes()} {
			for _, tt := range list {
				t.Run(release+"/"+tt.name, func(t *testing.T) {
					t.Parallel()
					r := newRefusing(t, release)
					if tt.ready != nil {
						tt.ready(r)
					}
					untouched(t, r.nas, func() error { return tt.call(r) }, tt.code, tt.says...)
				})
			}
		}
	}
}

func (r *refusing) snapshot(id, name string, spoil func(*providerv1.SnapshotCreateRequest)) error {
	req := &providerv1.SnapshotCreateRequest{VmId: id, NameHint: name}
	if spoil != nil {
		spoil(req)
	}
	_, err := r.client.SnapshotCreate(r.Context(), req)
	return err
}

func (r *refusing) revert(name string) error {
	_, err := r.client.SnapshotRevert(r.Context(), &providerv1.SnapshotRevertRequest{VmId: r.id, SnapshotId: name})
	return err
}

func refusedSnapshots() []refused {
	const root = "tank/virtrigaud/vms/web_1/root"
	taken := func(r *refusing) { must(r.T, r.snapshot(r.id, "s1", nil)) }
	return []refused{
		{"a snapshot of a VM without disks", nil, func(r *refusing) error { return r.snapshot(r.byHand, "s1", nil) },
			codes.FailedPrecondition, []string{"by_hand", "has no disks"}},
		{"a snapshot with a token that is too long", nil, func(r *refusing) error {
			return r.snapshot(r.id, "s1", func(q *providerv1.SnapshotCreateRequest) { q.RequestToken = strings.Repeat("x", 1000) })
		}, codes.InvalidArgument, []string{"request_token: ", "1000 bytes"}},
		{"a snapshot with a description that is too long", nil, func(r *refusing) error {
			return r.snapshot(r.id, "s1", func(q *providerv1.SnapshotCreateRequest) { q.Description = strings.Repeat("x", 100000) })
		}, codes.InvalidArgument, []string{"description: ", "100000 bytes"}},
		{"a revert under a snapshot of an export", func(r *refusing) { taken(r); must(r.T, r.nas.AddSnapshot(root+"@vrexport-abc")) },
			func(r *refusing) error { return r.revert("s1") }, codes.Aborted, []string{root + "@vrexport-abc"}},
		{"a revert of a running VM", func(r *refusing) {
			taken(r)
			must(r.T, power(providerv1.PowerOp_POWER_OP_ON)(r.Context(), r.client))
		}, func(r *refusing) error { return r.revert("s1") }, codes.FailedPrecondition, []string{"web-1", "power it off"}},
		{"a snapshot that the VM's own disk is a clone of", func(r *refusing) {
			taken(r)
			must(r.T, r.nas.AddClone(root+"@s1", "tank/virtrigaud/vms/web_1/other"))
		}, func(r *refusing) error {
			_, err := r.client.SnapshotDelete(r.Context(), &providerv1.SnapshotDeleteRequest{VmId: r.id, SnapshotId: "s1"})
			return err
		}, codes.FailedPrecondition, []string{"web_1/other", root + "@s1"}},
		{"the disk info of an unknown snapshot", nil, func(r *refusing) error { return r.diskInfo(r.id, "nope") }, codes.NotFound, []string{"nope", root}},
		{"the disk info of a VM without disks", nil, func(r *refusing) error { return r.diskInfo(r.byHand, "") }, codes.FailedPrecondition, []string{"by_hand", "no disks"}},
	}
}

func (r *refusing) diskInfo(id, snapshot string) error {
	_, err := r.client.GetDiskInfo(r.Context(), &providerv1.GetDiskInfoRequest{VmId: id, SnapshotId: snapshot})
	return err
}

func (r *refusing) clone(spoil func(*providerv1.CloneRequest)) error {
	req := &providerv1.CloneRequest{SourceVmId: r.id, TargetName: "web-2", Linked: true}
	spoil(req)
	_, err := r.client.Clone(r.Context(), req)
	return err
}

func refusedClones() []refused {
	spoilt := func(spoil func(*providerv1.CloneRequest)) func(*refusing) error {
		return func(r *refusing) error { return r.clone(spoil) }
	}
	return []refused{
		{"a linked clone on another pool", nil, spoilt(func(q *providerv1.CloneRequest) { q.PlacementJson = `{"Datastore":"flash"}` }),
			codes.FailedPrecondition, []string{"placement_json.Datastore: ", `"tank"`}},
		{"a clone with memory that is not a quantity", nil, spoilt(func(q *providerv1.CloneRequest) { q.ClassJson = `{"memory":"much"}` }),
			codes.InvalidArgument, []string{"class_json.memory: ", `"much"`}},
		{"a clone whose source's seed is not an ISO", func(r *refusing) {
			for _, vm := range r.nas.VMs() {
				for _, d := range vm.Devices {
					if path, _ := d.Attributes["path"].(string); strings.HasSuffix(path, ".iso") {
						must(r.T, r.nas.WriteFile(path, []byte("damaged")))
					}
				}
			}
		}, spoilt(func(*providerv1.CloneRequest) {}), codes.Internal, []string{"seed", "web-1"}},
	}
}

func (r *refusing) reconfigure(id, desired string) error {
	_, err := r.client.Reconfigure(r.Context(), &providerv1.ReconfigureRequest{Id: id, DesiredJson: desired})
	return err
}

func refusedReconfigures() []refused {
	to := func(text string) func(*refusing) error {
		return func(r *refusing) error { return r.reconfigure(r.id, text) }
	}
	secured := func(profile string) string {
		return strings.Replace(desired(2, 2048, 20, sameDisks), `"DiskDefaults"`, `"SecurityProfile":`+profile+`,"DiskDefaults"`, 1)
	}
	onFlash := func(r *refusing) {
		req := good()
		req.Name, req.ImageJson, req.PlacementJson, req.NetworksJson, req.DisksJson = "web-9", "", `{"Datastore":"flash"}`, `[{"Bridge":"br0"},{"Bridge":"br20"}]`, ""
		created, err := r.client.Create(r.Context(), req)
		must(r.T, err)
		r.id = created.GetId()
	}
	return []refused{
		{"a change to nothing", nil, to(""), codes.InvalidArgument, []string{"desired_json: ", "must be given"}},
		{"a change of secure boot", nil, to(secured(`{"SecureBoot":true}`)), codes.FailedPrecondition, []string{"desired_json.Class.SecurityProfile.SecureBoot: "}},
		{"a change of the TPM", nil, to(secured(`{"TPMEnabled":true}`)), codes.FailedPrecondition, []string{"desired_json.Class.SecurityProfile.TPMEnabled: "}},
		{"a change of a VM without disks", nil, func(r *refusing) error {
			return r.reconfigure(r.byHand, `{"Class":{"CPU":1,"MemoryMiB":512,"Firmware":"UEFI"}}`)
		}, codes.FailedPrecondition, []string{"by_hand", "no disks"}},
		{"a NIC that is removed", onFlash, to(`{"Class":{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":20}},"Networks":[{"Bridge":"br0"}]}`),
			codes.FailedPrecondition, []string{"desired_json.Networks: "}},
		{"thick disks that do not fit together", onFlash, to(`{"Class":{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":20}},` +
			`"Networks":[{"Bridge":"br0"},{"Bridge":"br20"}],"Disks":[{"Name":"a","SizeGiB":60,"Type":"thick"},{"Name":"b","SizeGiB":60,"Type":"thick"}]}`),
			codes.ResourceExhausted, []string{"desired_json: ", "120 GiB", `"flash"`}},
	}
}

func refusedImages() []refused {
	job := func(text string) func(*refusing) error {
		return func(r *refusing) error { _, err := prepare(r.T, r.client, text); return err }
	}
	return []refused{
		{"headers of a source that is not http", nil, job(`{"source":{"libvirt":{"url":"https://nas.example.com/a.img","headers":{"A":"b"}}}}`),
			codes.InvalidArgument, []string{"image_json.source.libvirt.headers: "}},
		{"a header that cannot be sent", nil, job(`{"source":{"http":{"url":"https://nas.example.com/a.img","headers":{"A\nB":"b"}}}}`),
			codes.InvalidArgument, []string{"image_json.source.http.headers: "}},
		{"a template", nil, job(`{"TemplateName":"gold"}`), codes.InvalidArgument, []string{"image_json.TemplateName: ", `"gold"`}},
		{"a file of the provider's own", nil, job(libraryJob("/mnt/tank/virtrigaud/vms/web_1/disk.qcow2", "")), codes.InvalidArgument, []string{"image_json.source.libvirt.path: "}},
		{"a folder as an image file", func(r *refusing) { must(r.T, r.nas.AddDataset("tank/templates/folder.qcow2", nil)) },
			job(libraryJob("/mnt/tank/templates/folder.qcow2", "")), codes.InvalidArgument, []string{"image_json.source.libvirt.path: ", "folder.qcow2"}},
		{"an image for a pool that the NAS has not", nil, func(r *refusing) error {
			_, err := r.client.ImagePrepare(r.Context(), &providerv1.ImagePrepareRequest{ImageJson: `{"URL":"https://nas.example.com/a.img"}`, TargetName: "gold", StorageHint: "nope"})
			return err
		}, codes.FailedPrecondition, []string{"storage_hint: ", `"nope"`}},
		{"a VM of the provider's staging", nil, func(r *refusing) error {
			req := good()
			req.Name, req.ImageJson = "web-2", `{"Path":"tank/virtrigaud/staging/x/disk"}`
			_, err := r.client.Create(r.Context(), req)
			return err
		}, codes.InvalidArgument, []string{"image_json.Path: ", "staging/x/disk"}},
	}
}

func refusedDisks() []refused {
	const imported = "tank/virtrigaud/imports/web_7"
	return []refused{
		{"an export to what is not a URL", nil, func(r *refusing) error {
			_, err := r.client.ExportDisk(r.Context(), &providerv1.ExportDiskRequest{VmId: r.id, DestinationUrl: "bucket/key", Format: "qcow2"})
			return err
		}, codes.InvalidArgument, []string{"destination_url: ", "s3://bucket/key"}},
		{"an import from what is not a URL", nil, func(r *refusing) error {
			_, err := r.client.ImportDisk(r.Context(), &providerv1.ImportDiskRequest{SourceUrl: "bucket/key", Format: "qcow2", TargetName: "web-7"})
			return err
		}, codes.InvalidArgument, []string{"source_url: "}},
		{"an import over a disk with a clone", func(r *refusing) {
			must(r.T, r.nas.AddDataset("tank/virtrigaud/imports", nil))
			must(r.T, r.nas.AddDataset(imported, map[string]string{"virtrigaud:provider": "test", "virtrigaud:name": "web-7"}))
			must(r.T, r.nas.AddVolume(imported+"/disk", 1<<30, map[string]string{"virtrigaud:provider": "test"}))
			must(r.T, r.nas.AddSnapshot(imported+"/disk@keep"))
			must(r.T, r.nas.AddClone(imported+"/disk@keep", "tank/theirs"))
		}, func(r *refusing) error {
			_, err := r.client.ImportDisk(r.Context(), &providerv1.ImportDiskRequest{SourceUrl: "http://127.0.0.1:1/disk", Format: "qcow2", TargetName: "web-7"})
			return err
		}, codes.FailedPrecondition, []string{"target_name: ", "tank/theirs"}},
	}
}

func refusedDeletes() []refused {
	remove := func(r *refusing) error { return deleteVM(r.id)(r.Context(), r.client) }
	owner := map[string]string{"virtrigaud:provider": "test", "virtrigaud:name": "web-1", "virtrigaud:machine": idOfWeb1}
	marked := func(dataset string) map[string]string {
		props := maps.Clone(owner)
		props["virtrigaud:dataset"] = dataset
		return props
	}
	const inheriting = "flash/virtrigaud/vms/web_1"
	inherited := func(above map[string]string) func(r *refusing) {
		return func(r *refusing) {
			must(r.T, r.nas.AddDataset("flash/virtrigaud", above))
			must(r.T, r.nas.AddDataset("flash/virtrigaud/vms", nil))
			must(r.T, r.nas.AddDataset(inheriting, nil))
			must(r.T, r.nas.AddVolume(inheriting+"/disk", 1<<30, nil))
			r.attach(inheriting + "/disk")
		}
	}
	says := []string{inheriting, "inheritance", "remove them from its parents"}
	return []refused{
		{"a VM with a disk of its own outside of the dataset", func(r *refusing) {
			must(r.T, r.nas.AddDataset("tank/moved", nil))
			must(r.T, r.nas.AddVolume("tank/moved/disk", 1<<30, owner))
			r.attach("tank/moved/disk")
		}, remove, codes.FailedPrecondition, []string{"tank/moved/disk", "storage.dataset"}},
		{"a VM with a disk whose marks are inherited", inherited(owner), remove, codes.FailedPrecondition, says},
		{"a VM with a disk below a replica of its dataset", inherited(marked("tank/virtrigaud/vms/web_1")), remove, codes.FailedPrecondition, says},
		{"a VM with a disk below a dataset with a copy of its marks", inherited(marked(inheriting)), remove, codes.FailedPrecondition, says},
	}
}

// attach gives web-1 a volume as an additional disk.
func (r *refusing) attach(volume string) {
	r.Helper()
	vms, err := r.api.VMs.List(r.Context(), truenas.Where("uuid", r.id))
	must(r.T, err)
	_, err = r.api.Devices.Create(r.Context(), truenas.DeviceCreate{VM: vms[0].ID, Attributes: truenas.Disk("/dev/zvol/" + volume)})
	must(r.T, err)
}

// A repeated Create that names another pool must not give the VM a second set of disks there.
func TestCreateKeepsThePool(t *testing.T) {
	t.Parallel()
	blank := func(datastore string) *providerv1.CreateRequest {
		req := good()
		req.ImageJson, req.PlacementJson = "", datastore
		return req
	}
	for _, release := range releases {
		for _, tt := range []struct{ first, second, pool string }{
			{`{"Datastore":"tank"}`, `{"Datastore":"flash"}`, "tank"},
			{`{"Datastore":"flash"}`, `{"Datastore":"tank"}`, "flash"},
			{`{"Datastore":"flash"}`, "", "flash"},
		} {
			t.Run(release+"/"+tt.first+tt.second, func(t *testing.T) {
				client, nas := onPools(t, release)
				if _, err := client.Create(t.Context(), blank(tt.first)); err != nil {
					t.Fatal(err)
				}
				untouched(t, nas, func() error {
					_, err := client.Create(t.Context(), blank(tt.second))
					return err
				}, codes.FailedPrecondition, "placement_json.Datastore: ", `pool "`+tt.pool+`"`)
			})
		}
	}
}

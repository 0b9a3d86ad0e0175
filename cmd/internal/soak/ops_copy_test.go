package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/conformance/manager04"
)

// cloned is the source of a root disk from a Clone.
const cloned = "clone"

// errNotYet marks a valid but early response with the code for a retry.
func errNotYet(text string) error { return status.Error(codes.Aborted, text) }

func (k *worker) snapshot(m *machine) {
	name := fmt.Sprintf("snap-%d", k.random.IntN(4))
	want := codes.OK
	if len(m.trees()) > 1 && m.on {
		want = codes.FailedPrecondition
	}
	_, had := m.marked(onNAS(name))
	if !k.do("SnapshotCreate of "+m.name+"@"+name, want, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: m.id, NameHint: name})
		if err == nil && resp.GetSnapshotId() != onNAS(name) {
			return errOtherID
		}
		return err
	}) || want != codes.OK {
		return
	}
	if !had {
		m.mark(onNAS(name), "")
	}
	k.check(m)
}

func (k *worker) revert(m *machine) {
	marks := m.asked()
	if len(marks) == 0 {
		k.do("SnapshotRevert to nothing of "+m.name, map[bool]codes.Code{true: codes.FailedPrecondition, false: codes.NotFound}[m.on], func(ctx context.Context, client providerv1.ProviderClient) error {
			_, err := client.SnapshotRevert(ctx, &providerv1.SnapshotRevertRequest{VmId: m.id, SnapshotId: "never"})
			return err
		})
		return
	}
	to := marks[k.random.IntN(len(marks))]
	want := codes.OK
	if m.on || !k.newest(m, to.name) {
		want = codes.FailedPrecondition
	}
	if k.do("SnapshotRevert of "+m.name+"@"+to.name, want, func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.SnapshotRevert(ctx, &providerv1.SnapshotRevertRequest{VmId: m.id, SnapshotId: to.name})
		return err
	}) && want == codes.OK {
		m.revertTo(to)
		if m.byHand.taken > to.taken {
			m.byHand.aside = to.name
		}
	}
	k.check(m)
}

// newest reports whether a snapshot is the newest one of the VM. A snapshot of a linked clone counts while it exists.
func (k *worker) newest(m *machine, name string) bool {
	there := map[string]bool{}
	for _, s := range k.w.nas.State().Snapshots {
		there[s.ID] = true
	}
	last := ""
	for _, mark := range m.marks {
		if mark.clone == "" || there[m.volume(m.root)+"@"+mark.name] {
			last = mark.name
		}
	}
	return last == name
}

func (k *worker) dropSnapshot(m *machine) {
	marks := m.asked()
	name := "never"
	if len(marks) > 0 {
		name = marks[k.random.IntN(len(marks))].name
	}
	want := codes.OK
	if name == m.byHand.aside {
		want = codes.FailedPrecondition
	}
	if k.do("SnapshotDelete of "+m.name+"@"+name, want, func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: m.id, SnapshotId: name})
		return err
	}) && want == codes.OK {
		m.unmark(name)
	}
	k.check(m)
}

// cloneInto clones a VM into a free slot.
func (k *worker) cloneInto(m *machine) {
	source := k.other(true, m)
	if source == nil {
		k.create(m)
		return
	}
	linked := k.random.IntN(2) == 0
	if k.random.IntN(2) == 0 {
		m.owner = fmt.Sprintf("%s-uid-%d", m.name, k.random.IntN(1<<30))
	}
	want := codes.OK
	if len(source.trees()) > 1 && source.on {
		want = codes.FailedPrecondition
	}
	id := ""
	if !k.do(fmt.Sprintf("Clone (linked: %t) of %s into %s", linked, source.name, m.name), want, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: source.id, TargetName: m.name, Linked: linked, TargetVm: identity(m.name, m.owner)})
		if err != nil {
			return err
		}
		if err := k.same(&id, resp.GetTargetVmId()); err != nil {
			return err
		}
		err = waitFor(ctx, client, resp.GetTask())
		if errors.Is(err, errTask) {
			return errNotYet(err.Error()) // The task of a clone may fail. Then the clone is requested again.
		}
		return err
	}) || want != codes.OK {
		*m = machine{name: m.name}
		return
	}
	*m = machine{
		name: m.name, owner: m.owner, id: id, cpus: source.cpus, memory: source.memory, root: source.root, source: cloned,
		extras: append([]disk(nil), source.extras...), nics: source.nics, seed: source.seed, held: source.held,
	}
	if linked {
		mark := "vrclone-" + m.onNAS()
		source.unmark(mark)
		source.mark(mark, m.name)
	}
	k.w.addExisting(id)
	k.check(m)
	k.check(source)
}

// moveInto migrates a disk: it exports it to a claim, imports it, and creates a VM with it.
func (k *worker) moveInto(m *machine) {
	source := k.other(true, m)
	if source == nil {
		k.create(m)
		return
	}
	format := []string{"qcow2", "vmdk"}[k.random.IntN(2)]
	name := fmt.Sprintf("%s-%d.%s", m.name, k.step, format)
	where := "pvc://stage/vmmigrations/soak/" + name
	defer os.Remove(filepath.Join(k.w.claims, "stage", "vmmigrations", "soak", name)) //nolint:errcheck // The folder goes with the test.
	sum := ""
	if !k.do("ExportDisk of "+source.name, codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.ExportDisk(ctx, &providerv1.ExportDiskRequest{VmId: source.id, DestinationUrl: where, Format: format, BackendType: "pvc", TransferMode: "auto"})
		k.mu.Lock()
		defer k.mu.Unlock()
		if err == nil {
			sum = resp.GetChecksum()
		}
		return err
	}) {
		return
	}
	k.draw(m)
	m.source, m.held, m.root.gib = imported, source.held, 0
	path := ""
	if !k.do("ImportDisk of "+m.name, codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.ImportDisk(ctx, &providerv1.ImportDiskRequest{
			SourceUrl: where, Format: format, TargetName: m.name, BackendType: "pvc", TransferMode: "auto", VerifyChecksum: true, ExpectedChecksum: sum,
		})
		if err != nil {
			return err
		}
		return k.same(&path, resp.GetPath())
	}) {
		return
	}
	k.made(m, path)
}

// prepareImage prepares an image on whichever provider is faster.
func (k *worker) prepareImage(*machine) { k.image(k.random.IntN(3), k.random.IntN(2) == 0) }

// artifact prepares an image for one VMImage, like a manager of line 0.4.
func (k *worker) artifact(n int, url string) string {
	path := ""
	k.do(fmt.Sprintf("ImagePrepare of image %d for one VMImage", n), codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		m := manager04.New(client)
		if err := m.Look(ctx); err != nil {
			return err
		}
		image := &manager04.Image{
			UID: fmt.Sprintf("image-uid-%d", n), Namespace: namespace, Name: fmt.Sprintf("image-%d", n), URL: url, Format: "qcow2",
			Checksum: k.w.sum, ChecksumType: "sha256",
		}
		for {
			next := m.Prepare(ctx, image)
			switch {
			case next.Done():
				return k.same(&path, image.Prepared)
			case next.Reason == manager04.ImageImportFailed:
				return errNotYet(next.Err.Error()) // It is requested again.
			case next.Err != nil:
				return next.Err
			}
			pause(ctx, 20*time.Millisecond)
			if ctx.Err() != nil {
				return status.FromContextError(ctx.Err()).Err()
			}
		}
	})
	return path
}

// image requests an image and waits until it is ready.
func (k *worker) image(n int, line04 bool) string {
	path := ""
	url := fmt.Sprintf("%s/%d.raw.gz", k.w.images.URL, n)
	if line04 {
		return k.artifact(n, url)
	}
	k.do(fmt.Sprintf("ImagePrepare of image %d", n), codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		job := fmt.Sprintf(`{"source":{"libvirt":{"url":%q,"format":"qcow2","checksum":%q,"checksumType":"sha256"}},"prepare":{"onMissing":"Import","validateChecksum":true,"timeout":"30m0s","retries":3}}`, url, k.w.sum)
		resp, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: job, TargetName: fmt.Sprintf("image-%d", n)})
		if err != nil {
			return err
		}
		if err := k.same(&path, resp.GetPreparedImagePath()); err != nil || resp.GetTask() == nil {
			return err
		}
		if err := waitFor(ctx, client, resp.GetTask()); err != nil {
			return err
		}
		return errNotYet("the state has to be read again")
	})
	return path
}

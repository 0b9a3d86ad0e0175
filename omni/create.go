package omni

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// ensureMachine returns the backend of the machine, and creates the machine if it does not exist. Every step that needs the
// machine calls it, because a user may have deleted the machine since the last step and steps do not run backwards.
func (p *Provisioner) ensureMachine(ctx context.Context, r *request, class Class) (*backend, error) {
	b, err := p.place(ctx, r, class)
	if err != nil {
		return nil, err
	}
	if created, err := p.created(ctx, r, b); created || err != nil {
		if r.spec.Uuid != "" {
			r.SetMachineUUID(r.spec.Uuid) // The SDK saves the record before the status, and may have been interrupted in between.
		}
		return b, err
	}
	if err := p.ensureImage(ctx, r, class, b); err != nil {
		return nil, p.reassign(ctx, r, class, b, err)
	}
	if !r.spec.Committed {
		r.spec.Committed = true
		return nil, waiting{after: immediately} // The record is saved before Create is called.
	}
	req := p.createRequest(r, class)
	if can, err := b.capabilities(ctx); err == nil && can.GetSupportsImageArtifactIdentity() {
		// Without this key of VirtRigaud 0.4, a backend refuses an image that was prepared for one owner.
		imported := false
		req.ImageJson = encode(imagePayload{Path: r.spec.ImagePath, Format: "raw", ImportedDisk: &imported})
	}
	resp, err := call(ctx, b, createTimeout, b.client.Create, req)
	if err != nil {
		return nil, p.createFailed(ctx, r, class, b, err)
	}
	r.spec.VmId, r.spec.CreateTask, r.spec.NameTaken = resp.GetId(), resp.GetTask().GetId(), false
	if r.spec.CreateTask != "" {
		return nil, waiting{}
	}
	return b, p.noteMachine(ctx, r, b)
}

// created reports whether Create has completed. It calls the backend only for a UUID that is not recorded yet and for a pending task of
// Create. Such a task may cover the image alone; then Create has to be called again.
func (p *Provisioner) created(ctx context.Context, r *request, b *backend) (bool, error) {
	switch {
	case r.spec.CreateTask == "" && r.spec.VmId != "" && r.spec.Uuid == "":
		return true, p.noteMachine(ctx, r, b) // The backend may not have responded when the machine was created.
	case r.spec.CreateTask == "":
		return r.spec.VmId != "", nil
	}
	done, err := b.taskDone(ctx, r.spec.CreateTask)
	if !done {
		if err != nil {
			return false, err
		}
		return false, waiting{}
	}
	r.spec.CreateTask = ""
	if err != nil {
		r.spec.VmId = ""
		return false, err
	}
	found, err := b.describe(ctx, r.spec.VmId)
	switch {
	case err != nil && codeOf(err) != codes.NotFound:
		return false, err
	case !found.GetExists():
		r.spec.VmId = ""
		return false, nil
	}
	return true, p.noteMachine(ctx, r, b)
}

// createFailed corrects the record of the request after a refusal of Create.
func (p *Provisioner) createFailed(ctx context.Context, r *request, class Class, b *backend, err error) error {
	code := codeOf(err)
	if code == codes.AlreadyExists || code == codes.FailedPrecondition {
		// The machine of a Create without a reply may differ from the request, which has changed since.
		switch removed, failed := p.removeUnrecorded(ctx, r.id, b); {
		case failed != nil:
			return failed
		case removed > 0:
			return operatorFault{"the VM of an interrupted attempt on " + b.name + " differs from the machine request and was removed. Will be created again"}
		}
	}
	switch code {
	case codes.AlreadyExists:
		r.spec.NameTaken = true
	case codes.FailedPrecondition, codes.NotFound:
		// The image may have been deleted since it was prepared, so request it again.
		r.spec.ImagePath = ""
		p.images.forget()
	}
	return p.reassign(ctx, r, class, b, err)
}

// removeUnrecorded deletes the machines of a request that Create made on a backend and that the record lacks, because the reply of
// Create was lost. It returns their number. Such a machine has never been started: one that runs stays, and one with data is an
// error, because the record may be older than the machine.
func (p *Provisioner) removeUnrecorded(ctx context.Context, id string, b *backend) (int, error) {
	vms, err := b.list(ctx, 0)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, vm := range vms {
		if vm.GetName() != id || vm.GetPowerState() != stateOff || !p.mark().owns(vm) {
			continue
		}
		switch written, err := b.written(ctx, vm.GetId()); {
		case err != nil:
			return removed, err
		case written:
			return removed, operatorFault{fmt.Sprintf("VM %s on %s may have data, and its creation is not recorded. Delete the VM on the NAS if its data is not needed", id, b.name)}
		}
		if err := p.deleteMachine(ctx, located{b, vm.GetId()}); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// writtenBytes exceeds the space of a disk that no guest has written.
const writtenBytes = 1 << 20

// written reports whether a disk of a machine has own data, in addition to the blocks that it shares with its image. A machine whose
// backend does not report its volumes counts as written.
func (b *backend) written(ctx context.Context, vm string) (bool, error) {
	found, err := b.describe(ctx, vm)
	if err != nil {
		return false, err
	}
	volumes := volumesOf(found.GetProviderRawJson())
	for _, volume := range volumes {
		info, err := call(ctx, b, askTimeout, b.client.GetDiskInfo, &providerv1.GetDiskInfoRequest{VmId: vm, DiskId: volume})
		if err != nil || info.GetActualSizeBytes() > writtenBytes {
			return err == nil, err
		}
	}
	return len(volumes) == 0, nil
}

func (p *Provisioner) createRequest(r *request, class Class) *providerv1.CreateRequest {
	req := class.createRequest(r.id, r.spec.ImagePath, r.spec.Addresses, p.macs(r.id, class))
	req.Owner = p.ownerOf(r.id)
	req.Tags = append(p.mark().tags(), class.Tags...)
	req.UserData = []byte(r.ConnectionParams.JoinConfig) // Verbatim: Talos accepts no #cloud-config line before it.
	req.MetaData = fmt.Appendf(nil, "instance-id: %q\nlocal-hostname: %q\n", p.mark().owner(r.id), hostName(r.id))
	return req
}

// ownerOf returns the owner of a request's machine in the contract's form.
func (p *Provisioner) ownerOf(id string) *providerv1.ObjectIdentity {
	return &providerv1.ObjectIdentity{Uid: p.mark().owner(id), Name: id}
}

// noteMachine records the UUID of the machine and reports it to Omni.
func (p *Provisioner) noteMachine(ctx context.Context, r *request, b *backend) error {
	r.spec.Uuid = canonicalUUID(r.spec.VmId)
	if r.spec.Uuid == "" {
		found, err := b.describe(ctx, r.spec.VmId)
		if err != nil && codeOf(err) != codes.NotFound { // The next step creates a machine again that is gone.
			return err
		}
		r.spec.Uuid = reportedUUID(found.GetProviderRawJson())
	}
	if r.spec.Uuid != "" {
		// Without a UUID, Omni finds the machine by the request id in its join token, when the machine joins.
		r.SetMachineUUID(r.spec.Uuid)
	}
	return nil
}

// canonicalUUID returns a UUID in the form in which Omni compares them, or "" if the id is not one.
func canonicalUUID(id string) string {
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != 36 {
		return ""
	}
	return parsed.String()
}

// reportedUUID returns the machine's SMBIOS UUID from the raw data of a provider, which the contract does not define.
func reportedUUID(raw string) string {
	var data map[string]string
	if json.Unmarshal([]byte(raw), &data) != nil {
		return ""
	}
	for _, name := range []string{"smbios_uuid", "bios_uuid", "uuid"} {
		for key, value := range data {
			if strings.EqualFold(key, name) {
				return canonicalUUID(value)
			}
		}
	}
	return ""
}

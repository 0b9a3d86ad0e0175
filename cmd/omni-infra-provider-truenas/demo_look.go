package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	cosi "github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/kdomanski/iso9660"
	"github.com/klauspost/compress/zstd"
	"github.com/siderolabs/omni/client/api/omni/specs"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	siderolinkres "github.com/siderolabs/omni/client/pkg/omni/resources/siderolink"
	"github.com/siderolabs/omni/client/pkg/siderolink"

	"virtrigaud-provider-truenas/truenas/sim"
)

type resource = cosi.Resource

// follow calls ask with each request, and prints Omni's status of the requests as it changes, until all of them are provisioned.
func (t *tour) follow(ctx context.Context, requests []string, ask func(id string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan state.Event, 1)
	if err := t.omni.WatchKind(ctx, infrares.NewMachineRequestStatus("").Metadata(), events); err != nil {
		return err
	}
	for _, id := range requests {
		if err := ask(id); err != nil {
			return err
		}
	}
	last, over := map[string]string{}, map[string]bool{}
	for len(over) < len(requests) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("not all requests are provisioned: %w", ctx.Err())
		case event := <-events:
			if status, ok := event.Resource.(*infrares.MachineRequestStatus); ok {
				t.progress(last, status)
				if status.TypedSpec().Value.GetStage() == specs.MachineRequestStatusSpec_PROVISIONED {
					over[status.Metadata().ID()] = true
				}
			}
		}
	}
	return nil
}

func (t *tour) progress(last map[string]string, status *infrares.MachineRequestStatus) {
	id, spec := status.Metadata().ID(), status.TypedSpec().Value
	line := spec.GetStatus()
	if spec.GetError() != "" {
		line += ": " + spec.GetError()
	}
	if strings.Contains(line, " % of ") {
		if t.percent == "" {
			t.percent = line
			t.say("   %s  %s\n", id, line)
		}
		t.factory.Release()
		return
	}
	if line != "" && last[id] != line {
		last[id] = line
		t.say("   %s  %s\n", id, line)
	}
}

// demoImage is a raw disk of 8 MiB of data and 56 MiB of zeros, compressed.
func demoImage() ([]byte, error) {
	disk := make([]byte, 64<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(disk[:8<<20]) // It never fails.
	copy(disk[510:], "\x55\xaa")
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(disk, nil), z.Close()
}

// machineUUID returns the UUID in the status of a machine request.
func (t *tour) machineUUID(ctx context.Context, id string) (string, error) {
	status, err := safe.ReaderGetByID[*infrares.MachineRequestStatus](ctx, t.omni, id)
	if err != nil {
		return "", err
	}
	return status.TypedSpec().Value.GetId(), nil
}

// joinConfig returns the join configuration that Omni expects for a machine, rendered again from Omni's resources.
func (t *tour) joinConfig(ctx context.Context, id string) (string, error) {
	join, err := safe.ReaderGetByID[*siderolinkres.ProviderJoinConfig](ctx, t.omni, demoID)
	if err != nil {
		return "", err
	}
	api, err := safe.ReaderGetByID[*siderolinkres.APIConfig](ctx, t.omni, siderolinkres.ConfigID)
	if err != nil {
		return "", err
	}
	options, err := siderolink.NewJoinOptions(
		siderolink.WithJoinToken(join.TypedSpec().Value.GetJoinToken()), siderolink.WithMachineAPIURL(api.TypedSpec().Value.GetMachineApiAdvertisedUrl()),
		siderolink.WithEventSinkPort(int(api.TypedSpec().Value.GetEventsPort())), siderolink.WithLogServerPort(int(api.TypedSpec().Value.GetLogsPort())),
		siderolink.WithProvider(infrares.NewProvider(demoID)), siderolink.WithMachineRequestID(id),
	)
	if err != nil {
		return "", err
	}
	text, err := options.RenderJoinConfig()
	return string(text), err
}

// vm returns the state of a VM on the NAS.
func (t *tour) vm(uuid string) (sim.VMState, error) {
	for _, vm := range t.nas.VMs() {
		if vm.Config["uuid"] == uuid {
			return vm, nil
		}
	}
	return sim.VMState{}, fmt.Errorf("the NAS has no VM with UUID %q", uuid)
}

// seed reads the files of a VM's seed from the NAS.
func (t *tour) seed(uuid string) (map[string]string, error) {
	vm, err := t.vm(uuid)
	if err != nil {
		return nil, err
	}
	for _, d := range vm.Devices {
		if path, ok := d.Attributes["path"].(string); ok && d.Attributes["dtype"] == "CDROM" {
			content, err := t.nas.File(path)
			if err != nil {
				return nil, err
			}
			return isoFiles(content)
		}
	}
	return nil, fmt.Errorf("VM %s has no CD-ROM", vm.Name)
}

func isoFiles(content []byte) (map[string]string, error) {
	image, err := iso9660.OpenImage(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	root, err := image.RootDir()
	if err != nil {
		return nil, err
	}
	children, err := root.GetChildren()
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, file := range children {
		text, err := io.ReadAll(file.Reader())
		if err != nil {
			return nil, err
		}
		files[file.Name()] = string(text)
	}
	return files, nil
}

// until polls a condition until it holds.
func until(ctx context.Context, holds func() bool) error {
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

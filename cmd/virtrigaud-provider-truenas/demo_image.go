package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

func demoPrepare(ctx context.Context, t *tour) (string, error) {
	d, err := offerImage(t.out)
	if err != nil {
		return "", err
	}
	t.image = d
	t.countCalls()
	answer, err := t.client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{TargetName: "debian12", ImageJson: fmt.Sprintf(
		`{"source":{"libvirt":{"url":%q,"format":"qcow2","checksum":%q,"checksumType":"sha256"}},"prepare":{"validateChecksum":true}}`, d.url, d.sum)})
	if err != nil {
		return "", err
	}
	if err := t.done(ctx, answer.GetTask()); err != nil {
		return "", err
	}
	t.prepared = answer.GetPreparedImagePath()
	staged := t.datasets(func(s sim.DatasetState) bool { return strings.Contains(s.Name, "/staging/") })
	return "The image is on the NAS as " + t.prepared, errors.Join(
		must(t.has(t.prepared), "the NAS has no snapshot %s", t.prepared),
		must(len(staged) == 0, "staged objects are left: %v", staged),
		must(d.served.Load() >= d.size, "only %d of %d bytes were fetched", d.served.Load(), d.size),
	)
}

// demoClones creates VMs without cloud-init data, because that needs an upload too.
func demoClones(ctx context.Context, t *tour) (string, error) {
	t.countCalls()
	fetched := t.image.served.Load()
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range 5 {
		group.Go(func() error {
			request := webRequest()
			request.Name, request.UserData, request.NetworksJson = fmt.Sprintf("clone-%d", i), nil, `[{"Name":"eth0","Bridge":"br0"}]`
			request.ImageJson = fmt.Sprintf(`{"Path":%q}`, t.prepared)
			_, err := t.create(groupCtx, request)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	uploads := 0
	for _, method := range t.nas.Calls() {
		if method == "filesystem.put" {
			uploads++
		}
	}
	clones := t.datasets(func(s sim.DatasetState) bool { return s.Origin == t.prepared })
	return "Five root disks share the image's blocks, and each holds what the image holds. Nothing was fetched or uploaded for them.", errors.Join(
		must(len(clones) == 5, "the image has %d clones", len(clones)),
		must(t.image.served.Load() == fetched, "the image was fetched again"),
		must(uploads == 0, "there were %d uploads", uploads),
		t.hold(clones, t.image.disk),
	)
}

// has reports whether a snapshot exists on the NAS.
func (t *tour) has(snapshot string) bool {
	return slices.ContainsFunc(t.nas.State().Snapshots, func(s sim.SnapshotState) bool { return s.ID == snapshot })
}

// hold compares the beginning of volumes with the expected data.
func (t *tour) hold(volumes []string, want []byte) error {
	for _, name := range volumes {
		got := make([]byte, len(want))
		if _, err := t.nas.ReadVolume(name, got, 0); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("volume %s does not hold what the image holds", name)
		}
	}
	return nil
}

package server_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

func TestPruneRemovesOnlyUnusedImages(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			nas, simulated := truenastest.New(t, truenastest.Release(release))
			client, provider := serve(t, nas, loopbackImages)
			web, _ := serveImage(t)
			ctx := context.Background()
			resp, err := prepare(t, client, web.job(web.checksum()))
			if err != nil {
				t.Fatal(err)
			}
			finish(t, client, resp.GetTask())
			req := wanted("web-1")
			req.ImageJson = fmt.Sprintf(`{"Path":%q}`, resp.GetPreparedImagePath())
			made, err := client.Create(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			prune := func(s *server.Server, unusedFor time.Duration, dry bool, want int) {
				t.Helper()
				gone, err := s.PruneImages(ctx, unusedFor, dry)
				if err != nil || len(gone) != want {
					t.Errorf("unused for %v: %v, %v; want %d", unusedFor, gone, err, want)
				}
			}
			prune(provider, 0, false, 0) // It has a clone.
			if _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: made.GetId()}); err != nil {
				t.Fatal(err)
			}
			prune(provider, time.Hour, false, 0) // It was used a moment ago.
			_, other := serve(t, nas, func(c *server.Config) { c.ID = "other" })
			prune(other, 0, false, 0) // It belongs to another provider.
			prune(provider, 0, true, 1)
			if len(below(simulated.State(), "tank/virtrigaud/images/")) == 0 {
				t.Error("a dry run removed the image")
			}
			// A provider without cached state comes to the same result.
			_, fresh := serve(t, nas)
			prune(fresh, 0, false, 1)
			// The record of the image's source stays.
			if left := below(simulated.State(), "tank/virtrigaud/images/"); len(left) != 1 || strings.HasSuffix(left[0], "/disk") {
				t.Errorf("leftovers: %v", left)
			}
			if found, err := fresh.Leftovers(ctx, 0); err != nil || len(found) > 0 {
				t.Errorf("leftovers: %v, %v", found, err)
			}
		})
	}
}

// imageOn prepares an image and returns its dataset and path.
func imageOn(t *testing.T, client providerv1.ProviderClient, job string) (dataset, path string) {
	t.Helper()
	resp, err := prepare(t, client, job)
	if err != nil {
		t.Fatal(err)
	}
	finish(t, client, resp.GetTask())
	path = resp.GetPreparedImagePath()
	return strings.TrimSuffix(path, "/disk@ready"), path
}

// usedAt sets the time of an image's last use.
func usedAt(t *testing.T, api *truenas.Client, dataset string, when time.Time) {
	t.Helper()
	update := truenas.DatasetUpdate{SetUserProperties: map[string]string{"virtrigaud:used": when.UTC().Format(time.RFC3339)}}
	if _, err := api.Datasets.Update(t.Context(), dataset, update); err != nil {
		t.Fatal(err)
	}
}

// web1Of returns a Create of web-1 from an image on the NAS.
func web1Of(path string) *providerv1.CreateRequest {
	req := wanted("web-1")
	req.ImageJson = fmt.Sprintf(`{"Path":%q}`, path)
	return req
}

// The manager requests an image once, and then believes that it exists.
func TestPrunedImageIsLandedAgain(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, truenastest.Release(release))
			client, provider := serve(t, api, loopbackImages)
			web, disk := serveImage(t)
			dataset, path := imageOn(t, client, web.job(web.checksum()))
			usedAt(t, api, dataset, time.Now().Add(-48*time.Hour))
			if gone, err := provider.PruneImages(t.Context(), time.Hour, false); err != nil || len(gone) != 1 {
				t.Fatalf("pruned: %v, %v", gone, err)
			}
			fresh, other := serve(t, api, loopbackImages) // It has no cached state.
			made, err := fresh.Create(t.Context(), web1Of(path))
			if err != nil || made.GetTask() == nil {
				t.Fatalf("Create: %v, %v", made, err)
			}
			finish(t, fresh, made.GetTask())
			if gone, err := other.PruneImages(t.Context(), time.Hour, false); err != nil || len(gone) > 0 {
				t.Errorf("pruned before its use: %v, %v", gone, err)
			}
			if made, err = fresh.Create(t.Context(), web1Of(path)); err != nil || made.GetTask() != nil {
				t.Fatalf("Create after the task: %v, %v", made, err)
			}
			got := make([]byte, len(disk))
			if _, err := nas.ReadVolume("tank/virtrigaud/vms/web_1/root", got, 0); err != nil || !bytes.Equal(got, disk) {
				t.Errorf("the VM's disk is not the image: %v", err)
			}
		})
	}
}

// An image whose source is not recorded, since it may contain a secret, cannot be landed again.
func TestPruneKeepsAnImageWithoutASource(t *testing.T) {
	t.Parallel()
	api, _ := truenastest.New(t)
	client, provider := serve(t, api, loopbackImages)
	web, _ := serveImage(t)
	dataset, _ := imageOn(t, client, fmt.Sprintf(`{"source":{"libvirt":{"url":%q}}}`, web.URL+"/disk.raw.gz?signature=secret"))
	usedAt(t, api, dataset, time.Now().Add(-48*time.Hour))
	if gone, err := provider.PruneImages(t.Context(), time.Hour, false); err != nil || len(gone) > 0 {
		t.Errorf("pruned: %v, %v", gone, err)
	}
}

// An image is unused since the removal of its last clone, by any client.
func TestUnusedCountsFromTheLastClone(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for name, remove := range map[string]func(*testing.T, providerv1.ProviderClient, *sim.Sim, *server.Server){
			"Delete": func(t *testing.T, client providerv1.ProviderClient, _ *sim.Sim, _ *server.Server) {
				if err := deleteVM(idOfWeb1)(t.Context(), client); err != nil {
					t.Fatal(err)
				}
			},
			"by hand": func(t *testing.T, _ providerv1.ProviderClient, nas *sim.Sim, s *server.Server) {
				if _, err := s.PruneImages(t.Context(), time.Hour, false); err != nil {
					t.Fatal(err)
				}
				if err := nas.RemoveDataset("tank/virtrigaud/vms/web_1"); err != nil {
					t.Fatal(err)
				}
			},
		} {
			t.Run(release+"/"+name, func(t *testing.T) {
				api, nas := truenastest.New(t, truenastest.Release(release))
				client, provider := serve(t, api, loopbackImages)
				web, _ := serveImage(t)
				dataset, path := imageOn(t, client, web.job(web.checksum()))
				if _, err := client.Create(t.Context(), web1Of(path)); err != nil {
					t.Fatal(err)
				}
				usedAt(t, api, dataset, time.Now().Add(-48*time.Hour)) // The VM was made two days ago.
				remove(t, client, nas, provider)
				if gone, err := provider.PruneImages(t.Context(), time.Hour, false); err != nil || len(gone) > 0 {
					t.Errorf("pruned: %v, %v", gone, err)
				}
			})
		}
	}
}

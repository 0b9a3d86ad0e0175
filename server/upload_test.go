package server_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// lateUpload leaves a folder in place of a dataset, as an upload after the destruction of the dataset does.
func lateUpload(t *testing.T, address *sim.Server, dataset string) {
	t.Helper()
	api, err := truenas.New(truenastest.Config(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	if err := api.Files.Put(t.Context(), "/mnt/"+dataset+"/late", 0o600, strings.NewReader("late"), 4, nil); err != nil {
		t.Fatal(err)
	}
}

// TestFolderInTheWay: the error for a dataset that a folder blocks names the folder, after few calls.
func TestFolderInTheWay(t *testing.T) {
	t.Parallel()
	web, _ := serveImage(t)
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			nas, address := truenastest.Serve(t, truenastest.Release(release))
			client, stop := startProvider(t, address)
			t.Cleanup(stop)
			withWeb1(t, client, nas)
			if err := deleteVM(idOfWeb1)(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			lateUpload(t, address, "tank/virtrigaud/vms/web_1")
			calls := len(nas.Calls())
			refusedWith(t, createWeb1(t.Context(), client), "FailedPrecondition", "a late upload left the folder /mnt/tank/virtrigaud/vms/web_1 in its place")
			doctorReports(t, address, "/mnt/tank/virtrigaud/vms/web_1")
			if n := len(nas.Calls()) - calls; n > 40 {
				t.Errorf("Create made %d calls", n)
			}
			if len(nas.VMs()) > 0 {
				t.Error("a record is left")
			}

			first, err := prepare(t, client, web.job(web.checksum()))
			if err != nil {
				t.Fatal(err)
			}
			finish(t, client, first.GetTask())
			dataset := strings.TrimSuffix(first.GetPreparedImagePath(), "/disk@ready")
			api, err := truenas.New(truenastest.Config(address))
			if err != nil {
				t.Fatal(err)
			}
			defer api.Close() //nolint:errcheck // Nothing is open.
			if err := api.Datasets.Delete(t.Context(), dataset, truenas.DatasetDelete{Recursive: true}); err != nil {
				t.Fatal(err)
			}
			lateUpload(t, address, strings.Replace(dataset, "/images/", "/staging/", 1))
			calls = len(nas.Calls())
			_, err = prepare(t, client, web.job(web.checksum()))
			refusedWith(t, err, "FailedPrecondition", "/mnt/tank/virtrigaud/staging/")
			if n := len(nas.Calls()) - calls; n > 60 {
				t.Errorf("ImagePrepare made %d calls", n)
			}
		})
	}
}

// TestUploadThatArrivesInPart: middlewared reports success for a partial file, and no image is made from it.
func TestUploadThatArrivesInPart(t *testing.T) {
	t.Parallel()
	web, disk := serveImage(t)
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			nas, address := truenastest.Serve(t, truenastest.Release(release))
			client, stop := startProvider(t, address)
			t.Cleanup(stop)
			nas.Inject(sim.Fault{Method: "filesystem.put", Then: sim.Truncate})
			var path string
			for ready := false; !ready; {
				resp, err := prepare(t, client, web.job(web.checksum()))
				if err != nil {
					refusedWith(t, err, "Aborted", "bytes arrived")
					continue
				}
				path, ready = resp.GetPreparedImagePath(), resp.GetTask() == nil
				soon(t, "the task is over", func() bool { return ready || taskDone(t, client, resp.GetTask()) })
			}
			volume, _, _ := strings.Cut(path, "@")
			if !hasContent(t, nas, volume, disk) {
				t.Error("the image differs from the published one")
			}
		})
	}
}

// TestStalledSource covers rule 14: the provider interrupts a silent source before the web server of the NAS ends the upload, and
// requests the rest.
func TestStalledSource(t *testing.T) {
	t.Parallel()
	web, disk := serveImage(t)
	var stalls atomic.Int64
	stalling := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" || r.Method != http.MethodGet {
			http.ServeContent(w, r, "disk.raw.gz", time.Unix(1, 0), bytes.NewReader(web.content))
			return
		}
		stalls.Add(1)
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Last-Modified", time.Unix(1, 0).UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Length", strconv.Itoa(len(web.content)))
		_, _ = w.Write(web.content[:len(web.content)/2])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(stalling.Close)
	job := strings.ReplaceAll(web.job(web.checksum()), web.URL, stalling.URL)
	nas, address := truenastest.Serve(t, func(c *sim.Config) { c.UploadSilence = 2 * time.Second })
	client, stop := startProvider(t, address, func(c *server.Config) { c.Disk.StallTimeout = 200 * time.Millisecond })
	t.Cleanup(stop)
	resp, err := prepare(t, client, job)
	if err != nil {
		t.Fatal(err)
	}
	finish(t, client, resp.GetTask())
	volume, _, _ := strings.Cut(resp.GetPreparedImagePath(), "@")
	if !hasContent(t, nas, volume, disk) {
		t.Error("the image differs from the published one")
	}
	if n := count(nas.Calls(), "filesystem.put"); n != 1 || stalls.Load() == 0 {
		t.Errorf("%d uploads, %d stalls", n, stalls.Load())
	}
}

// TestConversionWithoutSpace expects an error about the space, not about the rights.
func TestConversionWithoutSpace(t *testing.T) {
	t.Parallel()
	web, _ := serveImage(t)
	for _, release := range releases[1:] {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			nas, address := truenastest.Serve(t, truenastest.Release(release))
			client, stop := startProvider(t, address)
			t.Cleanup(stop)
			nas.Inject(sim.Fault{Method: "vm.device.convert", Then: sim.FailJob, Err: &sim.CallError{Errno: 1,
				Reason: "[EPERM] qemu-img convert failed: qemu-img: error while writing at byte 0: No space left on device"}})
			resp, err := prepare(t, client, web.job(web.checksum()))
			if err == nil {
				soon(t, "the task is over", func() bool { return taskDone(t, client, resp.GetTask()) })
				_, err = prepare(t, client, web.job(web.checksum()))
			}
			refusedWith(t, err, "ResourceExhausted", "No space left on device")
		})
	}
}

// hasContent reports whether a volume begins with want.
func hasContent(t *testing.T, nas *sim.Sim, volume string, want []byte) bool {
	t.Helper()
	got := make([]byte, len(want))
	_, err := nas.ReadVolume(volume, got, 0)
	return err == nil && bytes.Equal(got, want)
}

// doctorReports checks that the doctor reports exactly one folder.
func doctorReports(t *testing.T, address *sim.Server, folder string) {
	t.Helper()
	api, err := truenas.New(truenastest.Config(address))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close() //nolint:errcheck // Nothing is open.
	_, doctor := serve(t, api)
	list, err := doctor.Leftovers(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Where != folder || !strings.Contains(list[0].Keep, "shell") {
		t.Errorf("the doctor lists %+v", list)
	}
}

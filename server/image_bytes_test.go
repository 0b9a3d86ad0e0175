package server_test

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/disk/disktest"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// sparseDisk returns a disk of 48 MiB with 8 MiB of incompressible data, in two places.
func sparseDisk() (disk []byte, data int) {
	disk = make([]byte, 48<<20)
	random := rand.NewChaCha8([32]byte{7})
	_, _ = random.Read(disk[:4<<20])
	_, _ = random.Read(disk[40<<20 : 44<<20])
	return disk, 8 << 20
}

// Of a raw image and of a fully allocated qcow2 only the data is sent to the NAS, at most 1.05 times as much, on every release; and
// the NAS makes the same disk of it.
func TestZerosOfAnImageAreNotSent(t *testing.T) {
	t.Parallel()
	disk, data := sparseDisk()
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(disk); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"disk.raw": disk, "disk.raw.gz": compressed.Bytes(),
		"disk.qcow2": disktest.QCOW2(int64(len(disk)), []disktest.Extent{{Offset: 0, Data: disk}}, false),
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, name, time.Unix(1, 0), bytes.NewReader(content))
		}))
		t.Cleanup(web.Close)
		for _, release := range allReleases {
			t.Run(name+"/"+release, func(t *testing.T) {
				nas, listener := truenastest.Serve(t, truenastest.Release(release))
				cfg := truenastest.Config(listener)
				var sent atomic.Int64
				cfg.Hooks.OnBytes = func(method string, n int) {
					if method == "filesystem.put" {
						sent.Add(int64(n))
					}
				}
				client, err := truenas.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = client.Close() })
				provider, _ := serve(t, client, loopbackImages)
				resp, err := provider.ImagePrepare(t.Context(), &providerv1.ImagePrepareRequest{
					TargetName: "sparse", ImageJson: `{"source":{"libvirt":{"url":"` + web.URL + "/" + name + `"}}}`,
				})
				if err != nil {
					t.Fatal(err)
				}
				finish(t, provider, resp.GetTask())
				if n, most := sent.Load(), int64(data)*105/100; n > most || n < int64(data) {
					t.Errorf("%d bytes were sent for %d bytes of data; want at most %d", n, data, most)
				}
				volume, _, _ := bytes.Cut([]byte(resp.GetPreparedImagePath()), []byte("@"))
				got := make([]byte, len(disk))
				if _, err := nas.ReadVolume(string(volume), got, 0); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, disk) {
					t.Errorf("volume %s is not the disk", volume)
				}
			})
		}
	}
}

// A qcow2 that turns out to be unordered in the middle is fetched again and sent unchanged.
func TestImageThatCannotBeRepacked(t *testing.T) {
	t.Parallel()
	disk, _ := sparseDisk()
	content := disktest.QCOW2(513<<20, []disktest.Extent{{Offset: 0, Data: disk[:4<<20]}, {Offset: 512 << 20, Data: disk[40<<20 : 41<<20]}}, true)
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	url := serveFiles(t, map[string][]byte{"disk.qcow2.gz": compressed.Bytes()})
	provider, nas := onRelease(t, "25.10", loopbackImages)
	resp, err := provider.ImagePrepare(t.Context(), &providerv1.ImagePrepareRequest{
		TargetName: "late", ImageJson: `{"source":{"libvirt":{"url":"` + url + `/disk.qcow2.gz"}}}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, provider, resp.GetTask())
	volume, _, _ := bytes.Cut([]byte(resp.GetPreparedImagePath()), []byte("@"))
	for offset, want := range map[int64][]byte{0: disk[:4<<20], 512 << 20: disk[40<<20 : 41<<20]} {
		got := make([]byte, len(want))
		if _, err := nas.ReadVolume(string(volume), got, offset); err != nil || !bytes.Equal(got, want) {
			t.Errorf("volume %s has another disk at %d: %v", volume, offset, err)
		}
	}
	for _, d := range nas.State().Datasets {
		if bytes.Contains([]byte(d.Name), []byte("/staging/")) {
			t.Errorf("%s is left", d.Name)
		}
	}
}

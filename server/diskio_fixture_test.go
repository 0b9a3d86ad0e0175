package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/disk/disktest"
	"virtrigaud-provider-truenas/truenas/sim"
)

// depot is the staging place of migrations: an S3 service, a claim and a mounted NFS export.
type depot struct {
	objects *s3mem.Backend
	s3      *httptest.Server
	claims  string // holds one directory per claim; the claim is "stage"
	export  string // the mount point of nfs://filer/pool/stage
	mounts  string // the kernel's list of mounts
	before  func(http.ResponseWriter, *http.Request) bool
}

func newDepot(t testing.TB) *depot {
	t.Helper()
	d := &depot{objects: s3mem.New(), claims: t.TempDir(), export: t.TempDir()}
	if err := d.objects.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(d.claims, "stage"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.mounts = filepath.Join(t.TempDir(), "mountinfo")
	line := fmt.Sprintf("90 60 0:50 / %s rw,relatime shared:1 - nfs4 filer:/pool/stage rw,vers=4.2\n", d.export)
	if err := os.WriteFile(d.mounts, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	store := gofakes3.New(d.objects, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	d.s3 = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.before == nil || !d.before(w, r) {
			store.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(d.s3.Close)
	return d
}

// reach configures a provider to use the depot.
func (d *depot) reach(c *server.Config) {
	loopbackImages(c)
	c.Disk.StagingRoot, c.Disk.MountsFile = d.claims, d.mounts
}

// images configures a provider to fetch images from the depot's bucket.
func (d *depot) images(c *server.Config) {
	c.Disk.S3 = disk.S3{
		Endpoint: d.s3.URL, Region: "us-east-1", PathStyle: true,
		Credentials: disk.Credentials{AccessKeyID: "AK", SecretAccessKey: "very-secret", SessionToken: "session-secret"},
	}
}

// url returns the URL of a file in a backend.
func (d *depot) url(backend, name string) string {
	switch backend {
	case "pvc":
		return "pvc://stage/vmmigrations/ns/" + name
	case "nfs":
		return "nfs://filer/pool/stage/vmmigrations-ns-" + name + "?gid=1000&uid=1000"
	case "http":
		return d.s3.URL + "/bucket/vmmigrations/ns/" + name
	}
	return "s3://bucket/vmmigrations/ns/" + name
}

// path returns the path of a file of a mounted backend.
func (d *depot) path(backend, name string) string {
	if backend == "pvc" {
		return filepath.Join(d.claims, "stage", "vmmigrations", "ns", name)
	}
	return filepath.Join(d.export, "vmmigrations-ns-"+name)
}

// options returns storage_options_json as the manager makes it.
func (d *depot) options(backend string) string {
	switch backend {
	case "s3":
		return fmt.Sprintf(`{"backend":"s3","bucket":"bucket","endpoint":%q,"region":"us-east-1","prefix":"","usePathStyle":true}`, d.s3.URL)
	case "nfs":
		return `{"backend":"nfs","server":"filer","export":"/pool/stage","path":"","uid":1000,"gid":1000}`
	}
	return ""
}

func (d *depot) put(t testing.TB, backend, name string, content []byte) {
	t.Helper()
	if backend == "s3" || backend == "http" {
		if _, err := d.objects.PutObject("bucket", "vmmigrations/ns/"+name, map[string]string{"Last-Modified": "Mon, 2 Jan 2006 15:04:05 GMT"}, bytes.NewReader(content), int64(len(content)), nil); err != nil {
			t.Fatal(err)
		}
		return
	}
	path := d.path(backend, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// get returns the contents of a file in a backend, or nil.
func (d *depot) get(t testing.TB, backend, name string) []byte {
	t.Helper()
	if backend == "s3" {
		object, err := d.objects.GetObject("bucket", "vmmigrations/ns/"+name, nil)
		if err != nil {
			return nil
		}
		defer object.Contents.Close()
		content, err := io.ReadAll(object.Contents)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	content, err := os.ReadFile(d.path(backend, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return content
}

// secrets returns the credentials that the manager reads from a Secret.
func secrets() map[string]string {
	return map[string]string{"accessKeyID": "AK", "secretAccessKey": "very-secret", "sessionToken": "session-secret"}
}

// importOf returns the manager's request to import a staged file.
func (d *depot) importOf(backend, name, format, target string, content []byte) *providerv1.ImportDiskRequest {
	return &providerv1.ImportDiskRequest{
		SourceUrl: d.url(backend, name), Format: format, TargetName: target, VerifyChecksum: true, ExpectedChecksum: sumOf(content),
		Credentials: secrets(), BackendType: backend, TransferMode: "auto", StorageOptionsJson: d.options(backend),
	}
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// sample returns an image of the common disk of all samples.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	return disktest.Unpacked(t, filepath.Join("disk", "testdata", "real", name+".xz"))
}

// holds compares a volume with the expected contents, and with zeros after them.
func holds(t testing.TB, nas *sim.Sim, volume string, want []byte) {
	t.Helper()
	got := make([]byte, len(want)+4<<20)
	n, err := nas.ReadVolume(volume, got, 0)
	if err != nil && err != io.EOF {
		t.Errorf("%s: %v", volume, err)
	}
	if n < len(want) || !bytes.Equal(got[:len(want)], want) || strings.Trim(string(got[len(want):n]), "\x00") != "" {
		t.Errorf("%s has other contents than were written", volume)
	}
}

// scattered returns a disk with data here and there, some of it incompressible.
func scattered(size int) []byte {
	disk := make([]byte, size)
	random := rand.New(rand.NewPCG(3, 4))
	for at := 0; at < size; at += size / 7 {
		piece := disk[at:min(at+200_000, size)]
		for i := range piece {
			piece[i] = byte(random.Uint32())
		}
	}
	copy(disk[size/2:], strings.Repeat("text that can be compressed ", 20_000))
	return disk
}

// clean checks that no staging object is left on the NAS.
func clean(t testing.TB, nas *sim.Sim) {
	t.Helper()
	if left := below(nas.State(), "tank/virtrigaud/staging/"); len(left) > 0 {
		t.Errorf("staging is not empty: %v", left)
	}
}

var background = context.Background()

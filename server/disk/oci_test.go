package disk

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fakeRegistry is a registry in this process. It offers no ranges.
type fakeRegistry struct {
	t    *testing.T
	host string
	// before receives every request, and returns true after it has responded itself.
	before func(http.ResponseWriter, *http.Request) bool
}

func newFakeRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	r := &fakeRegistry{t: t}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.before == nil || !r.before(w, req) {
			handler.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// put uploads content to the registry.
func (r *fakeRegistry) put(method, path, mediaType string, body []byte) {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.host+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

// blob stores content and describes it.
func (r *fakeRegistry) blob(mediaType, title string, content []byte) ocispec.Descriptor {
	r.t.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	if title != "" {
		d.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	}
	r.put(http.MethodPost, "/v2/disks/test/blobs/uploads/?digest="+d.Digest.String(), "application/octet-stream", content)
	return d
}

// tag stores a manifest of layers under a tag, and returns its descriptor.
func (r *fakeRegistry) tag(name string, layers ...ocispec.Descriptor) ocispec.Descriptor {
	r.t.Helper()
	return r.document(name, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    r.blob("application/vnd.oci.empty.v1+json", "", []byte("{}")),
		Layers:    layers,
	})
}

func (r *fakeRegistry) document(tag, mediaType string, v any) ocispec.Descriptor {
	r.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	r.put(http.MethodPut, "/v2/disks/test/manifests/"+tag, mediaType, body)
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
}

// archive returns a layer with files, given as name and content in turn.
func archive(t *testing.T, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		header := &tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644, Typeflag: tar.TypeReg}
		if strings.HasSuffix(files[i], "/") {
			header.Typeflag = tar.TypeDir
		}
		if target, ok := strings.CutPrefix(files[i+1], "-> "); ok {
			header.Typeflag, header.Linkname, header.Size = tar.TypeSymlink, target, 0
			files[i+1] = ""
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const (
	tarLayer  = ocispec.MediaTypeImageLayer
	tgzLayer  = ocispec.MediaTypeImageLayerGzip
	diskLayer = "application/x-qemu-disk"
)

func TestOCI(t *testing.T) {
	disk := unxz(t, "real/v3.qcow2.xz")
	raw := rawDisk(2 * mib)
	reg := newFakeRegistry(t)
	container := archive(t, "etc/", "", "etc/passwd", "root", "disk/", "", "disk/image.qcow2", string(disk), "disk/zzz", "later")

	reg.tag("artifact", reg.blob(diskLayer, "disk.qcow2", disk))
	reg.tag("artifact-untitled", reg.blob(tarLayer, "", disk))
	reg.tag("artifact-raw-gz", reg.blob(diskLayer, "disk.raw.gz", gzipped(t, raw)))
	reg.tag("artifact-with-readme", reg.blob("text/plain", "README.md", []byte("hello")), reg.blob(diskLayer, "disk.raw", raw))
	reg.tag("container", reg.blob(tarLayer, "", container))
	reg.tag("container-gz", reg.blob(tgzLayer, "", gzipped(t, container)))
	reg.tag("container-zst", reg.blob(tarLayer+"+zstd", "", zstandard(t, container, true)))
	reg.tag("container-xz-inside", reg.blob(tgzLayer, "", gzipped(t, archive(t, "./disk/d.raw.gz", string(gzipped(t, raw))))))
	pinned := reg.tag("container-layers",
		reg.blob(tgzLayer, "", gzipped(t, archive(t, "bin/sh", "elf"))),
		reg.blob(tgzLayer, "", gzipped(t, archive(t, "disk/image.raw", string(raw)))),
		reg.blob(tgzLayer, "", gzipped(t, archive(t, "disk/.wh.old", "", "etc/motd", "hi"))))
	pinned.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	other := reg.tag("arm", reg.blob(diskLayer, "", []byte("the wrong one")))
	other.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	reg.document("index", ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{other, pinned},
	})
	for _, tt := range []struct {
		ref  string
		disk []byte
		size int64
	}{
		{":artifact", disk, realDisk},
		{":artifact-untitled", disk, realDisk},
		{":artifact-raw-gz", raw, -1},
		{":artifact-with-readme", raw, 2 * mib},
		{":container", disk, realDisk},
		{":container-gz", disk, realDisk},
		{":container-zst", disk, realDisk},
		{":container-xz-inside", raw, -1},
		{":container-layers", raw, 2 * mib},
		{":index", raw, 2 * mib},
		{"@" + pinned.Digest.String(), raw, 2 * mib},
		{":some-tag@" + pinned.Digest.String(), raw, 2 * mib},
	} {
		t.Run(tt.ref, func(t *testing.T) {
			src := Source{URL: "oci://" + reg.host + "/disks/test" + tt.ref, ChecksumType: "sha256"}
			img, err := newOpener(t).Open(timeout(t), src)
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			if img.VirtualBytes != tt.size {
				t.Errorf("virtual size is %d, want %d", img.VirtualBytes, tt.size)
			}
			var got bytes.Buffer
			if _, err := img.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), tt.disk) {
				t.Errorf("%d bytes, error %v", got.Len(), err)
			}
		})
	}
}

// The checksum of a container disk is that of the file in it.
func TestOCIChecksum(t *testing.T) {
	raw := rawDisk(mib)
	reg := newFakeRegistry(t)
	reg.tag("container", reg.blob(tgzLayer, "", gzipped(t, archive(t, "disk/d.img", string(raw)))))
	src := Source{URL: "oci://" + reg.host + "/disks/test:container", Checksum: digest.FromBytes(raw).String(), Bytes: mib}
	mustRead(t, newOpener(t), src)
	src.Bytes++
	_, _, err := read(t, newOpener(t), src)
	want(t, err, ErrLength, "1048577")
}

func TestOCIRefused(t *testing.T) {
	reg := newFakeRegistry(t)
	raw := reg.blob(diskLayer, "a.raw", rawDisk(mib))
	reg.tag("two", raw, reg.blob(diskLayer, "b.qcow2", []byte("x")))
	reg.tag("no-disk", reg.blob(tarLayer, "", archive(t, "etc/passwd", "root")))
	reg.tag("link", reg.blob(tarLayer, "", archive(t, "disk/disk.img", "-> /etc/passwd")))
	reg.tag("hostile", reg.blob(tarLayer, "", archive(t, "disk/d.qcow2", string(unxz(t, "hostile/backing-file.qcow2.xz")))))
	reg.tag("bomb", reg.blob(tgzLayer, "", gzipped(t, archive(t, "etc/zeros", string(make([]byte, 70*mib))))))
	reg.tag("web-page", reg.blob(diskLayer, "", []byte("<html>")))
	many := make([]ocispec.Descriptor, maxLayers+1)
	for i := range many {
		many[i] = raw
	}
	reg.tag("many", many...)
	reg.document("empty", ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}})
	foreign := reg.tag("s390x", raw)
	foreign.Platform = &ocispec.Platform{OS: "linux", Architecture: "s390x"}
	reg.document("foreign", ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{foreign}})
	small := func(o *Options) { o.MaxVirtualBytes = mib / 4 }
	for _, tt := range []struct {
		tag  string
		kind error
		says string
	}{
		{"two", ErrUnsupported, "append #a.raw"},
		{"no-disk", ErrUnsupported, "no disk file under /disk/"},
		{"link", ErrUnsupported, "no disk file under /disk/"},
		{"hostile", ErrHostile, "backing file"},
		{"web-page", ErrUnsupported, "an HTML page"},
		{"many", ErrUnsupported, "129 layers"},
		{"empty", ErrUnsupported, "no layers"},
		{"foreign", ErrUnsupported, "linux/amd64"},
		{"missing", ErrNotFound, ""},
	} {
		_, _, err := read(t, newOpener(t), Source{URL: "oci://" + reg.host + "/disks/test:" + tt.tag})
		want(t, err, tt.kind, tt.says)
	}
	o := newOpener(t, small, func(o *Options) { o.MaxExpansion = 10 })
	_, err := o.Open(t.Context(), Source{URL: "oci://" + reg.host + "/disks/test:bomb"})
	want(t, err, ErrUnsupported, "no disk file") // within the expansion that every layer may have

	_, err = newOpener(t, func(o *Options) { o.AllowAddresses = nil }).Open(t.Context(), Source{URL: "oci://" + reg.host + "/disks/test:two"})
	want(t, err, ErrRefused, "loopback")
}

func TestOCIContentIsVerified(t *testing.T) {
	raw := rawDisk(mib)
	for _, inside := range []bool{false, true} {
		reg := newFakeRegistry(t)
		good := raw
		if inside {
			good = archive(t, "disk/d.raw", string(raw), "disk/zzz", "the end")
		}
		layer := reg.blob(diskLayer, "", good)
		reg.tag("swapped", layer)
		bad := bytes.Clone(good)
		bad[len(bad)-1200] ^= 1 // in an archive, after the disk
		reg.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
				return false
			}
			w.Write(bad)
			return true
		}
		_, got, err := read(t, newOpener(t), Source{URL: "oci://" + reg.host + "/disks/test:swapped"})
		want(t, err, ErrChecksum, layer.Digest.String())
		if len(got) >= mib {
			t.Errorf("%d bytes were passed on", len(got))
		}
	}
}

func TestOCIInterrupted(t *testing.T) {
	raw := rawDisk(2 * mib)
	reg := newFakeRegistry(t)
	reg.tag("flaky", reg.blob(diskLayer, "d.raw", raw))
	cuts := 0
	reg.before = func(w http.ResponseWriter, r *http.Request) bool {
		if cuts++; cuts == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		if !strings.Contains(r.URL.Path, "/blobs/") || cuts > 5 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
		w.Write(raw[:cuts*200*kib])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	if _, got := mustRead(t, newOpener(t), Source{URL: "oci://" + reg.host + "/disks/test:flaky"}); !bytes.Equal(got, raw) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestOCICredentials(t *testing.T) {
	raw := rawDisk(mib)
	reg := newFakeRegistry(t)
	reg.tag("private", reg.blob(diskLayer, "d.raw", raw))
	secret := base64.StdEncoding.EncodeToString([]byte("joe:hunter2"))
	reg.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Basic "+secret {
			return false
		}
		w.Header().Set("Www-Authenticate", `Basic realm="disks"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	config := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, reg.host, secret), 0o600); err != nil {
		t.Fatal(err)
	}
	src := Source{URL: "oci://" + reg.host + "/disks/test:private"}
	mustRead(t, newOpener(t, func(o *Options) { o.DockerConfig = config }), src)

	_, err := newOpener(t).Open(t.Context(), src)
	want(t, err, ErrDenied)

	src.Credentials = Credentials{Username: "joe", Password: "hunter3"}
	_, err = newOpener(t).Open(t.Context(), src)
	want(t, err, ErrDenied, "401")
	if strings.Contains(err.Error(), "hunter") {
		t.Errorf("the password is in %v", err)
	}
	src.Credentials.Password = "hunter2"
	mustRead(t, newOpener(t), src)
}

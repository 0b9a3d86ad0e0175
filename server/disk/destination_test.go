package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// create begins an upload, or fails the test.
func create(t testing.TB, ctx context.Context, o *Opener, dst Destination) *Upload {
	t.Helper()
	up, err := o.Create(ctx, dst)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

func TestUploadToS3(t *testing.T) {
	content := rawDisk(21*mib + sectorBytes) // three parts
	var failed, sent atomic.Int64
	service := newFakeS3(t, "unused", nil, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || r.URL.Query().Get("partNumber") == "" {
			return false
		}
		if r.Header.Get("Content-Md5") == "" || r.Header.Get("X-Amz-Content-Sha256") != "UNSIGNED-PAYLOAD" || r.Header.Get("X-Amz-Security-Token") != "session" {
			t.Errorf("a part went out without sum or session, or in chunks: %v", r.Header)
		}
		sent.Add(1)
		if r.URL.Query().Get("partNumber") == "2" && failed.Add(1) <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	dst := Destination{URL: "s3://images/a/export.qcow2", S3: service, Credentials: Credentials{AccessKeyID: "key", SecretAccessKey: "secret", SessionToken: "session"}}
	o := newOpener(t)
	for _, interrupted := range []bool{true, false} { // The first leaves parts behind, like a process that dies.
		up := create(t, t.Context(), o, dst)
		if n, err := io.Copy(up, bytes.NewReader(content)); err != nil || n != int64(len(content)) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if interrupted {
			_ = up.to.(*s3Sink).sends.Wait()
			if _, err := o.Open(t.Context(), Source{URL: dst.URL, S3: service}); !errors.Is(err, ErrNotFound) {
				t.Errorf("half an object can be seen: %v", err)
			}
			up.to.(*s3Sink).stop()
			continue
		}
		if err := errors.Join(up.Commit(), up.Abort()); err != nil {
			t.Fatal(err)
		}
		_, got := mustRead(t, o, Source{URL: dst.URL, S3: service, Checksum: up.Sum()})
		if !bytes.Equal(got, content) || up.Bytes() != int64(len(content)) {
			t.Errorf("got %d bytes, %d were written", len(got), up.Bytes())
		}
	}
	if n := unfinished(t, service); n != 0 {
		t.Errorf("%d uploads are unfinished", n)
	}
}

// unfinished counts the unfinished uploads.
func unfinished(t testing.TB, service S3) int {
	t.Helper()
	resp, err := http.Get(service.Endpoint + "/images?uploads")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %d %s", err, resp.StatusCode, body)
	}
	return strings.Count(string(body), "<Upload>")
}

func TestUploadToS3Fails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		kind   error
	}{
		{"a part is refused", func(w http.ResponseWriter, r *http.Request) bool {
			return answered(w, r.URL.Query().Get("partNumber") == "2", http.StatusForbidden)
		}, ErrDenied},
		{"a part never gets through", func(w http.ResponseWriter, r *http.Request) bool {
			return answered(w, r.URL.Query().Get("partNumber") == "1", http.StatusInternalServerError)
		}, ErrUnavailable},
		{"the parts cannot be put together", func(w http.ResponseWriter, r *http.Request) bool {
			return answered(w, r.Method == http.MethodPost && r.URL.Query().Has("uploadId"), http.StatusForbidden)
		}, ErrDenied},
		{"the resulting object is too short", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", "7")
				w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
				return true
			}
			return false
		}, ErrLength},
	} {
		t.Run(tt.name, func(t *testing.T) {
			service := newFakeS3(t, "unused", nil, tt.answer)
			up := create(t, t.Context(), newOpener(t), Destination{URL: "s3://images/export", S3: service})
			_, err := io.Copy(up, bytes.NewReader(rawDisk(40*mib)))
			if err == nil {
				err = up.Commit()
			}
			if !errors.Is(err, tt.kind) {
				t.Errorf("got %v, want %v", err, tt.kind)
			}
			if err := up.Abort(); err != nil {
				t.Error(err)
			}
			if n := unfinished(t, service); n != 0 {
				t.Errorf("%d uploads are unfinished", n)
			}
		})
	}
}

// TestBufferOfARefusedPartIsNotUsedAgain: the transport may still be reading it, since the service need not read a part to its
// end before it refuses it.
func TestBufferOfARefusedPartIsNotUsedAgain(t *testing.T) {
	for refusals, want := range []int{1, 0} {
		refused := 0
		service := newFakeS3(t, "unused", nil, func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("partNumber") != "1" || refused == refusals {
				return false
			}
			refused++
			return answered(w, true, http.StatusInternalServerError)
		})
		up := create(t, t.Context(), newOpener(t), Destination{URL: "s3://images/export", S3: service})
		_, err := io.Copy(up, bytes.NewReader(rawDisk(mib)))
		if err := errors.Join(err, up.Commit()); err != nil {
			t.Fatal(err)
		}
		buffers, kept := up.to.(*s3Sink).free, 0
		for range cap(buffers) {
			if <-buffers != nil {
				kept++
			}
		}
		if kept != want {
			t.Errorf("after %d refusals %d buffers are kept, want %d", refusals, kept, want)
		}
	}
}

// answered writes a status if yes is true.
func answered(w http.ResponseWriter, yes bool, status int) bool {
	if yes {
		w.WriteHeader(status)
	}
	return yes
}

// claim makes a claim for tests, and an Opener that has it mounted.
func claim(t testing.TB) (*Opener, string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "stage")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return newOpener(t, func(o *Options) { o.StagingRoot = root }), dir
}

func TestUploadToAClaim(t *testing.T) {
	o, dir := claim(t)
	content := rawDisk(3 * mib)
	path := filepath.Join(dir, "ns", "vm", "export.qcow2")
	dst := Destination{URL: "pvc://stage/ns/vm/export.qcow2"}
	for _, tt := range []struct {
		name   string
		end    func(*Upload) error
		commit bool
	}{
		{"given up", (*Upload).Abort, false},
		{"whole", (*Upload).Commit, true},
		{"over the one before", (*Upload).Commit, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := create(t, t.Context(), o, dst)
			if _, err := up.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tt.end(up), up.Abort()); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if tt.commit && (err != nil || !bytes.Equal(got, content)) || !tt.commit && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "ns", "vm", ".*")); len(left) > 0 {
				t.Errorf("leftovers: %v", left)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	up := create(t, ctx, o, dst)
	cancel()
	if _, err := up.Write(content); !errors.Is(err, context.Canceled) {
		t.Errorf("writing after the end: %v", err)
	}
	if err := up.Commit(); !errors.Is(err, context.Canceled) {
		t.Errorf("committing after the end: %v", err)
	}
	if err := up.Abort(); err != nil {
		t.Error(err)
	}
}

func TestInvalidStagingPlaces(t *testing.T) {
	o, dir := claim(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, url string
		kind      error
	}{
		{"a claim that is not mounted", "pvc://other/a", ErrNotFound},
		{"above the claim", "pvc://stage/../../etc/passwd", ErrInvalid},
		{"above all claims", "pvc://../etc/passwd", ErrInvalid},
		{"no claim", "pvc:///a", ErrInvalid},
		{"a folder", "pvc://stage/a/", ErrInvalid},
		{"a link out of the claim", "pvc://stage/out/a", ErrRefused},
		{"a local file", "file:///etc/passwd", ErrInvalid},
		{"a path", "/etc/passwd", ErrInvalid},
		{"a registry", "oci://example.org/a", ErrInvalid},
		{"a key that is none", "s3://bucket", ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := o.OpenStaged(t.Context(), Source{URL: tt.url}); !errors.Is(err, tt.kind) {
				t.Errorf("reading: %v, want %v", err, tt.kind)
			}
			if up, err := o.Create(t.Context(), Destination{URL: tt.url}); !errors.Is(err, tt.kind) {
				t.Errorf("writing: %v, %v, want %v", up, err, tt.kind)
			}
		})
	}
	// Disks staged by migrations are not images.
	for _, url := range []string{"pvc://stage/a", "nfs://filer/a"} {
		if _, err := o.Open(t.Context(), Source{URL: url}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s as an image: %v", url, err)
		}
		if _, err := Key(Source{URL: url}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s as an image's key: %v", url, err)
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("written outside: %v, %v", entries, err)
	}
}

func TestNFSMounts(t *testing.T) {
	mounts := filepath.Join(t.TempDir(), "mountinfo")
	text := `22 1 8:1 / / rw - ext4 /dev/sda1 rw
90 22 0:50 / /data rw,relatime shared:1 - nfs4 filer:/pool rw,vers=4.2
91 22 0:51 / /data/deep\040one rw master:2 - nfs filer:/pool/deep rw
92 22 0:52 / /six rw - nfs4 [fd00::1]:/six rw
93 22 0:53 / /proc rw - proc proc rw
`
	if err := os.WriteFile(mounts, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := newOpener(t, func(o *Options) { o.MountsFile = mounts })
	for url, want := range map[string]string{
		"nfs://filer/pool/a/b.qcow2?uid=1&gid=2": "/data a/b.qcow2",
		"nfs://filer/pool/deep/b.qcow2":          "/data/deep one b.qcow2",
		"nfs://filer/pool/deeper/b.qcow2":        "/data deeper/b.qcow2",
		"nfs://[fd00::1]/six/b.qcow2":            "/six b.qcow2",
		"nfs://filer/pool":                       "",
		"nfs://other/pool/b.qcow2":               "",
		"nfs://filer/other/b.qcow2":              "",
		"nfs://filer/pool/../../etc/passwd":      "",
	} {
		_, file, err := o.stagedReference(url)
		got := ""
		if err == nil {
			got = file.dir + " " + file.rel
		}
		if got != want {
			t.Errorf("%s: %q, %v, want %q", url, got, err, want)
		}
	}
	if !o.NFSMounted() || newOpener(t, func(o *Options) { o.MountsFile = os.DevNull }).NFSMounted() {
		t.Error("whether an export is mounted is not reported")
	}
}

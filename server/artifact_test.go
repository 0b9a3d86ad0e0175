package server_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

const (
	uidA    = "11111111-2222-3333-4444-555555555555"
	digest0 = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	// The artifact of uidA and digest0, with the hash that the contract defines.
	artifactA = "tank/virtrigaud/images/team-a.gold_a754bf05cfc79e22"
)

// prepareFor returns the request of a manager of line 0.4 for a VMImage.
func prepareFor(uid, namespace, job string) *providerv1.ImagePrepareRequest {
	return &providerv1.ImagePrepareRequest{
		ImageJson: job, SourceDigest: digest0,
		Image:    &providerv1.ObjectIdentity{Uid: uid, Namespace: namespace, Name: "gold"},
		Provider: &providerv1.ObjectIdentity{Uid: "99999999-0000-4000-8000-000000000000", Namespace: "infra", Name: "nas"},
	}
}

// landed prepares an image as a manager of line 0.4 does: request, poll, and request again.
func landed(t *testing.T, client providerv1.ProviderClient, req *providerv1.ImagePrepareRequest) *providerv1.ImagePrepareResponse {
	t.Helper()
	resp, err := client.ImagePrepare(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	finish(t, client, resp.GetTask())
	if resp, err = client.ImagePrepare(t.Context(), req); err != nil || resp.GetTask() != nil {
		t.Fatalf("after the task: %v, %v", resp, err)
	}
	return resp
}

func TestArtifact(t *testing.T) {
	t.Parallel()
	web, content := serveImage(t)
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release, loopbackImages)
			req := prepareFor(uidA, "team-a", web.job(web.checksum()))
			first, err := client.ImagePrepare(t.Context(), req)
			if err != nil || first.GetTask() == nil {
				t.Fatalf("the first answer is %v, %v", first, err)
			}
			want := &providerv1.PreparedArtifact{Name: "team-a.gold_a754bf05cfc79e22", Image: req.Image, SourceDigest: digest0}
			if !proto.Equal(first.GetArtifact(), want) || first.GetPreparedImagePath() != artifactA+"/disk@ready" {
				t.Errorf("the first answer is %v, want %v", first, want)
			}
			second := landed(t, client, req)
			want.Reused = true
			if !proto.Equal(second.GetArtifact(), want) || second.GetPreparedImagePath() != first.GetPreparedImagePath() || second.GetPreparedImageId() == "" {
				t.Errorf("the answer after the task is %v, want %v", second, want)
			}
			holds(t, nas, artifactA+"/disk", content)
			stamp := userOf(t, nas, artifactA)
			for key, value := range map[string]string{
				"artifact": "1", "image-uid": uidA, "image-namespace": "team-a", "image-name": "gold", "source-digest": digest0, "prepared-by": "test",
			} {
				if stamp["virtrigaud:"+key] != value {
					t.Errorf("the stamp has %s=%q, want %q", key, stamp["virtrigaud:"+key], value)
				}
			}
			create := wanted("web-1")
			create.ImageJson = fmt.Sprintf(`{"Path":%q,"Format":"qcow2","ChecksumType":"sha256","ImportedDisk":false}`, second.GetPreparedImagePath())
			if _, err := client.Create(t.Context(), create); err != nil {
				t.Fatal(err)
			}
			clean(t, nas)
		})
	}
}

// userOf returns the user properties of a dataset.
func userOf(t *testing.T, nas *sim.Sim, name string) map[string]string {
	t.Helper()
	all := nas.State().Datasets
	i := slices.IndexFunc(all, func(d sim.DatasetState) bool { return d.Name == name })
	if i < 0 {
		t.Fatalf("there is no dataset %s", name)
	}
	return all[i].User
}

// Two VMImages with one URL have separate artifacts, and neither tenant gets the other's artifact by its path.
func TestArtifactsAreNotShared(t *testing.T) {
	t.Parallel()
	web, _ := serveImage(t)
	client, _ := onRelease(t, "25.10", loopbackImages)
	job := web.job(web.checksum())
	a := landed(t, client, prepareFor(uidA, "team-a", job))
	b, err := client.ImagePrepare(t.Context(), prepareFor("22222222-2222-3333-4444-555555555555", "team-b", job))
	if err != nil {
		t.Fatal(err)
	}
	if b.GetTask() == nil || b.GetArtifact().GetReused() || b.GetPreparedImagePath() == a.GetPreparedImagePath() {
		t.Errorf("another VMImage is answered %v after %v", b, a)
	}
	finish(t, client, b.GetTask())
	if got := web.fetched.Load(); got != 2 {
		t.Errorf("the image was fetched %d times for two VMImages, want 2", got)
	}
	for name, image := range map[string]string{
		"an absolute path, line 0.4":          fmt.Sprintf(`{"Path":"/dev/zvol/%s","ImportedDisk":false}`, a.GetPreparedImagePath()),
		"the volume, line 0.4":                `{"Path":"/dev/zvol/` + artifactA + `/disk","ImportedDisk":false}`,
		"line 0.3":                            fmt.Sprintf(`{"Path":%q}`, a.GetPreparedImagePath()),
		"another snapshot of the same volume": `{"Path":"` + artifactA + `/disk@auto-1","ImportedDisk":false}`,
	} {
		req := wanted("web-1")
		req.ImageJson = image
		_, err := client.Create(t.Context(), req)
		refusedWith(t, err, "FailedPrecondition", "not on the NAS")
		if strings.Contains(fmt.Sprint(err), "team-b") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A foreign dataset at the name of an artifact is neither used nor changed.
func TestArtifactConflicts(t *testing.T) {
	t.Parallel()
	web, _ := serveImage(t)
	stamp := func(change func(map[string]string)) map[string]string {
		props := map[string]string{
			"virtrigaud:provider": "test", "virtrigaud:artifact": "1", "virtrigaud:image-uid": uidA, "virtrigaud:source-digest": digest0,
		}
		change(props)
		return props
	}
	for _, tt := range []struct {
		name  string
		props map[string]string
	}{
		{"no stamp", nil},
		{"a stamp of an unknown version", stamp(func(p map[string]string) { p["virtrigaud:artifact"] = "2" })},
		{"another VMImage", stamp(func(p map[string]string) { p["virtrigaud:image-uid"] = "other" })},
		{"another source", stamp(func(p map[string]string) { p["virtrigaud:source-digest"] = "sha256:" + strings.Repeat("1", 64) })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api, nas := truenastest.New(t, truenastest.Release("25.10"))
			client, _ := serve(t, api, loopbackImages)
			for _, name := range []string{"tank/virtrigaud", "tank/virtrigaud/images"} {
				if err := nas.AddDataset(name, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := nas.AddDataset(artifactA, tt.props); err != nil {
				t.Fatal(err)
			}
			before := nas.State()
			_, err := client.ImagePrepare(t.Context(), prepareFor(uidA, "team-a", web.job(web.checksum())))
			refusedWith(t, err, "AlreadyExists", "team-a.gold_a754bf05cfc79e22")
			if !reflect.DeepEqual(before, nas.State()) {
				t.Error("the NAS changed")
			}
		})
	}
}

// An artifact that a dead process left incomplete is removed and imported again.
func TestArtifactOfADeadProcess(t *testing.T) {
	t.Parallel()
	web, content := serveImage(t)
	client, nas := onRelease(t, "25.10", loopbackImages)
	if err := nas.AddDataset("tank/virtrigaud", nil); err != nil {
		t.Fatal(err)
	}
	if err := nas.AddDataset("tank/virtrigaud/images", nil); err != nil {
		t.Fatal(err)
	}
	err := nas.AddDataset(artifactA, map[string]string{
		"virtrigaud:provider": "test", "virtrigaud:artifact": "1", "virtrigaud:image-uid": uidA, "virtrigaud:source-digest": digest0,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nas.AddVolume(artifactA+"/disk", 1<<20, nil); err != nil {
		t.Fatal(err)
	}
	landed(t, client, prepareFor(uidA, "team-a", web.job(web.checksum())))
	holds(t, nas, artifactA+"/disk", content)
	clean(t, nas)
}

// The task of an artifact reports its failure; the task of an older manager must not, and the next call reports it.
func TestFailedArtifactTask(t *testing.T) {
	t.Parallel()
	web, _ := serveImage(t)
	wrong := web.job(strings.Repeat("0", 64))
	for _, tt := range []struct {
		name    string
		req     *providerv1.ImagePrepareRequest
		reports bool
	}{
		{"line 0.4", prepareFor(uidA, "team-a", wrong), true},
		{"line 0.3", &providerv1.ImagePrepareRequest{ImageJson: wrong, TargetName: "gold"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, _ := onRelease(t, "25.10", loopbackImages)
			resp, err := client.ImagePrepare(t.Context(), tt.req)
			if err != nil || resp.GetTask() == nil {
				t.Fatalf("got %v, %v", resp, err)
			}
			var over *providerv1.TaskStatusResponse
			for !over.GetDone() {
				if over, err = client.TaskStatus(t.Context(), &providerv1.TaskStatusRequest{Task: resp.GetTask()}); err != nil {
					t.Fatal(err)
				}
			}
			if got := strings.Contains(over.GetError(), "checksum"); got != tt.reports {
				t.Errorf("the task answers %v", over)
			}
			_, err = client.ImagePrepare(t.Context(), tt.req)
			refusedWith(t, err, "FailedPrecondition", "checksum")
		})
	}
}

func TestArtifactRequests(t *testing.T) {
	t.Parallel()
	web, _ := serveImage(t)
	client, nas := onRelease(t, "25.10", loopbackImages)
	before := nas.State()
	for _, tt := range []struct {
		name   string
		change func(*providerv1.ImagePrepareRequest)
		field  string
	}{
		{"neither image nor target_name", func(r *providerv1.ImagePrepareRequest) { r.Image, r.SourceDigest, r.Provider = nil, "", nil }, "target_name"},
		{"image and target_name", func(r *providerv1.ImagePrepareRequest) { r.TargetName = "gold" }, "target_name"},
		{"no uid", func(r *providerv1.ImagePrepareRequest) { r.Image.Uid = "" }, "image.uid"},
		{"a uid with a slash", func(r *providerv1.ImagePrepareRequest) { r.Image.Uid = "a/b" }, "image.uid"},
		{"a uid of 129 letters", func(r *providerv1.ImagePrepareRequest) { r.Image.Uid = strings.Repeat("a", 129) }, "image.uid"},
		{"no digest", func(r *providerv1.ImagePrepareRequest) { r.SourceDigest = "" }, "source_digest"},
		{"a digest in capitals", func(r *providerv1.ImagePrepareRequest) { r.SourceDigest = "sha256:" + strings.Repeat("A", 64) }, "source_digest"},
		{"a digest of another kind", func(r *providerv1.ImagePrepareRequest) { r.SourceDigest = "sha512:" + strings.Repeat("0", 64) }, "source_digest"},
		{"a digest without image", func(r *providerv1.ImagePrepareRequest) { r.Image, r.TargetName = nil, "gold" }, "source_digest"},
		{"a provider without image", func(r *providerv1.ImagePrepareRequest) { r.Image, r.TargetName, r.SourceDigest = nil, "gold", "" }, "provider"},
		{"a URL and a path", func(r *providerv1.ImagePrepareRequest) {
			r.ImageJson = `{"source":{"libvirt":{"url":"https://example.com/x.raw","path":"/dev/zvol/tank/gold@v1"}}}`
		}, "url and path"},
		{"a path", func(r *providerv1.ImagePrepareRequest) {
			r.ImageJson = `{"source":{"libvirt":{"path":"/dev/zvol/tank/gold@v1"}}}`
		}, "path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := prepareFor(uidA, "team-a", web.job(web.checksum()))
			tt.change(req)
			_, err := client.ImagePrepare(t.Context(), req)
			refusedWith(t, err, "InvalidArgument", tt.field)
		})
	}
	if !reflect.DeepEqual(before, nas.State()) {
		t.Error("a refused call changed the NAS")
	}
}

// An unreachable source is reported as a fault of the source: the manager retries soon and does not count it.
func TestArtifactWithoutASource(t *testing.T) {
	t.Parallel()
	client, _ := onRelease(t, "25.10", loopbackImages, func(c *server.Config) {
		c.Disk.Retry = disk.RetryPolicy{Attempts: 2, MinWait: time.Millisecond, MaxWait: time.Millisecond}
	})
	web, _ := serveImage(t)
	job := web.job(web.checksum())
	web.Close() // Last of all listeners, so that no other listener of this test takes its port.
	_, err := client.ImagePrepare(t.Context(), prepareFor(uidA, "team-a", job))
	if status.Code(err) != codes.Unavailable || !strings.Contains(fmt.Sprint(status.Convert(err).Details()), "IMAGE_SOURCE_UNAVAILABLE") {
		t.Errorf("got %v with %v", err, status.Convert(err).Details())
	}
	_, err = client.ImagePrepare(t.Context(), &providerv1.ImagePrepareRequest{ImageJson: job, TargetName: "gold"})
	if status.Code(err) != codes.Aborted {
		t.Errorf("an older manager is answered %v, want Aborted", err)
	}
}

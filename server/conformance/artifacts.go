package conformance

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/conformance/manager04"
)

// artifactOf returns a VMImage with the target's image.
func (c *checker) artifactOf(uid, namespace string) *manager04.Image {
	return &manager04.Image{UID: c.name(uid), Namespace: namespace, Name: "image", URL: c.target.ImageURL}
}

func (c *checker) artifacts() bool {
	return c.offers.GetSupportsImageImport() && c.offers.GetSupportsImageArtifactIdentity() && c.target.ImageURL != ""
}

// prepareArtifact lets the manager prepare an image until its condition has one of the reasons.
func (c *checker) prepareArtifact(m *manager04.Manager, i *manager04.Image, reasons ...string) manager04.Next {
	c.Helper()
	if err := m.Look(context.Background()); err != nil {
		c.Fatal(err)
	}
	var next manager04.Next
	c.until("the image is "+strings.Join(reasons, " or "), func() bool {
		next = m.Prepare(context.Background(), i)
		for _, reason := range reasons {
			if next.Reason == reason {
				return true
			}
		}
		if next.Err != nil {
			c.Fatalf("the image is %s: %v", next.Reason, next.Err)
		}
		return false
	})
	return next
}

// checkArtifacts prepares an image for two VMImages, and makes a VM from it.
func checkArtifacts(c *checker) {
	if !c.artifacts() {
		return
	}
	m := manager04.New(c.target.Client)
	first, second := c.artifactOf("uid-a", "team-a"), c.artifactOf("uid-b", "team-b")
	c.prepareArtifact(m, first, manager04.Ready)
	c.prepareArtifact(m, second, manager04.Ready)
	if first.Prepared == "" || first.Prepared == second.Prepared {
		c.Errorf("two VMImages have the paths %q and %q", first.Prepared, second.Prepared)
	}
	was := first.Prepared
	c.prepareArtifact(m, first, manager04.Ready)
	if first.Prepared != was {
		c.Errorf("prepared again, the path is %q, before %q", first.Prepared, was)
	}

	vm := c.newer("team-a", "of-artifact")
	vm.Image, vm.RootGiB = first, 0
	c.reconcile(m, vm, manager04.Ready)

	// A tenant who writes the path of an artifact into a VMImage must not get the artifact.
	thief := c.newer("team-c", "thief")
	thief.Image, thief.RootGiB = &manager04.Image{Path: "/dev/zvol/" + second.Prepared}, 0
	_, err := c.tryCreate(thief.Create())
	c.refused("an artifact by its path", err)

	bad := c.artifactOf("uid-bad", "team-a")
	bad.Checksum, bad.ChecksumType = strings.Repeat("0", 64), "sha256"
	next := c.prepareArtifact(m, bad, manager04.ImageImportFailed, manager04.ProviderError)
	if next.Err == nil || !strings.Contains(next.Err.Error(), "checksum") {
		c.Errorf("a wrong checksum fails with %v", next.Err)
	}
	away := &manager04.Image{UID: c.name("uid-away"), Namespace: "team-a", Name: "image", URL: "http://127.0.0.1:1/conformance.qcow2"}
	if next := c.prepareArtifact(m, away, manager04.ImageSourceUnavailable, manager04.ImageImportFailed, manager04.ProviderError); next.Err == nil {
		c.Error("a source that does not respond is not a failure")
	}
	if m.Failures != 0 {
		c.Errorf("the circuit breaker counts %d failures of images", m.Failures)
	}
}

// checkArtifactRequests sends requests of which each breaks one rule.
func checkArtifactRequests(c *checker) {
	if !c.artifacts() {
		return
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct {
		name   string
		change func(*providerv1.ImagePrepareRequest)
	}{
		{"neither image nor target_name", func(r *providerv1.ImagePrepareRequest) { r.Image, r.SourceDigest = nil, "" }},
		{"image and target_name", func(r *providerv1.ImagePrepareRequest) { r.TargetName = "image" }},
		{"an image without a uid", func(r *providerv1.ImagePrepareRequest) { r.Image.Uid = "" }},
		{"a uid with a slash", func(r *providerv1.ImagePrepareRequest) { r.Image.Uid = "a/b" }},
		{"a uid that is too long", func(r *providerv1.ImagePrepareRequest) { r.Image.Uid = strings.Repeat("a", 129) }},
		{"a digest in capitals", func(r *providerv1.ImagePrepareRequest) { r.SourceDigest = strings.ToUpper(digest) }},
		{"a short digest", func(r *providerv1.ImagePrepareRequest) { r.SourceDigest = digest[:70] }},
		{"a digest without an image", func(r *providerv1.ImagePrepareRequest) { r.Image, r.TargetName = nil, "image" }},
		{"a URL and a path", func(r *providerv1.ImagePrepareRequest) {
			r.ImageJson = text(object{"source": object{"libvirt": object{"url": c.target.ImageURL, "path": "/dev/zvol/p/v@s"}}})
		}},
	} {
		req := &providerv1.ImagePrepareRequest{
			ImageJson: text(object{"source": object{"libvirt": object{"url": c.target.ImageURL}}}), SourceDigest: digest,
			Image: &providerv1.ObjectIdentity{Uid: c.name("uid-rules"), Namespace: "team-a", Name: "image"},
		}
		tt.change(req)
		if _, err := call(c, c.target.Client.ImagePrepare, req); status.Code(err) != codes.InvalidArgument {
			c.Errorf("%s: %v; want InvalidArgument", tt.name, err)
		}
	}
}
